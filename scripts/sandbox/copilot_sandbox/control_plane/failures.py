"""The failures of a request in the words of its service: status, code and message."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Failure(NamedTuple):
    """An error's HTTP status, code and words."""

    status: int
    code: str
    message: str


class CallFailed(Exception):
    """A call that is answered with this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


Form = Literal["json", "query", "s3"]

# What each form says of a request that no known key has signed.
# Sources: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/CommonErrors.html and
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_UNSIGNED: dict[Form, dict[str, str]] = {
    "json": {
        "InvalidClientTokenId": "UnrecognizedClientException",
        "MissingAuthenticationToken": "MissingAuthenticationTokenException",
        "IncompleteSignature": "IncompleteSignatureException",
        "SignatureDoesNotMatch": "InvalidSignatureException",
    },
    "s3": {
        "InvalidClientTokenId": "InvalidAccessKeyId",
        "MissingAuthenticationToken": "AccessDenied",
        "IncompleteSignature": "AccessDenied",
    },
    "query": {},
}


def unsigned(form: Form, code: str, message: str) -> Failure:
    """Return what a service says of a request that is not signed; `code` is the query protocol's name."""
    return Failure(403, _UNSIGNED[form].get(code, code), message)
