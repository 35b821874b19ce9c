"""Tell search engines to stay away, and ask for the password where there is one."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any

from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from django_testenv.access import access

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
except ImportError:  # before asgiref 3.6, which Django 3.2 to 4.1 may come with
    import asyncio.coroutines
    from asyncio import iscoroutinefunction  # type: ignore[assignment]  # the same of the standard library

    def markcoroutinefunction(func: Any) -> Any:
        """Mark an object as Django's own middleware of that time marks itself."""
        func._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        return func


_HEADER = "HTTP_AUTHORIZATION"


class AccessMiddleware:
    """Middleware to be the first, so that all answers pass it: errors and WhiteNoise's files too.

    Outside test environments Django leaves it out, as MiddlewareNotUsed asks.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        found = access.read()
        if found is None:
            raise MiddlewareNotUsed
        self._access = found
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        """Answer, or say how to answer where Django runs asynchronously."""
        if iscoroutinefunction(self):
            return self._answer_later(request)
        return _hidden(self._get_response(request) if self._lets_in(request) else _ask())

    async def _answer_later(self, request: HttpRequest) -> HttpResponseBase:
        return _hidden(await self._get_response(request) if self._lets_in(request) else _ask())

    def _lets_in(self, request: HttpRequest) -> bool:
        needed = self._access.needed(request.path_info)
        if needed is None:
            return True
        if not hmac.compare_digest(_given(request), needed):
            return False
        # It is not the project's: Django REST framework, for one, would look for such a user and refuse.
        del request.META[_HEADER]
        return True


def _given(request: HttpRequest) -> bytes:
    """Return the `user:password` that came along; empty where none did, which no setting allows."""
    scheme, _, encoded = request.META.get(_HEADER, "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return b""


def _ask() -> HttpResponse:
    return HttpResponse(
        "This is a test environment: it asks for a name and a password.\n",
        status=401,
        content_type="text/plain; charset=utf-8",
        headers={
            "WWW-Authenticate": 'Basic realm="test environment", charset="UTF-8"',
            "Cache-Control": "no-store",
        },
    )


def _hidden(response: HttpResponseBase) -> HttpResponseBase:
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response
