"""Whether a deployment answers at its URL."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from urllib.parse import urlsplit

CLOSED = "the load balancer itself answers 503, as it does where no rule takes one's address"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: the project's own login page, or HTTPS without a certificate here."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_url(url: str) -> str:
    """Return what is wrong with the answer there.

    It is empty where the project itself answers, be it with a 401 or 404.

    CLOSED where the answer is the load balancer's own, which names itself in the header `Server`.
    """
    if not url.startswith(("http://", "https://")):
        return "it has no URL yet"
    try:
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        request, parts = urllib.request.Request(url), urlsplit(url)  # noqa: S310 - it was looked at above
        if parts.hostname == "localhost" or (parts.hostname or "").endswith(".localhost"):
            handlers.append(urllib.request.ProxyHandler({}))  # the user's proxy does not know our loopback
            # Not every system resolves names below localhost.
            here = parts._replace(netloc=f"127.0.0.1:{parts.port or 80}").geturl()
            request = urllib.request.Request(here, headers={"Host": parts.netloc})  # noqa: S310 - see above
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as response:
            response.read()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE and error.headers.get("Server", "").startswith(
                "awselb/"
            ):
                return CLOSED
            return f"it answers {error.code}" if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else ""
    except (OSError, HTTPException, ValueError) as error:
        return str(error)
    return ""
