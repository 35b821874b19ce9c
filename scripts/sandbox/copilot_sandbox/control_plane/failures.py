"""A failed request's answer in its service's terms: status, code and message."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple


class Failure(NamedTuple):
    """An error's HTTP status, code and message, and S3's further elements."""

    status: int
    code: str
    message: str
    details: Mapping[str, str] = MappingProxyType({})


class CallFailed(Exception):
    """A call that is answered with this failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


Form = Literal["json", "query", "s3"]

# The error codes of each form for a request without a known key's signature.
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
    """Return a service's answer to an unsigned request; `code` is the query protocol's name."""
    return Failure(403, _UNSIGNED[form].get(code, code), message)
