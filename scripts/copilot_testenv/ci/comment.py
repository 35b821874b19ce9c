"""Read a command from a comment on a pull request of GitHub: `/deploy`, `/wake`, `/teardown`, `/extend 3d`.

The workflow of the default branch calls it, for the event `issue_comment`. The text may be hostile: this
module reads it from the event's file, no shell does, and only the values that it has checked leave it. An
author who may not write to the repository is refused. So is a pull request from a fork: its code must not run
with this repository's rights.

Sources:
https://docs.github.com/en/actions/reference/workflows-and-actions/events-that-trigger-workflows#issue_comment,
https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user,
https://docs.github.com/en/rest/pulls/pulls#get-a-pull-request and https://docs.github.com/en/rest/reactions/reactions
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from copilot_testenv.ci.api import Api, attempt, cause, is_github
from copilot_testenv.ci.outputs import outputs
from copilot_testenv.core import documents, git
from copilot_testenv.core.errors import Failed, Refused, SettingsError, UsageError

_FORMS = "write /deploy, /wake, /teardown or /extend 3d as the first line of a comment"
# What `extend --until` takes: 3d, 2026-12-01 18:00, friday 18:00 Europe/London. A flag begins with a dash.
_COMMAND = re.compile(r"/(deploy|wake|teardown)|/(extend)[ \t]+([0-9A-Za-z][0-9A-Za-z:/_+ -]{0,60})")
_WRITERS = {"admin", "maintain", "write"}


def read(environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Write the outputs `task`, `branch` and `until` of the job's comment for the next steps; react to it.

    Raises Refused where its author may not write to the repository or the branch is a fork's, UsageError for
    a text that is no command, SettingsError outside such a job, and Failed where GitHub does not answer.
    """
    if not is_github(environ) or not environ.get("GITHUB_EVENT_PATH"):
        raise SettingsError(
            "This is not a job of GitHub Actions with GITHUB_TOKEN in its step: "
            f"{documents.page('ci.md')} shows the workflow."
        )
    event = _event(Path(environ["GITHUB_EVENT_PATH"]))
    api = Api(environ["GITHUB_API_URL"], environ["GITHUB_TOKEN"])
    repository = environ["GITHUB_REPOSITORY"]
    home = f"/repos/{quote(repository)}"
    try:
        number, text = int(event["issue"]["number"]), str(event["comment"]["body"])
        author, identity = str(event["comment"]["user"]["login"]), int(event["comment"]["id"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError("The job's event is not a comment: `on: issue_comment` starts it.") from error
    reactions = f"{home}/issues/comments/{identity}/reactions"
    try:
        pull = _pull_request(api, home, number, author)
        values = _checked(pull, repository, text)
    except (Refused, UsageError):
        _react(api, reactions, "confused", say)
        raise
    _react(api, reactions, "eyes", say)
    outputs(environ, values, say)
    say(f"{author} asks for: {' '.join(value for value in values.values() if value)}")


@dataclass(frozen=True)
class _PullRequest:
    """A pull request, and the right that the comment's author has to the repository."""

    number: int
    branch: str
    source: str  # the repository of the branch; "None" where it was deleted
    is_open: bool
    author: str
    permission: str


def _pull_request(api: Api, home: str, number: int, author: str) -> _PullRequest:
    """Ask GitHub. Raises Failed."""
    try:
        right = api.call("GET", f"{home}/collaborators/{quote(author, safe='')}/permission")["permission"]
        pull = api.call("GET", f"{home}/pulls/{number}")
        head = pull["head"]
        source = str((head["repo"] or {}).get("full_name"))
        return _PullRequest(number, str(head["ref"]), source, pull["state"] == "open", author, str(right))
    except Exception as error:  # noqa: BLE001 - its own words could quote the token
        raise Failed(
            f"GitHub could not be asked about the comment: {cause(error)}. Nothing was changed."
        ) from None


def _checked(pull: _PullRequest, repository: str, text: str) -> dict[str, str]:
    """Return the command's values. Raises Refused, UsageError."""
    if pull.permission not in _WRITERS:
        raise Refused(
            f"{pull.author} may not write to {repository}, so the comment starts nothing. A person who may "
            "write to it must write the comment."
        )
    if pull.source.casefold() != repository.casefold():
        raise Refused(
            f"Pull request #{pull.number} is from a fork, whose code is not run with this repository's "
            "rights. Push the branch to this repository to deploy it."
        )
    task, until = _parsed(text)
    if not pull.is_open and task != "teardown":
        raise Refused(f"Pull request #{pull.number} is closed: open it again to {task} its branch.")
    return {"task": task, "branch": git.check_name(pull.branch), "until": until}


def _parsed(text: str) -> tuple[str, str]:
    """Return the task and the expiry in the comment's first line. Raises UsageError."""
    first = (text.strip().splitlines() or [""])[0].strip()
    match = _COMMAND.fullmatch(first)
    if not match:
        raise UsageError(f"The comment is no command: {_FORMS}.")
    return match[1] or match[2], (match[3] or "").strip()


def _event(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("The file of GITHUB_EVENT_PATH cannot be read as JSON.") from error


def _react(api: Api, path: str, content: str, say: Callable[[str], None]) -> None:
    def post() -> str:
        api.call("POST", path, {"content": content})
        return ""

    if line := attempt("GitHub (the reaction)", post):
        say(line)
