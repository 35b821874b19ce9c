"""GitHub, GitLab and Bitbucket on loopback: real HTTP, and of each interface what is used, as documented.

The sources are named in scripts/copilot_testenv/ci/pull_request.py.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "t0ken-that-nobody-must-see"
BOT = {"id": 7, "type": "Bot"}
Answer = tuple[int, Any]


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    token: str | None
    document: dict[str, Any]


@dataclass
class Forge:
    """What the systems hold: requests to merge as they list them, comments by request, statuses by commit.

    `fault` says how every answer goes wrong; `reads_only`, that the token may not write.
    """

    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    reactions: list[str] = field(default_factory=list)
    permissions: dict[str, str] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    fault: str | int = ""
    reads_only: bool = False
    filters: bool = True
    address: str = ""

    def bodies(self, number: int) -> list[str]:
        return [comment["body"] for comment in self.comments.get(number, [])]

    def answer(self, asked: Asked) -> Answer:
        if asked.token != f"Bearer {TOKEN}" and not asked.path.startswith("http://api.bitbucket.org/"):
            return 401, {"message": "Bad credentials"}
        if self.reads_only and asked.method != "GET":
            return 403, {"message": "Resource not accessible by integration"}
        for method, pattern, act in self.routes:
            match = re.fullmatch(pattern, asked.path)
            if match and method == asked.method:
                return act(self, asked, *match.groups())
        return 404, {"message": "Not Found"}

    def github_pulls(self, asked: Asked) -> Answer:
        """A `head` that is not `owner:branch` filters nothing, as PyGithub's issue 1566 has it."""
        query = asked.query
        owner, _, branch = query.get("head", "").partition(":")

        def listed(pull: dict[str, Any]) -> bool:
            head = pull["head"]
            label = (head["label"].split(":")[0], head["ref"]) == (owner, branch)
            return query["state"] in {"all", pull["state"]} and (label or not branch or not self.filters)

        return 200, _page([pull for pull in self.pulls if listed(pull)], query)

    def gitlab_requests(self, asked: Asked) -> Answer:
        query = asked.query
        found = [
            request
            for request in self.pulls
            if query["state"] in {"all", request["state"]}
            and (request["source_branch"] == query["source_branch"] or not self.filters)
        ]
        return 200, _page(found, query)

    def gitlab_user(self, _: Asked) -> Answer:
        return 200, {"id": BOT["id"], "username": "project_42_bot"}

    def list_comments(self, asked: Asked, number: str) -> Answer:
        return 200, _page(self.comments.get(int(number), []), asked.query)

    def make_comment(self, asked: Asked, number: str) -> Answer:
        made = sum(map(len, self.comments.values())) + 1000
        comment = {"id": made, "body": asked.document["body"], "user": BOT, "author": BOT}
        self.comments.setdefault(int(number), []).append({**comment, "author_association": "NONE"})
        return 201, comment

    def change_comment(self, asked: Asked, *numbers: str) -> Answer:
        for comment in (comment for those in self.comments.values() for comment in those):
            if comment["id"] == int(numbers[-1]):
                comment["body"] = asked.document["body"]
                return 200, comment
        return 404, {"message": "Not Found"}

    def list_deployments(self, asked: Asked) -> Answer:
        """The newest first."""
        named = [one for one in self.deployments if one["environment"] == asked.query["environment"]]
        return 200, _page(named[::-1], asked.query)

    def make_deployment(self, asked: Asked) -> Answer:
        """GitHub merges, and asks for every check, where it is not told otherwise."""
        if asked.document["auto_merge"] or asked.document["required_contexts"]:
            return 409, {"message": "Conflict: Commit status checks failed."}
        made = {"id": 100 + len(self.deployments), "statuses": [], **asked.document}
        self.deployments.append(made)
        return 201, made

    def list_states(self, asked: Asked, number: str) -> Answer:
        return 200, self.deployments[int(number) - 100]["statuses"][::-1][: int(asked.query["per_page"])]

    def make_state(self, asked: Asked, number: str) -> Answer:
        self.deployments[int(number) - 100]["statuses"].append(asked.document)
        return 201, asked.document

    def one_pull(self, _: Asked, number: str) -> Answer:
        found = [pull for pull in self.pulls if pull["number"] == int(number)]
        return (200, found[0]) if found else (404, {"message": "Not Found"})

    def permission(self, _: Asked, login: str) -> Answer:
        return 200, {"permission": self.permissions.get(login, "none"), "user": {"login": login}}

    def react(self, asked: Asked, _number: str) -> Answer:
        self.reactions.append(asked.document["content"])
        return 201, asked.document

    def bitbucket_status(self, asked: Asked, commit: str) -> Answer:
        if len(asked.document["key"]) > 40:
            return 400, {"type": "error", "error": {"message": "key: at most 40 characters"}}
        self.statuses[f"{commit} {asked.document['key']}"] = asked.document
        return 201, asked.document

    def bitbucket_report(self, asked: Asked, commit: str, key: str) -> Answer:
        self.statuses[f"{commit} {key}"] = asked.document
        return 200, asked.document

    routes: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
        ("GET", "/repos/acme/shop/pulls", github_pulls),
        ("GET", r"/repos/acme/shop/issues/(\d+)/comments", list_comments),
        ("POST", r"/repos/acme/shop/issues/(\d+)/comments", make_comment),
        ("PATCH", r"/repos/acme/shop/issues/comments/(\d+)", change_comment),
        ("GET", "/repos/acme/shop/deployments", list_deployments),
        ("POST", "/repos/acme/shop/deployments", make_deployment),
        ("GET", r"/repos/acme/shop/deployments/(\d+)/statuses", list_states),
        ("POST", r"/repos/acme/shop/deployments/(\d+)/statuses", make_state),
        ("GET", r"/repos/acme/shop/pulls/(\d+)", one_pull),
        ("GET", r"/repos/acme/shop/collaborators/([\w-]+)/permission", permission),
        ("POST", r"/repos/acme/shop/issues/comments/(\d+)/reactions", react),
        ("GET", "/api/v4/projects/42/merge_requests", gitlab_requests),
        ("GET", "/api/v4/user", gitlab_user),
        ("GET", r"/api/v4/projects/42/merge_requests/(\d+)/notes", list_comments),
        ("POST", r"/api/v4/projects/42/merge_requests/(\d+)/notes", make_comment),
        ("PUT", r"/api/v4/projects/42/merge_requests/(\d+)/notes/(\d+)", change_comment),
        ("POST", r"/2\.0/repositories/acme/shop/commit/(\w+)/statuses/build", bitbucket_status),
        (
            "PUT",
            r"http://api\.bitbucket\.org/2\.0/repositories/acme/shop/commit/(\w+)/reports/([\w-]+)",
            bitbucket_report,
        ),
    )


def _page(items: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    size, number = int(query["per_page"]), int(query["page"])
    return items[(number - 1) * size : number * size]


class Server(ThreadingHTTPServer):
    """Answers for one forge until it is over; what hangs ends then."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.forge = Forge(address=f"http://127.0.0.1:{self.server_port}")
        self.over = threading.Event()

    def handle_error(self, *_: object) -> None:
        """A client that has gone is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        asked, forge = self.read(), self.server.forge
        forge.asked.append(asked)
        if isinstance(forge.fault, int):
            self.reply(forge.fault, b'{"message": "no"}')
        elif forge.fault:
            faults: dict[str, Callable[[], object]] = {
                "hangs": lambda: self.server.over.wait(20),
                "drips": self.drip,
                "closes": lambda: None,
                "garbage": lambda: self.reply(200, b"<!doctype html><title>Sign in</title>"),
                "odd": lambda: self.reply(200, b'[{"unforeseen": 1}]' if asked.method == "GET" else b"["),
                "redirects": lambda: self.reply(302, b"", Location=f"{forge.address}/elsewhere"),
            }
            faults[forge.fault]()
        else:
            status, document = forge.answer(asked)
            self.reply(status, json.dumps(document).encode())

    do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the names that http.server looks for

    def read(self) -> Asked:
        at = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return Asked(
            self.command,
            unquote(self.path if at.netloc else at.path),
            {name: values[0] for name, values in parse_qs(at.query).items()},
            self.headers.get("Authorization"),
            json.loads(body) if body else {},
        )

    def drip(self) -> None:
        """An answer that never ends, a blank at a time: no silence is long."""
        self.start(200, 1_000_000)
        while not self.server.over.wait(0.02):
            self.wfile.write(b" ")

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.start(status, len(body), **headers)
        self.wfile.write(body)

    def start(self, status: int, length: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def forge() -> Iterator[Forge]:
    """A forge that answers on a free port of loopback."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.forge
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
