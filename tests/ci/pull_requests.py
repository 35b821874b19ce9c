"""The systems that host pull requests, as a test plays them, and what is told there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from copilot_testenv.ci.pull_request import Message, tell
from tests.forges import TOKEN, Forge

COMMIT = "4f1c2a9d7be0c3551f2a60a1d7e2b98cf0aa1234"
SERVED = Message("feature/x", COMMIT, "https://x.example.org", "2026-11-27T18:00:00Z", "web")
GONE = replace(SERVED, url=None)
MARKER = "<!-- test-environment: web -->"
HOSTILE = (
    "feature/`</code><img src=x>`",
    "``` a\n```\n# b",
    "@octocat",
    "](https://evil.example.org) [x",
    "<!-- --> <script>alert(1)</script>",
    "$`x`$ | a\r\n/close\n* b",
    "https://evil.example.org www.evil.example.org",
    "a\\`b",
    "\u202egnp\ud800\x00",
)
unhurried = settings(deadline=None)  # a busy machine is no fault
anything = st.one_of(st.text(st.characters()), st.text("`\\<>[]()*_~ @$|\n"), st.sampled_from(HOSTILE))


def github(here: Forge) -> dict[str, str]:
    return {
        "GITHUB_ACTIONS": "true", "GITHUB_API_URL": here.address, "GITHUB_REPOSITORY": "acme/shop",
        "GITHUB_TOKEN": TOKEN,
    }  # fmt: skip


def gitlab(here: Forge) -> dict[str, str]:
    return {"CI_API_V4_URL": f"{here.address}/api/v4", "CI_PROJECT_ID": "42", "GITLAB_TOKEN": TOKEN}


def bitbucket(_: Forge) -> dict[str, str]:
    return {
        "BITBUCKET_WORKSPACE": "acme", "BITBUCKET_REPO_SLUG": "shop", "BITBUCKET_COMMIT": "beef",
        "BITBUCKET_ACCESS_TOKEN": TOKEN,
    }  # fmt: skip


def pull(number: int, branch: str = "feature/x", state: str = "open", repository: str = "acme/shop") -> Any:
    """A pull request as GitHub lists it, and as GitLab does."""
    owner = repository.split("/", maxsplit=1)[0]
    return {
        "number": number, "iid": number, "state": state, "source_branch": branch,
        "source_project_id": 42 if repository == "acme/shop" else 43,
        "head": {"ref": branch, "label": f"{owner}:{branch}", "repo": {"full_name": repository}},
    }  # fmt: skip


def comment(number: int, body: str | None, association: str = "NONE", **user: Any) -> dict[str, Any]:
    author = {"id": 1, "type": "User", **user}
    return {"id": number, "body": body, "user": author, "author": author, "author_association": association}


def told(environ: dict[str, str], message: Message = SERVED) -> list[str]:
    said: list[str] = []
    tell(environ, message, said.append)
    return said


SYSTEMS = [github, gitlab, bitbucket]
