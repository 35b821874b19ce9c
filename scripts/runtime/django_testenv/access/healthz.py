"""Answer the load balancer's health check at `/healthz`, in a Django middleware.

It stands behind AccessMiddleware, whose `open_paths` names its path, and before all others. The load balancer
calls a task by its address, which is in no ALLOWED_HOSTS, and Django would answer that with 400; nothing that
comes after, a login say, can stand in its way either. It says that the process serves, and asks no database:
what a deploy needs of that, the startup sidecar has done.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from django_testenv.access import access

PATH = access.HEALTHZ_PATH


class Healthz:
    """Synchronous middleware, as `runserver` and gunicorn want it; under ASGI Django runs it in a thread."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == PATH:
            return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")
        return self._get_response(request)
