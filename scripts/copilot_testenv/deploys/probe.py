"""Open a deployment's URL as a browser does, and say if a person gets a page there."""

from __future__ import annotations

import string
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException
from http.cookiejar import CookieJar
from typing import Literal
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from copilot_testenv.core import display
from copilot_testenv.core.redirects import NoRedirect

# Why nobody can use the page; None where it can be opened, be it a login or a 404.
Fault = Literal[
    "unreachable",  # no answer
    "closed",  # the load balancer itself answers 503
    "bad_request",  # 400, as Django answers for a host that is not in ALLOWED_HOSTS
    "https_redirect",  # http leads to https, which this environment does not serve
    "redirect_loop",
    "gateway",  # 502, 503 or 504: the load balancer, or a proxy in the task, got no answer
    "server_error",  # any other 5xx
]
CLOSED = "the load balancer itself answers 503, as it does where no rule admits the client's address"
MOST_REDIRECTS = 10
ALL_SECONDS = 30.0  # for all redirects together
_ANSWER_SECONDS = 10.0
_GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
_REDIRECTS = {301, 302, 303, 307, 308}
_PORTS = {"http": 80, "https": 443}
# As a browser asks: Django answers another page to clients that want JSON.
_HEADERS = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Accept-Language": "en",
    "User-Agent": "Mozilla/5.0 (copilot-testenv deploy-test)",
}


@dataclass(frozen=True)
class Page:
    """The answer that a browser ends at. `url` was asked last; `status` is None where nothing answered.

    `fault` is None where a person can use the page; `reason` says in words what is wrong, or worth a line.
    """

    url: str
    status: int | None = None
    fault: Fault | None = None
    reason: str = ""


def open_page(url: str, seconds: float = ALL_SECONDS) -> Page:
    """Fetch a URL and follow its redirects, on the same scheme, host and port alone; never raise.

    Cookies last as long as this call. It takes `seconds` and one answer at most.
    """
    if not url.startswith(("http://", "https://")):
        return Page(url, fault="unreachable", reason="it has no URL yet")
    cookies = urllib.request.HTTPCookieProcessor(CookieJar())
    end = time.monotonic() + seconds
    for _ in range(MOST_REDIRECTS + 1):
        try:
            status, headers = _ask(url, cookies, min(_ANSWER_SECONDS, max(1.0, end - time.monotonic())))
            if status not in _REDIRECTS or not headers.get("Location"):
                return _judged(url, status, headers)
            found = _redirected(url, status, headers["Location"])
        except (OSError, HTTPException, ValueError) as error:
            return Page(url, fault="unreachable", reason=display.line(_reason(error)))
        if isinstance(found, Page):
            return found
        url = found
        if time.monotonic() > end:
            break
    reason = f"it still redirects after {MOST_REDIRECTS} redirects or {seconds:.0f} s, now to {_shown(url)}"
    return Page(url, status, "redirect_loop", reason)


def _reason(error: Exception) -> str:
    """Return an error's words alone: "Connection refused", without numbers and names of classes."""
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    words = getattr(inner, "strerror", None) or str(inner)
    return str(words) or type(error).__name__


def _redirected(url: str, status: int, location: str) -> Page | str:
    """Return the address that an answer leads to, or the page where it must not be followed."""
    parts = urlsplit(urljoin(url, quote(location, encoding="iso-8859-1", safe=string.punctuation)))
    to = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # a browser may ask about a password
    here, there = _place(urlsplit(url)), _place(parts)
    if (here[0], there[0]) == ("http", "https") and here[1] == there[1]:
        reason = f"it redirects to {_shown(to)}, and no https is served there"
        return Page(url, status, "https_redirect", reason)
    if here != there:
        return Page(url, status, None, f"it redirects to {_shown(to)}, another host, which was not looked at")
    return to


def _shown(url: str) -> str:
    """Return the address without its query, which may hold a token."""
    return display.line(display.masked(url.partition("?")[0]))


def _ask(url: str, cookies: urllib.request.BaseHandler, timeout: float) -> tuple[int, Message]:
    """Return the status and the headers of one answer. Raises OSError, HTTPException, ValueError."""
    handlers: list[urllib.request.BaseHandler] = [NoRedirect(), cookies]
    request, parts = urllib.request.Request(url, headers=_HEADERS), urlsplit(url)  # noqa: S310 - http alone
    if parts.hostname == "localhost" or (parts.hostname or "").endswith(".localhost"):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy cannot reach this machine's loopback
        # Not every system resolves names below localhost.
        here = parts._replace(netloc=f"127.0.0.1:{parts.port or 80}").geturl()
        request = urllib.request.Request(here, headers={**_HEADERS, "Host": parts.netloc})  # noqa: S310 - as above
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def _place(parts: SplitResult) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises ValueError."""
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)


def _judged(url: str, status: int, headers: Message) -> Page:
    if status == HTTPStatus.SERVICE_UNAVAILABLE and headers.get("Server", "").startswith("awselb/"):
        return Page(url, status, "closed", CLOSED)
    answers = f"it answers {status}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Page(url, status, "gateway" if status in _GATEWAY else "server_error", answers)
    if status in {HTTPStatus.BAD_REQUEST, HTTPStatus.MISDIRECTED_REQUEST}:
        return Page(url, status, "bad_request", answers)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Page(url, status, None, f"{answers}: it is closed to those who are not logged in")
    if status >= HTTPStatus.BAD_REQUEST:
        return Page(url, status, None, f"{answers}: the project runs and has no page at this address")
    return Page(url, status)
