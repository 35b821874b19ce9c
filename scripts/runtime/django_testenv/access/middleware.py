"""Tell search engines not to index the test environment, ask for the password, and make cookies fit http."""

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
except ImportError:  # asgiref before 3.6, which Django 3.2 to 4.1 may use
    import asyncio.coroutines
    from asyncio import iscoroutinefunction  # type: ignore[assignment]  # the same of the standard library

    def markcoroutinefunction(func: Any) -> Any:
        """Mark an object as a coroutine function, as Django's own middleware of that time does."""
        func._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        return func


_HEADER = "HTTP_AUTHORIZATION"


class AccessMiddleware:
    """Middleware that must come first, so that all responses pass it: also errors and WhiteNoise's files.

    Outside test environments it raises MiddlewareNotUsed, so that Django leaves it out.
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
        """Return the response, or a coroutine for it if Django runs asynchronously."""
        if iscoroutinefunction(self):
            return self._respond_async(request)
        return _shown(request, self._get_response(request) if self._is_allowed(request) else _challenge())

    async def _respond_async(self, request: HttpRequest) -> HttpResponseBase:
        response = await self._get_response(request) if self._is_allowed(request) else _challenge()
        return _shown(request, response)

    def _is_allowed(self, request: HttpRequest) -> bool:
        needed = self._access.needed(request.path_info)
        if needed is None:
            return True
        if not hmac.compare_digest(_credentials(request), needed):
            return False
        # The header is not for the project: Django REST framework, for example, would search for such a user
        # and refuse the request.
        del request.META[_HEADER]
        return True


def _credentials(request: HttpRequest) -> bytes:
    """Return the request's `user:password`; empty if it has none. No setting accepts an empty one."""
    scheme, _, encoded = request.META.get(_HEADER, "").partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return b""


def _challenge() -> HttpResponse:
    return HttpResponse(
        "This is a test environment: it asks for a name and a password.\n",
        status=401,
        content_type="text/plain; charset=utf-8",
        headers={
            "WWW-Authenticate": 'Basic realm="test environment", charset="UTF-8"',
            "Cache-Control": "no-store",
        },
    )


def _shown(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Return the response for a person in a browser: not for search engines, and with cookies that it keeps.

    A browser drops a Secure cookie that comes over http, and one for another domain, and with it the login.
    The load balancer says what the browser speaks; an environment without a certificate has http alone.
    """
    response["X-Robots-Tag"] = "noindex, nofollow"
    is_http = request.META.get("HTTP_X_FORWARDED_PROTO") == "http"
    host = "." + request.META.get("HTTP_HOST", "").partition(":")[0].lower()
    for cookie in response.cookies.values():
        if cookie["domain"] and not host.endswith("." + cookie["domain"].lstrip(".").lower()):
            cookie["domain"] = ""
        if is_http:
            cookie["secure"] = ""
            if cookie["samesite"].lower() == "none":  # only a Secure cookie may say so
                cookie["samesite"] = "Lax"
    return response
