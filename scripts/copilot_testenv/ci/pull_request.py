"""Write the address of a deployment on its pull request.

It never fails the deploy: an error is one line. A system whose variables are not set is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from copilot_testenv.ci.api import GITHUB, Api, attempt

# Letters of an address, without `{}`, which Bitbucket replaces, and `<>`, which end a link in Markdown.
_LINK = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")


@dataclass(frozen=True)
class Message:
    """The facts of one deployment. `url` is None after a teardown, which updates the deploy's comment.

    `service`, a Copilot name, distinguishes several deployments. `expires_at` is None if it does not expire,
    `hours`, its office hours, if it does not sleep.
    """

    branch: str
    commit: str | None
    url: str | None
    expires_at: str | None
    service: str
    hours: str | None = None


def tell(environ: Mapping[str, str], message: Message, say: Callable[[str], None]) -> None:
    """Update the branch's pull requests on the system that runs this CI job. Print errors, never raise."""
    for system, needed, update in _SYSTEMS:
        if all(environ.get(name) for name in needed):
            if line := attempt(system, partial(update, environ, message)):
                say(line)
            return


def is_told(environ: Mapping[str, str]) -> bool:
    """Return True if `tell` has a system to write to."""
    return any(all(environ.get(name) for name in needed) for _, needed, _ in _SYSTEMS)


def _github(environ: Mapping[str, str], message: Message) -> str:
    """Keep one comment on each open pull request of the branch.

    Sources: https://docs.github.com/en/rest/pulls/pulls#list-pull-requests and
    https://docs.github.com/en/rest/issues/comments. The filter `head` is not relied on: where GitHub does not
    understand it, it lists every pull request, and it has listed one of another branch at the same commit.
    https://github.com/PyGithub/PyGithub/issues/1566, https://github.com/octokit/octokit.js/issues/2056
    """
    api = Api(environ["GITHUB_API_URL"], environ["GITHUB_TOKEN"])
    repository = environ["GITHUB_REPOSITORY"]
    home = f"/repos/{quote(repository)}"
    found = api.listing(
        f"{home}/pulls",
        head=f"{repository.split('/')[0]}:{message.branch}",
        state="all" if message.url is None else "open",
        sort="updated",
        direction="desc",
    )

    def ours(pull: dict[str, Any]) -> bool:
        head = pull["head"]  # its repository is None where a fork was deleted
        name = str((head["repo"] or {}).get("full_name"))
        return bool(head["ref"] == message.branch and name.casefold() == repository.casefold())

    def trusted(comment: dict[str, Any]) -> bool:
        """Return False for a stranger's comment with our marker: its author could change our text later."""
        author = comment["user"] or {}  # None where the account is gone
        insiders = {"OWNER", "MEMBER", "COLLABORATOR"}
        return author.get("type") == "Bot" or comment["author_association"] in insiders

    updated = [
        f"#{number}"
        for number in _numbers([pull for pull in found if ours(pull)], "number", message)
        if _comment(
            api, f"{home}/issues/{number}/comments", "PATCH", f"{home}/issues/comments", message, trusted
        )
    ]
    return _summary(updated, "GitHub's pull request")


def _gitlab(environ: Mapping[str, str], message: Message) -> str:
    """Keep one note on each open merge request of the branch.

    It needs a token of its own, because a job's own token may read notes but not write them.

    Sources: https://docs.gitlab.com/ci/jobs/ci_job_token/#job-token-access,
    https://docs.gitlab.com/api/merge_requests/, https://docs.gitlab.com/api/notes/#merge-requests and
    https://docs.gitlab.com/api/rest/authentication/
    """
    api = Api(environ["CI_API_V4_URL"], environ["GITLAB_TOKEN"])
    project = environ["CI_PROJECT_ID"]
    home = f"/projects/{quote(project, safe='')}/merge_requests"
    # A pipeline knows its own merge request; a sweep, or a deploy of another branch, must search for it.
    mine = environ.get("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME") == message.branch
    if mine and (number := environ.get("CI_MERGE_REQUEST_IID")):
        numbers = [int(number)]
    else:
        found = api.listing(
            home,
            source_branch=message.branch,
            state="all" if message.url is None else "opened",
            order_by="updated_at",
            sort="desc",
        )
        ours = [
            request
            for request in found
            if request["source_branch"] == message.branch and str(request["source_project_id"]) == project
        ]
        numbers = _numbers(ours, "iid", message)
    me = api.call("GET", "/user")["id"] if numbers else None

    def own(note: dict[str, Any]) -> bool:
        return bool(note["author"]["id"] == me)

    updated = [
        f"!{number}"
        for number in numbers
        if _comment(api, f"{home}/{number}/notes", "PUT", f"{home}/{number}/notes", message, own)
    ]
    return _summary(updated, "GitLab's merge request")


def _bitbucket(environ: Mapping[str, str], message: Message) -> str:
    """Set a build status of the commit, or a report if there is no token: a pull request shows both.

    A pipeline has a proxy that authenticates. Its documentation names reports, but not statuses:
    https://bitbucket.org/blog/provide-full-context-to-reviewers-by-including-pipeline-artifacts-within-the-pull-request,
    https://jira.atlassian.com/browse/BCLOUD-21842
    A status needs a token that may read, and the same token to change it later:
    https://developer.atlassian.com/cloud/bitbucket/bitbucket-api-changes-commit-status/
    A key has at most 40 characters: https://github.com/buildbot/buildbot/issues/7049
    Further sources: https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/ and
    https://developer.atlassian.com/cloud/bitbucket/rest/api-group-reports/
    """
    workspace, slug = environ["BITBUCKET_WORKSPACE"], environ["BITBUCKET_REPO_SLUG"]
    commit = message.commit or environ["BITBUCKET_COMMIT"]
    home = "/" + "/".join(
        ["repositories", quote(workspace, safe=""), quote(slug, safe=""), "commit", quote(commit, safe="")]
    )
    key = f"test-environment-{sha256(message.service.encode()).hexdigest()[:16]}"
    name = f"Test environment {message.service}"
    until = f"until {message.expires_at}" if message.expires_at else "until it is torn down"
    awake = f", awake {message.hours}" if message.hours else ""
    about = "Torn down" if message.url is None else f"Served {until}{awake}"
    link = message.url or ""
    if not _LINK.fullmatch(link):  # both need a link, also after a teardown
        link = f"https://bitbucket.org/{quote(workspace, safe='')}/{quote(slug, safe='')}"
    if token := environ.get("BITBUCKET_ACCESS_TOKEN"):
        status = {"key": key, "name": name, "description": about, "url": link, "refname": message.branch}
        state = "STOPPED" if message.url is None else "SUCCESSFUL"
        Api(_BITBUCKET, token).call("POST", f"{home}/statuses/build", {**status, "state": state})
    else:
        report = {"title": name, "details": about, "link": link, "report_type": "TEST", "reporter": name}
        api = Api(_BITBUCKET.replace("https://", "http://"), None, {"http": _BITBUCKET_PROXY})
        api.call("PUT", f"{home}/reports/{key}", report)
    return f"Told on Bitbucket's commit {commit[:12]}."


_BITBUCKET = "https://api.bitbucket.org/2.0"
_BITBUCKET_PROXY = "http://localhost:29418"
_WAKE = {"PATCH": "a comment `/wake`", "PUT": "the job `wake`"}  # of GitHub, of GitLab
_SYSTEMS = (
    ("GitHub", GITHUB, _github),
    ("GitLab", ("CI_API_V4_URL", "CI_PROJECT_ID", "GITLAB_TOKEN"), _gitlab),
    ("Bitbucket", ("BITBUCKET_WORKSPACE", "BITBUCKET_REPO_SLUG", "BITBUCKET_COMMIT"), _bitbucket),
)


def _numbers(requests: list[dict[str, Any]], number: str, message: Message) -> list[int]:
    """Return the numbers of open requests, and after a teardown also of the last closed one.

    The teardown may have come from closing that request.
    """
    opened = [request for request in requests if request["state"] in {"open", "opened"}]
    closed = [request for request in requests if request not in opened]
    return [int(request[number]) for request in opened + (closed[:1] if message.url is None else [])]


def _comment(
    api: Api,
    comments: str,
    method: str,
    collection: str,
    message: Message,
    own: Callable[[dict[str, Any]], bool],
) -> bool:
    """Update our comment in `collection`, or post one. Return False if a teardown finds no comment."""
    document = {"body": _body(message, _WAKE[method])}
    for comment in api.listing(comments):
        if str(comment["body"]).startswith(_marker(message)) and own(comment):
            api.call(method, f"{collection}/{int(comment['id'])}", document)
            return True
    if message.url is None:
        return False
    api.call("POST", comments, document)
    return True


def _summary(numbers: list[str], what: str) -> str:
    return f"Told on {what} {', '.join(numbers)}." if numbers else ""


def _marker(message: Message) -> str:
    return f"<!-- test-environment: {message.service} -->"


def _body(message: Message, wake: str) -> str:
    what = f"**Test environment** {_code(message.service)}: {_code(message.branch)}"
    commit = f" at {_code(message.commit[:12])}" if message.commit else ""
    if message.url is None:
        return f"{_marker(message)}\n\n{what} is no longer served: it was torn down.\n"
    link = f"<{message.url}>" if _LINK.fullmatch(message.url) else _code(message.url)
    end = f"Until {_code(message.expires_at)}." if message.expires_at else "Kept until it is torn down."
    if message.hours:
        end += f" Outside {_code(message.hours)} it sleeps, and its address answers 503: {wake} wakes it."
    return f"{_marker(message)}\n\n{what}{commit} is served at {link}\n\n{end}\n"


def _code(text: str) -> str:
    """Return Markdown that shows any text literally: without markup, links or mentions.

    The fence has more backquotes than the text has in a row: https://spec.commonmark.org/0.31.2/#code-spans
    """
    plain = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in " ".join(text.split())
    )
    fence = "`" * (max(map(len, re.findall("`+", plain)), default=0) + 1)
    return f"{fence} {plain} {fence}"
