"""Serve files of an overlay that a browser cannot get elsewhere, at addresses that are signed for an hour.

These are staging's files for a storage on a disk, and all files in the sandbox: no browser reaches its
buckets.
"""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from django.core import signing
from django.core.exceptions import SuspiciousOperation
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotFound
from django.urls import get_script_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = "/.testenv-media/"
_SALT = "django_testenv.media"
_SECONDS = 3600  # as django-storages' AWS_QUERYSTRING_EXPIRE
_known: dict[str, Any] = {}  # overlays by the digest of their places


def register(overlay: Any) -> str:
    """Keep an overlay for the middleware; return its key, which is the same in every process."""
    stage, original = overlay.testenv_stage, type(overlay.testenv_original)
    place = f"{getattr(stage, 'bucket_name', '')}/{stage.location}"
    key = f"{original.__module__}.{original.__qualname__} {place}"
    _known[key] = overlay
    return key


def address(key: str, name: str) -> str:
    """Return the address of a file on this host."""
    token = signing.dumps([key, name], salt=_SALT)
    return f"{get_script_prefix().rstrip('/')}{_PATH}{token}/{quote(name.rsplit('/', 1)[-1])}"


class MediaMiddleware:
    """Answer the addresses of this module; every other request goes on."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        if request.method not in {"GET", "HEAD"} or not request.path_info.startswith(_PATH):
            return self._get_response(request)
        return _served(request.path_info[len(_PATH) :].partition("/")[0])


def _served(token: str) -> Any:
    try:
        key, name = signing.loads(token, salt=_SALT, max_age=_SECONDS)
        file = _known[key].open(name, "rb")
    except (signing.BadSignature, KeyError, OSError, SuspiciousOperation):
        return HttpResponseNotFound("There is no such file, or its address is older than an hour.\n")
    kind, encoding = mimetypes.guess_type(name)
    response = FileResponse(file, content_type=kind if kind and not encoding else "application/octet-stream")
    # Somebody has uploaded it: a page or a picture among the files must not act for who looks at it.
    response["Content-Security-Policy"] = (
        "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"
    )
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, max-age=60"
    return response
