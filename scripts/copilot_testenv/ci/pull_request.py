"""Write the address of a deployment on its pull request, and its facts for later steps of the CI job.

Neither ever fails the deploy: an error is one line. A system whose variables are not set is skipped.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode

from copilot_testenv.core import documents
from copilot_testenv.core.redirects import NoRedirect

_ANSWER_SECONDS = 10.0  # timeout of one request without an answer
_ALL_SECONDS = 30.0  # timeout of all requests together, however slowly the answers arrive
_LARGEST = 50_000_000  # bytes; the rest of a longer answer is not read
_PAGES = 20  # pages of a list that are read, with a hundred items each

# Letters of an address, without `{}`, which Bitbucket replaces, and `<>`, which end a link in Markdown.
_LINK = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
# Texts that GitLab, which knows no quotes, and a shell that sources the file read in the same way.
_PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+=,-]*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Message:
    """The facts of one deployment. `url` is None after a teardown, which updates the deploy's comment.

    `service`, a Copilot name, distinguishes several deployments. `expires_at` is None if it does not expire.
    """

    branch: str
    commit: str | None
    url: str | None
    expires_at: str | None
    service: str


def tell(environ: Mapping[str, str], message: Message, say: Callable[[str], None]) -> None:
    """Update the branch's pull requests on the system that runs this CI job. Print errors, never raise."""
    for system, needed, update in _SYSTEMS:
        if all(environ.get(name) for name in needed):
            if line := _attempt(system, partial(update, environ, message)):
                say(line)
            return


def outputs(environ: Mapping[str, str], values: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Pass facts (`{"url": …}`) to later steps: in $GITHUB_OUTPUT, and as DEPLOY_URL=… in $DEPLOY_OUTPUT.

    Names are in lower case. Never raises: `say` gets one line for a file that cannot be written.
    """
    named = {name: value for name, value in values.items() if _NAME.fullmatch(name)}
    plain = {name: value for name, value in named.items() if _PLAIN.fullmatch(value)}
    for variable, mode, text in (
        ("GITHUB_OUTPUT", "a", _github_output(named)),
        ("DEPLOY_OUTPUT", "w", "".join(f"DEPLOY_{name.upper()}={value}\n" for name, value in plain.items())),
    ):
        if path := environ.get(variable):
            try:
                with Path(path).open(mode, encoding="utf-8", errors="replace", newline="") as file:
                    file.write(text)
            except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
                why = getattr(error, "strerror", None) or "it is not a path"
                say(f"The file of {variable} cannot be written: {why}. Later steps do not get it.")
    if environ.get("DEPLOY_OUTPUT") and (odd := sorted(named.keys() - plain.keys())):
        names = ", ".join(f"DEPLOY_{name.upper()}" for name in odd)
        say(f"Left out of DEPLOY_OUTPUT: {names}, because a shell would not read their letters literally.")


def _github_output(values: Mapping[str, str]) -> str:
    """Return GitHub's form of values, which may have several lines; the delimiter between them is random.

    Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#multiline-strings
    """
    end = secrets.token_hex(16)
    return "".join(f"{name}<<{end}\n{value}\n{end}\n" for name, value in values.items())


class _NotSentError(Exception):
    """Nothing was sent. The message is safe to show: it holds no secret."""


@dataclass(frozen=True)
class _Api:
    """A system's REST API. The token is only in one header, and never in a text that is shown."""

    base: str
    token: str | None = field(repr=False)
    proxies: dict[str, str] | None = None  # None: the proxies in this process's environment

    def call(self, method: str, path: str, document: Mapping[str, str] | None = None) -> Any:
        """Send a request and return the parsed answer. Raises _NotSentError and errors of urllib and json."""
        if not re.match("https?://", self.base):
            raise _NotSentError("its address does not begin with https://")
        headers = {"Accept": "application/json", "User-Agent": "test-environments"}
        if self.token is not None:
            if not re.fullmatch("[!-~]+", self.token.strip()):
                raise _NotSentError("the token contains letters that no token has")
            headers["Authorization"] = f"Bearer {self.token.strip()}"
        body = None
        if document is not None:
            headers["Content-Type"] = "application/json"
            body = json.dumps(document).encode()
        address = self.base.rstrip("/") + path
        request = urllib.request.Request(address, body, headers, method=method)  # noqa: S310 - checked above
        # A redirect could send the token to another host.
        opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler(self.proxies))
        with opener.open(request, timeout=_ANSWER_SECONDS) as answer:
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


def _attempt(system: str, update: Callable[[], str]) -> str:
    """Run `update` for at most _ALL_SECONDS. Return its line, or a line that says why it failed."""
    lines: list[str] = []

    def work() -> None:
        try:
            lines.append(update())
        except Exception as error:  # noqa: BLE001 - whatever it is, the deploy has succeeded
            lines.append(_failed(system, _why(error)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(_ALL_SECONDS)
    return (lines or [_failed(system, f"it took longer than {_ALL_SECONDS:g} s")])[0]


def _failed(system: str, why: str) -> str:
    return f"{system} was not told of this: {why}. Nothing else is affected."


def _why(error: Exception) -> str:
    """Return the cause, never in the error's own words: they can quote a header, and with it the token."""
    if isinstance(error, HTTPError):
        error.close()
        return f"it answered {error.code}; {documents.page('ci.md')} names the needed token and permissions"
    if isinstance(error, _NotSentError):
        return str(error)
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"it did not answer for {_ANSWER_SECONDS:g} s"
    if isinstance(reason, OSError):
        return f"it cannot be reached ({reason.strerror or type(reason).__name__})"
    return f"its answer was not understood ({type(error).__name__})"


def _github(environ: Mapping[str, str], message: Message) -> str:
    """Keep one comment on each open pull request of the branch.

    Sources: https://docs.github.com/en/rest/pulls/pulls#list-pull-requests and
    https://docs.github.com/en/rest/issues/comments. The filter `head` is not relied on: where GitHub does not
    understand it, it lists every pull request, and it has listed one of another branch at the same commit.
    https://github.com/PyGithub/PyGithub/issues/1566, https://github.com/octokit/octokit.js/issues/2056
    """
    api = _Api(environ["GITHUB_API_URL"], environ["GITHUB_TOKEN"])
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
    api = _Api(environ["CI_API_V4_URL"], environ["GITLAB_TOKEN"])
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
    about = "Torn down" if message.url is None else f"Served {until}"
    link = message.url or ""
    if not _LINK.fullmatch(link):  # both need a link, also after a teardown
        link = f"https://bitbucket.org/{quote(workspace, safe='')}/{quote(slug, safe='')}"
    if token := environ.get("BITBUCKET_ACCESS_TOKEN"):
        status = {"key": key, "name": name, "description": about, "url": link, "refname": message.branch}
        state = "STOPPED" if message.url is None else "SUCCESSFUL"
        _Api(_BITBUCKET, token).call("POST", f"{home}/statuses/build", {**status, "state": state})
    else:
        report = {"title": name, "details": about, "link": link, "report_type": "TEST", "reporter": name}
        api = _Api(_BITBUCKET.replace("https://", "http://"), None, {"http": _BITBUCKET_PROXY})
        api.call("PUT", f"{home}/reports/{key}", report)
    return f"Told on Bitbucket's commit {commit[:12]}."


_BITBUCKET = "https://api.bitbucket.org/2.0"
_BITBUCKET_PROXY = "http://localhost:29418"
_SYSTEMS = (
    ("GitHub", ("GITHUB_ACTIONS", "GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_TOKEN"), _github),
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
    api: _Api,
    comments: str,
    method: str,
    collection: str,
    message: Message,
    own: Callable[[dict[str, Any]], bool],
) -> bool:
    """Update our comment in `collection`, or post one. Return False if a teardown finds no comment."""
    document = {"body": _body(message)}
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


def _body(message: Message) -> str:
    what = f"**Test environment** {_code(message.service)}: {_code(message.branch)}"
    commit = f" at {_code(message.commit[:12])}" if message.commit else ""
    if message.url is None:
        return f"{_marker(message)}\n\n{what} is no longer served: it was torn down.\n"
    link = f"<{message.url}>" if _LINK.fullmatch(message.url) else _code(message.url)
    end = f"Until {_code(message.expires_at)}." if message.expires_at else "Kept until it is torn down."
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
