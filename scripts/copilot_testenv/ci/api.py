"""Call the REST API of GitHub, GitLab or Bitbucket. An error is one line without the token."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode

from copilot_testenv.core.redirects import NoRedirect

ANSWER_SECONDS = 10.0  # timeout of one request without an answer
ALL_SECONDS = 30.0  # timeout of all requests together, however slowly the answers arrive
_LARGEST = 50_000_000  # bytes; the rest of a longer answer is not read
_PAGES = 20  # pages of a list that are read, with a hundred items each

# The variables that a job of GitHub Actions has, with the token that the workflow gives to the step.
GITHUB = ("GITHUB_ACTIONS", "GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN")


def is_github(environ: Mapping[str, str]) -> bool:
    """Return True if this is a job of GitHub Actions whose step has the token."""
    return all(environ.get(name) for name in GITHUB)


class NotSentError(Exception):
    """Nothing was sent. The message is safe to show: it holds no secret."""


@dataclass(frozen=True)
class Api:
    """A system's REST API. The token is only in one header, and never in a text that is shown."""

    base: str
    token: str | None = field(repr=False)
    proxies: dict[str, str] | None = None  # None: the proxies in this process's environment

    def call(self, method: str, path: str, document: Mapping[str, object] | None = None) -> Any:
        """Send a request and return the parsed answer. Raises NotSentError and errors of urllib and json."""
        if not re.match("https?://", self.base):
            raise NotSentError("its address does not begin with https://")
        headers = {"Accept": "application/json", "User-Agent": "test-environments"}
        if self.token is not None:
            if not re.fullmatch("[!-~]+", self.token.strip()):
                raise NotSentError("the token contains letters that no token has")
            headers["Authorization"] = f"Bearer {self.token.strip()}"
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        address = self.base.rstrip("/") + path
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310 - checked above
        # A redirect could send the token to another host.
        opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler(self.proxies))
        with opener.open(request, timeout=ANSWER_SECONDS) as answer:
            text = answer.read(_LARGEST)
        return json.loads(text) if text else None

    def listing(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page, as GitHub's and GitLab's APIs return it."""
        for number in range(1, _PAGES + 1):
            parameters = urlencode({**query, "per_page": "100", "page": str(number)}, errors="replace")
            items = self.call("GET", f"{path}?{parameters}")
            if not isinstance(items, list):
                raise TypeError
            yield from items
            if len(items) < 100:  # noqa: PLR2004 - the number asked for
                return


def attempt(system: str, update: Callable[[], str]) -> str:
    """Run `update` for at most ALL_SECONDS. Return its line, or a line that says why it failed."""
    lines: list[str] = []

    def work() -> None:
        try:
            lines.append(update())
        except Exception as error:  # noqa: BLE001 - whatever it is, the deploy has succeeded
            lines.append(_failed(system, cause(error)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(ALL_SECONDS)
    return (lines or [_failed(system, f"it took longer than {ALL_SECONDS:g} s")])[0]


def _failed(system: str, why: str) -> str:
    return f"{system} was not told of this: {why}. Nothing else is affected."


def cause(error: Exception) -> str:
    """Return the cause, never in the error's own words: they can quote a header, and with it the token."""
    if isinstance(error, HTTPError):
        error.close()
        return f"it answered {error.code}; docs/ci.md names the needed token and permissions"
    if isinstance(error, NotSentError):
        return str(error)
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"it did not answer for {ANSWER_SECONDS:g} s"
    if isinstance(reason, OSError):
        return f"it cannot be reached ({reason.strerror or type(reason).__name__})"
    return f"its answer was not understood ({type(error).__name__})"
