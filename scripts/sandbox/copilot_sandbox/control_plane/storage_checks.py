"""Refuse what S3 refuses and moto accepts: conditions, digests, places, versions, tags and policies."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from moto.core.request import Request
from moto.s3.models import FakeBucket, FakeDeleteMarker, s3_backends

from .failures import CallFailed, Failure
from .resources import ACCOUNT

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_TAG = re.compile(r"[\w\s_.:/=+@-]*")
_ENTITY = 1 << 20  # bytes of a configuration's document


def check_storage(request: Request) -> None:
    """Raise CallFailed where S3 refuses the request before it does anything.

    Source: localstack/localstack, tests/aws/services/s3/*.snapshot.json, recorded from AWS;
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html.
    """
    name, key = _place(request)
    query = request.args
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(name)
    if request.method == "PUT":
        _check_digest(request)
    if key:
        _check_conditions(request)
        if bucket is not None and "versionId" in query:
            _check_version(request, bucket, key)
    elif request.method == "PUT" and not query:
        _check_new_bucket(name, request)
    elif request.method == "PUT" and bucket is not None:
        _check_configuration(request)
    elif request.method == "GET" and name:
        _check_listing(query)
    elif request.method == "DELETE" and bucket is not None and not query and bucket.is_versioned:
        _check_empty(bucket)


def _place(request: Request) -> tuple[str, str]:
    """Return the bucket and the key of a request, in either form of S3's addresses."""
    labels, path = request.host.split(":")[0].split("."), unquote(request.path).lstrip("/")
    at = next((i for i, label in enumerate(labels) if label == "s3" or label.startswith("s3-")), 0)
    if at:
        return ".".join(labels[:at]), path
    bucket, _, key = path.partition("/")
    return bucket, key


def _refuse(status: int, code: str, message: str, **details: str) -> CallFailed:
    return CallFailed(Failure(status, code, message, details))


def _check_conditions(request: Request) -> None:
    headers = request.headers
    match, none_match = headers.get("If-Match"), headers.get("If-None-Match")
    header = ""
    if request.method == "PUT" and "uploadId" not in request.args:
        if match and none_match:
            header = "If-Match,If-None-Match"
        elif none_match and none_match != "*":
            header = "If-None-Match"
        elif match == "*":
            header = "If-Match"
    elif request.method == "DELETE":
        later = ("x-amz-if-match-last-modified-time", "x-amz-if-match-size")
        header = next((name for name in later if name in headers), "")
    if header:
        raise _refuse(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            Header=header,
        )
    if request.method == "PUT" and (match or none_match):
        _check_written(request, match, none_match)


def _check_written(request: Request, match: str | None, none_match: str | None) -> None:
    """Check a write's condition on its target: moto does not read a copy's."""
    name, key = _place(request)
    bucket = s3_backends[ACCOUNT]["aws"].buckets.get(name)
    found = bucket.keys.get(key) if bucket else None
    if isinstance(found, FakeDeleteMarker):
        found = None
    if none_match and found is not None:
        raise _failed("If-None-Match")
    if match and found is None:
        raise _refuse(404, "NoSuchKey", "The specified key does not exist.", Key=key)
    if match and found is not None and found.etag.strip('"') != match.strip('"'):
        raise _failed("If-Match")


def _failed(condition: str) -> CallFailed:
    message = "At least one of the pre-conditions you specified did not hold"
    return _refuse(412, "PreconditionFailed", message, Condition=condition)


def _check_digest(request: Request) -> None:
    if (given := request.headers.get("Content-MD5")) is None:
        return
    try:
        digest = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
        raise _refuse(400, "InvalidDigest", "The Content-MD5 you specified was invalid.")
    chunked = "aws-chunked" in request.headers.get("Content-Encoding", "")
    body = _joined(request.get_data()) if chunked else request.get_data()
    if hashlib.md5(body, usedforsecurity=False).digest() != digest:
        raise _refuse(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _joined(body: bytes) -> bytes:
    """Return the content of a body in chunks, which are framed as in HTTP; a signature may follow a size."""
    content, rest = b"", body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.split(b";")[0] or b"0", 16)
        if size == 0:
            break
        content, rest = content + rest[:size], rest[size + 2 :]
    return content


def _check_version(request: Request, bucket: FakeBucket, key: str) -> None:
    version = request.args["versionId"]
    if version == "null":
        return
    form = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # of moto's versions
    if not bucket.is_versioned or not form.fullmatch(version):
        raise _refuse(400, "InvalidArgument", "Invalid version id specified", ArgumentName="versionId")
    versions = bucket.keys.getlist(key, [])
    markers = {each.version_id for each in versions if isinstance(each, FakeDeleteMarker)}
    if request.method == "GET" and version in markers:
        raise _refuse(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            Method="GET",
            ResourceType="DeleteMarker",
        )


def _check_new_bucket(name: str, request: Request) -> None:
    if not _BUCKET_NAME.fullmatch(name):
        raise _refuse(400, "InvalidBucketName", "The specified bucket is not valid.", BucketName=name)
    place = _texts(request, "LocationConstraint")
    if place and (place[0] == "us-east-1" or place[0] not in _regions()):
        message = "The specified location-constraint is not valid"
        raise _refuse(400, "InvalidLocationConstraint", message, LocationConstraint=place[0])


def _regions() -> set[str]:
    import botocore.session  # noqa: PLC0415 - only where somebody names a place

    return {*botocore.session.get_session().get_available_regions("s3"), "EU"}


def _check_configuration(request: Request) -> None:
    if "versioning" in request.args:
        status = _texts(request, "Status")
        if not status:
            message = "The Versioning element must be specified"
            raise _refuse(400, "IllegalVersioningConfigurationException", message)
        if status[0] not in ("Enabled", "Suspended"):
            raise _refuse(
                400,
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            )
    elif "tagging" in request.args:
        _check_tags(_texts(request, "Key"), _texts(request, "Value"))
    elif "policy" in request.args:
        _check_policy(request.get_data())


def _check_tags(keys: list[str], values: list[str]) -> None:
    if any(key.startswith("aws:") for key in keys):
        raise _refuse(400, "InvalidTag", "System tags cannot be added/updated by requester")
    if len(set(keys)) < len(keys):
        raise _refuse(400, "InvalidTag", "Cannot provide multiple Tags with the same key")
    if not all(_TAG.fullmatch(key) for key in keys):
        raise _refuse(400, "InvalidTag", "The TagKey you have provided is invalid")
    if not all(_TAG.fullmatch(value) for value in values):
        raise _refuse(400, "InvalidTag", "The TagValue you have provided is invalid")


def _check_policy(text: bytes) -> None:
    try:
        policy: Any = json.loads(text)
    except ValueError:
        policy = None
    if not isinstance(policy, dict):
        message = "Policies must be valid JSON and the first byte must be '{'"
        raise _refuse(400, "MalformedPolicy", message)
    if "Statement" not in policy:
        raise _refuse(400, "MalformedPolicy", "Missing required field Statement")


def _check_listing(query: Mapping[str, str]) -> None:
    if query.get("encoding-type", "url") != "url":
        message = "Invalid Encoding Method specified in Request"
        raise _refuse(400, "InvalidArgument", message, ArgumentName="encoding-type")
    if "version-id-marker" in query and not query.get("key-marker"):
        message = "A version-id marker cannot be specified without a key marker."
        raise _refuse(400, "InvalidArgument", message, ArgumentName="version-id-marker")
    token = query.get("continuation-token")
    known = s3_backends[ACCOUNT]["aws"]._pagination_tokens  # noqa: SLF001 - moto has no other list of them
    if token is not None and token not in known:
        message = "The continuation token provided is incorrect"
        raise _refuse(400, "InvalidArgument", message, ArgumentName="continuation-token")


def _check_empty(bucket: FakeBucket) -> None:
    if bucket.keys:
        message = "The bucket you tried to delete is not empty. You must delete all versions in the bucket."
        raise _refuse(409, "BucketNotEmpty", message, BucketName=bucket.name)


def _texts(request: Request, tag: str) -> list[str]:
    """Return the texts of the elements of this name in a configuration; it is small, and has no entities."""
    body = request.get_data()
    if not body or len(body) > _ENTITY or b"<!" in body:
        return []
    try:
        root = ET.fromstring(body)  # noqa: S314 - without declarations, as checked above
    except ET.ParseError:
        return []
    return [each.text or "" for each in root.iter() if each.tag.rpartition("}")[2] == tag]
