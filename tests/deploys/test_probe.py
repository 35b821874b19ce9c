from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from copilot_testenv.deploys.probe import CLOSED, check_url


@pytest.mark.parametrize("url", ["", "file:///etc/hostname", "http://[::1/", "http://localhost:1/"])
def test_an_address_that_cannot_answer_is_a_reason_and_never_a_traceback(url: str) -> None:
    assert check_url(url)


@contextmanager
def answering(status: int, server: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = server, ""

        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: pytest's output is for failures."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.handle_request)
        thread.start()
        yield f"http://localhost:{http.server_port}/"
        thread.join()


@pytest.mark.parametrize(
    ("status", "server", "wrong"),
    [
        (401, "gunicorn", ""),  # who asks for a password answers
        (404, "gunicorn", ""),
        (503, "gunicorn", "it answers 503"),
        (502, "awselb/2.0", "it answers 502"),
        (503, "awselb/2.0", CLOSED),
    ],
)
def test_a_projects_answer_is_told_from_the_load_balancers(status: int, server: str, wrong: str) -> None:
    with answering(status, server) as url:
        assert check_url(url) == wrong
