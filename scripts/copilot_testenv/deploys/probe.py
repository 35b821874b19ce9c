"""Check if a deployment answers at its URL."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from urllib.parse import urlsplit

from copilot_testenv.core.redirects import NoRedirect

CLOSED = "the load balancer itself answers 503, as it does where no rule admits the client's address"


def check_url(url: str) -> str:
    """Return the fault of the answer at a URL; empty where the project itself answers, even with 401 or 404.

    It is CLOSED where the load balancer answers itself, by its name in the header `Server`.
    """
    if not url.startswith(("http://", "https://")):
        return "it has no URL yet"
    try:
        # A redirect counts as an answer: to a login page, or to HTTPS without a certificate on this machine.
        handlers: list[urllib.request.BaseHandler] = [NoRedirect()]
        request, parts = urllib.request.Request(url), urlsplit(url)  # noqa: S310 - it was looked at above
        if parts.hostname == "localhost" or (parts.hostname or "").endswith(".localhost"):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's loopback
            # Not every system resolves names below localhost.
            address = parts._replace(netloc=f"127.0.0.1:{parts.port or 80}").geturl()
            request = urllib.request.Request(address, headers={"Host": parts.netloc})  # noqa: S310 - see above
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
