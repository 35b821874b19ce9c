"""Checks a request's signature: with the sandbox's own key, new at each start, or a role's key from STS.

An unsigned request has no effect, and its body is not read.
Signatures in the address (presigned URLs) are refused: no program in the sandbox makes one.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import NamedTuple

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.sts.models import sts_backends

from .resources import ACCOUNT

_SKEW = timedelta(minutes=15)  # AWS's value
_KEY_LENGTH, _SECRET_LENGTH = 16, 40
_BASE32 = string.ascii_uppercase + "234567"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>\w{16,128})/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)/"
    r"(?P<service>[a-z0-9-]+)/aws4_request, ?SignedHeaders=(?P<headers>[a-z0-9;.-]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_ALWAYS_SIGNED = {"host", "x-amz-date"}
_SINGLE = ("Authorization", "Host", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-SHA256")
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class NotSignedError(Exception):
    """The request is refused; `code` is AWS's error code in the query protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Key(NamedTuple):
    """An access key. `token` is empty for a key that is not a role's."""

    id: str
    secret: str
    token: str = ""


def random_key() -> Key:
    """Return an unguessable key in the form of IAM's."""
    identifier = "".join(secrets.choice(_BASE32) for _ in range(_KEY_LENGTH))
    return Key(f"AKIA{identifier}", secrets.token_urlsafe(_SECRET_LENGTH)[:_SECRET_LENGTH])


def role_keys() -> Iterable[Key]:
    """Return the unexpired keys that AssumeRole issued. The caller holds the control plane's lock."""
    now = datetime.now(UTC)
    return [
        Key(role.access_key_id, role.secret_access_key, role.session_token)
        for role in sts_backends[ACCOUNT]["aws"].assumed_roles
        if role.expiration.replace(tzinfo=UTC) > now
    ]


@dataclass(frozen=True)
class Claim:
    """The head of a request with a known key; its signature is not compared yet."""

    key: Key = field(repr=False)
    day: str
    region: str
    service: str
    headers: frozenset[str]
    signature: str


class Signatures:
    """Compares requests' signatures with those made with the keys' secrets."""

    def __init__(
        self, own: Key, roles: Callable[[], Iterable[Key]] = role_keys, users: Iterable[Key] = ()
    ) -> None:
        self._own_key = own
        self._roles = roles
        self._users = tuple(users)

    def claim(self, headers: Message) -> Claim:
        """Read the key and the signature from the head alone. Raises NotSignedError for unknown keys."""
        if any(len(headers.get_all(name, [])) > 1 for name in _SINGLE):
            raise NotSignedError("IncompleteSignature", "A header of the signature occurs twice.")
        text = headers.get("Authorization")
        if text is None:
            raise NotSignedError("MissingAuthenticationToken", "Missing Authentication Token")
        fields = _AUTHORIZATION.fullmatch(text)
        if fields is None:
            raise NotSignedError("IncompleteSignature", "The Authorization header is not AWS Signature V4.")
        key = self._key(fields["key"], headers.get("X-Amz-Security-Token", ""))
        signed = frozenset(fields["headers"].split(";"))
        if not signed >= _ALWAYS_SIGNED:
            raise NotSignedError("IncompleteSignature", "Host and X-Amz-Date have to be signed.")
        _check_time(headers.get("X-Amz-Date", ""), fields["day"])
        return Claim(key, fields["day"], fields["region"], fields["service"], signed, fields["signature"])

    def check(self, claim: Claim, method: str, url: str, headers: Message, body: bytes) -> None:
        """Compare the signature with one made with the key's secret. Raises NotSignedError."""
        declared = headers.get("X-Amz-Content-SHA256", "")
        if _SHA256.fullmatch(declared) and declared != hashlib.sha256(body).hexdigest():
            raise NotSignedError("SignatureDoesNotMatch", "The body differs from the signed one.")
        request = AWSRequest(method, url, data=body)
        for name, value in headers.items():
            # The hash represents the body, whether the header is signed or not.
            if name.lower() in claim.headers or name.lower() == "x-amz-content-sha256":
                request.headers.add_header(name, value)
        if claim.service != "s3" and not _SHA256.fullmatch(declared):
            del request.headers["X-Amz-Content-SHA256"]
        request.context["timestamp"] = headers["X-Amz-Date"]
        auth = (S3SigV4Auth if claim.service == "s3" else SigV4Auth)(
            Credentials(claim.key.id, claim.key.secret), claim.service, claim.region
        )
        canonical = _canonical_request(auth, request, claim.headers)
        expected = auth.signature(auth.string_to_sign(request, canonical), request)
        if not hmac.compare_digest(expected, claim.signature):
            raise NotSignedError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your "
                "AWS Secret Access Key and signing method.",
            )

    def _key(self, identifier: str, token: str) -> Key:
        """Return the key with that id. A comparison takes the same time, whatever the values are."""
        for key in (self._own_key, *self._users, *self._roles()):
            # For a key that is not a role's, the token is ignored.
            same_token = not key.token or hmac.compare_digest(key.token.encode(), token.encode())
            if hmac.compare_digest(key.id.encode(), identifier.encode()) and same_token:
                return key
        raise NotSignedError("InvalidClientTokenId", "The security token included in the request is invalid.")


def _canonical_request(auth: SigV4Auth, request: AWSRequest, signed: frozenset[str]) -> str:
    """Return the canonical request with only the signed headers: botocore includes nearly all of them."""
    canonical: str = auth.canonical_request(request)
    lines = canonical.split("\n")
    # The lines are: method, path and query, headers, an empty line, the headers' names, the body's hash.
    kept = [line for line in lines[3:-3] if line.split(":", 1)[0] in signed]
    return "\n".join([*lines[:3], *kept, "", ";".join(sorted(signed)), lines[-1]])


def _check_time(stamp: str, day: str) -> None:
    try:
        time = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotSignedError("IncompleteSignature", "X-Amz-Date is not a time in AWS's form.") from None
    if not stamp.startswith(day) or abs(datetime.now(UTC) - time) > _SKEW:
        raise NotSignedError("SignatureDoesNotMatch", f"Signature expired: {stamp} is not now.")
