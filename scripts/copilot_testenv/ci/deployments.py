"""Show deploys and teardowns as GitHub's deployments: in progress, success with its URL, failure, inactive.

GitHub shows them on the pull request and on the page of deployments. Errors are one line and fail
nothing; elsewhere than in GitHub Actions nothing is sent.

Sources: https://docs.github.com/en/rest/deployments/deployments and
https://docs.github.com/en/rest/deployments/statuses
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from copilot_testenv.ci.api import Api, attempt, is_github

_ENDED = {"inactive", "failure", "error"}


@dataclass
class Outcome:
    """Hold what a deploy fills in while its deployment is shown; without a URL it counts as failed."""

    url: str | None = None


@contextmanager
def shown(
    environ: Mapping[str, str], commit: str, slot: str, say: Callable[[str], None]
) -> Iterator[Outcome]:
    """Show a deploy of `commit` to `slot`, a stack, while it runs, and how it ended."""
    outcome = Outcome()
    number = 0

    def begin() -> str:
        nonlocal number
        number = _Deployments(environ, slot).begin(commit)
        return ""

    def end() -> str:
        _Deployments(environ, slot).end(number, outcome.url)
        return ""

    if is_github(environ):
        _attempt(begin, say)
    try:
        yield outcome
    finally:
        if number:
            _attempt(end, say)


def gone(environ: Mapping[str, str], slot: str, say: Callable[[str], None]) -> None:
    """Make the slot's deployments inactive after a teardown."""

    def end() -> str:
        _Deployments(environ, slot).end_others(None)
        return ""

    if is_github(environ):
        _attempt(end, say)


def _attempt(work: Callable[[], str], say: Callable[[str], None]) -> None:
    if line := attempt("GitHub (deployments)", work):
        say(line)


class _Deployments:
    """The deployments of one slot: its environment on GitHub has the slot's name."""

    def __init__(self, environ: Mapping[str, str], slot: str) -> None:
        self.api = Api(environ["GITHUB_API_URL"], environ["GITHUB_TOKEN"])
        self.home = f"/repos/{quote(environ['GITHUB_REPOSITORY'])}/deployments"
        self.slot = slot
        self.log = ""
        if environ.get("GITHUB_SERVER_URL") and environ.get("GITHUB_RUN_ID"):
            run = f"{environ['GITHUB_REPOSITORY']}/actions/runs/{environ['GITHUB_RUN_ID']}"
            self.log = f"{environ['GITHUB_SERVER_URL']}/{run}"

    def begin(self, commit: str) -> int:
        """Create a deployment and return its number; no check of the commit has to have passed."""
        made = self.api.call(
            "POST",
            self.home,
            {
                "ref": commit,
                "environment": self.slot,
                "auto_merge": False,
                "required_contexts": [],
                "transient_environment": True,
                "production_environment": False,
            },
        )
        number = int(made["id"])
        self._set(number, "in_progress")
        return number

    def end(self, number: int, url: str | None) -> None:
        """Say that the deployment succeeded, and end those before it; without a URL, that it failed."""
        if not url:
            self._set(number, "failure")
            return
        self._set(number, "success", url)
        self.end_others(number)

    def end_others(self, kept: int | None) -> None:
        """Make the slot's deployments inactive, from the newest to the first one that is inactive.

        GitHub does so itself only for environments that are not transient.
        """
        for deployment in self.api.listing(self.home, environment=self.slot):
            number = int(deployment["id"])
            if number == kept or deployment["environment"] != self.slot:
                continue
            state = self._state(number)
            if state == "inactive":
                return
            if state not in _ENDED:
                self._set(number, "inactive")

    def _state(self, number: int) -> str:
        statuses: list[dict[str, Any]] = self.api.call("GET", f"{self.home}/{number}/statuses?per_page=1")
        return str(statuses[0]["state"]) if statuses else ""

    def _set(self, number: int, state: str, url: str = "") -> None:
        links = {"log_url": self.log, "environment_url": url}
        status = {"state": state, **{name: link for name, link in links.items() if link}}
        self.api.call("POST", f"{self.home}/{number}/statuses", {**status, "auto_inactive": False})
