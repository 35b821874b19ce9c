"""Answer the load balancer's health check at `/healthz`, in a Django middleware.

It comes after AccessMiddleware, whose `open_paths` has its path, and before all others. The load balancer
calls a task by its address, which is not in ALLOWED_HOSTS, so that Django would answer with 400; later
middleware, such as a login, cannot intercept the request either. The answer says that the process serves. It
does not query the database, which the startup sidecar has prepared before.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from django_testenv.access import access

PATH = access.HEALTHZ_PATH


class Healthz:
    """Synchronous middleware, for `runserver` and gunicorn; under ASGI Django runs it in a thread."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == PATH:
            return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")
        return self._get_response(request)
