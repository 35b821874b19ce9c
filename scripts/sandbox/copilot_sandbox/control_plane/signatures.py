"""Who signed a request: the sandbox's own key, random with each start, or a role's that STS gave.

A request that nobody signed is nobody's: nothing of it is carried out, and of its body nothing is read.
Signatures in the address (presigned URLs) are not taken: nothing in the sandbox makes one.
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

_SKEW = timedelta(minutes=15)  # AWS's own
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
    """A request is refused; `code` is AWS's name for why, by the services' query protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Key(NamedTuple):
    """An access key; `token` is empty where it is no role's."""

    id: str
    secret: str
    token: str = ""


def random_key() -> Key:
    """Make a key as IAM's look, that nobody can guess."""
    identifier = "".join(secrets.choice(_BASE32) for _ in range(_KEY_LENGTH))
    return Key(f"AKIA{identifier}", secrets.token_urlsafe(_SECRET_LENGTH)[:_SECRET_LENGTH])


def role_keys() -> Iterable[Key]:
    """Return the keys that AssumeRole gave and that have not expired. The caller holds the plane's lock."""
    now = datetime.now(UTC)
    return [
        Key(each.access_key_id, each.secret_access_key, each.session_token)
        for each in sts_backends[ACCOUNT]["aws"].assumed_roles
        if each.expiration.replace(tzinfo=UTC) > now
    ]


@dataclass(frozen=True)
class Claim:
    """A request's head that names a key which exists: its signature is still to be compared."""

    key: Key = field(repr=False)
    day: str
    region: str
    service: str
    headers: frozenset[str]
    signature: str


class Signatures:
    """Compares requests' signatures with those that the keys' owners make."""

    def __init__(self, own: Key, roles: Callable[[], Iterable[Key]] = role_keys) -> None:
        self._own = own
        self._roles = roles

    def claim(self, headers: Message) -> Claim:
        """Read from the head alone who is said to have signed. Raises NotSignedError for unknown keys."""
        if any(len(headers.get_all(name, [])) > 1 for name in _SINGLE):
            raise NotSignedError("IncompleteSignature", "A header of the signature is there twice.")
        text = headers.get("Authorization")
        if text is None:
            raise NotSignedError("MissingAuthenticationToken", "Missing Authentication Token")
        found = _AUTHORIZATION.fullmatch(text)
        if found is None:
            raise NotSignedError("IncompleteSignature", "The Authorization header is no AWS Signature V4.")
        key = self._key(found["key"], headers.get("X-Amz-Security-Token", ""))
        signed = frozenset(found["headers"].split(";"))
        if not signed >= _ALWAYS_SIGNED:
            raise NotSignedError("IncompleteSignature", "Host and X-Amz-Date have to be signed.")
        _check_time(headers.get("X-Amz-Date", ""), found["day"])
        return Claim(key, found["day"], found["region"], found["service"], signed, found["signature"])

    def check(self, claim: Claim, method: str, url: str, headers: Message, body: bytes) -> None:
        """Compare the signature with the one that the key's secret makes. Raises NotSignedError."""
        declared = headers.get("X-Amz-Content-SHA256", "")
        if _SHA256.fullmatch(declared) and declared != hashlib.sha256(body).hexdigest():
            raise NotSignedError("SignatureDoesNotMatch", "The body is not the one that was signed.")
        request = AWSRequest(method, url, data=body)
        for name, value in headers.items():
            # The hash is what stands for the body, signed or not.
            if name.lower() in claim.headers or name.lower() == "x-amz-content-sha256":
                request.headers.add_header(name, value)
        if claim.service != "s3" and not _SHA256.fullmatch(declared):
            del request.headers["X-Amz-Content-SHA256"]
        request.context["timestamp"] = headers["X-Amz-Date"]
        auth = (S3SigV4Auth if claim.service == "s3" else SigV4Auth)(
            Credentials(claim.key.id, claim.key.secret), claim.service, claim.region
        )
        canonical = _canonical(auth, request, claim.headers)
        expected = auth.signature(auth.string_to_sign(request, canonical), request)
        if not hmac.compare_digest(expected, claim.signature):
            raise NotSignedError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your "
                "AWS Secret Access Key and signing method.",
            )

    def _key(self, identifier: str, token: str) -> Key:
        """Return the key of that id. Every comparison takes the same time, whatever it is compared with."""
        for key in (self._own, *self._roles()):
            # Beside a key that is no role's a token means nothing.
            same_token = not key.token or hmac.compare_digest(key.token.encode(), token.encode())
            if hmac.compare_digest(key.id.encode(), identifier.encode()) and same_token:
                return key
        raise NotSignedError("InvalidClientTokenId", "The security token included in the request is invalid.")


def _canonical(auth: SigV4Auth, request: AWSRequest, signed: frozenset[str]) -> str:
    """Return the request as it was signed: botocore signs every header that it is given but a few."""
    canonical: str = auth.canonical_request(request)
    lines = canonical.split("\n")
    # The method, path and query, the headers, an empty line, their names, the body's hash.
    kept = [line for line in lines[3:-3] if line.split(":", 1)[0] in signed]
    return "\n".join([*lines[:3], *kept, "", ";".join(sorted(signed)), lines[-1]])


def _check_time(stamp: str, day: str) -> None:
    try:
        when = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotSignedError("IncompleteSignature", "X-Amz-Date is no time of AWS's.") from None
    if not stamp.startswith(day) or abs(datetime.now(UTC) - when) > _SKEW:
        raise NotSignedError("SignatureDoesNotMatch", f"Signature expired: {stamp} is not now.")
