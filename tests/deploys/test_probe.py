from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from copilot_testenv.deploys.probe import CLOSED, MOST_REDIRECTS, open_page

Answers = Mapping[str, tuple[int, Mapping[str, str]]]


@pytest.mark.parametrize("url", ["", "file:///etc/hostname", "http://[::1/", "http://localhost:1/"])
def test_an_address_that_cannot_answer_is_a_reason_and_never_a_traceback(url: str) -> None:
    page = open_page(url)
    assert page.fault == "unreachable"
    assert page.reason


@contextmanager
def answering(answers: Answers, server: str = "gunicorn") -> Iterator[tuple[str, list[str]]]:
    """A server that answers these paths; yields its address and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = server, ""

        def do_GET(self) -> None:
            cookie = self.headers.get("Cookie")
            asked.append(f"{self.headers['Host']}{self.path}{f' {cookie}' if cookie else ''}")
            status, headers = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value.replace("HOST", self.headers["Host"]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing: pytest's output is for failures."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://localhost:{http.server_port}", asked
        http.shutdown()
        thread.join()


def to(location: str, **more: str) -> tuple[int, Mapping[str, str]]:
    return 302, {"Location": location, **more}


@pytest.mark.parametrize(
    ("status", "server", "fault", "reason"),
    [
        (200, "gunicorn", None, ""),
        (401, "gunicorn", None, "401"),  # who asks for a password answers
        (403, "gunicorn", None, "403"),
        (404, "gunicorn", None, "has no page"),  # an API
        (405, "gunicorn", None, "has no page"),
        (304, "gunicorn", None, ""),
        (400, "gunicorn", "bad_request", "400"),
        (500, "gunicorn", "server_error", "500"),
        (503, "gunicorn", "gateway", "it answers 503"),
        (502, "awselb/2.0", "gateway", "it answers 502"),
        (503, "awselb/2.0", "closed", CLOSED),
    ],
)
def test_a_projects_answer_is_told_from_the_load_balancers(
    status: int, server: str, fault: str | None, reason: str
) -> None:
    with answering({"/": (status, {})}, server) as (url, _):
        page = open_page(url)
    assert (page.status, page.fault) == (status, fault)
    assert reason in page.reason
    assert bool(page.reason) == bool(reason)


def test_redirects_are_followed_to_the_page_with_the_cookies_of_this_call() -> None:
    answers = {
        "/": to("/fr/", **{"Set-Cookie": "language=fr"}),
        "/fr/": to("http://ada:hunter2@HOST/login/?next=/fr/"),
        "/login/?next=/fr/": (200, {}),
    }
    with answering(answers) as (url, asked):
        page = open_page(url)
        open_page(url)
    assert (page.url, page.status, page.fault) == (f"{url}/login/?next=/fr/", 200, None)
    host = url.removeprefix("http://")
    cookie = " language=fr"
    once = [f"{host}/", f"{host}/fr/{cookie}", f"{host}/login/?next=/fr/{cookie}"]
    assert asked == once * 2  # the second call knows no cookie of the first


def test_an_error_behind_a_redirect_is_found() -> None:
    with answering({"/": to("/shop/"), "/shop/": (500, {})}) as (url, _):
        assert open_page(url).fault == "server_error"


@pytest.mark.parametrize("location", ["https://HOST/", "https://localhost/?token=hunter2"])
def test_a_redirect_to_https_on_a_host_without_it_is_a_fault(location: str) -> None:
    with answering({"/": to(location)}) as (url, asked):
        page = open_page(url)
    assert page.fault == "https_redirect"
    assert "hunter2" not in page.reason
    assert len(asked) == 1


@pytest.mark.parametrize(
    "location",
    ["http://elsewhere.example/", "https://login.example/", "http://localhost:1/", "//other.example"],
)
def test_another_host_is_told_and_never_asked(location: str) -> None:
    with answering({"/": to(location)}) as (url, asked):
        page = open_page(url)
    assert (page.fault, page.status) == (None, 302)
    assert "another host" in page.reason
    assert len(asked) == 1


def test_a_redirect_without_an_end_is_a_fault() -> None:
    with answering({"/": to("/")}) as (url, asked):
        page = open_page(url)
    assert page.fault == "redirect_loop"
    assert len(asked) == MOST_REDIRECTS + 1


@pytest.mark.parametrize("location", ["/\u00e9 x/", "javascript:alert(1)", "http://[::1/", ""])
def test_a_location_that_is_no_address_is_no_traceback(location: str) -> None:
    encoded = location.encode().decode("latin-1")
    with answering({"/": to(encoded), "/%C3%A9%20x/": (200, {})}) as (url, _):
        open_page(url)
