from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Container, Stack, Task
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed, Refused, UserError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import Stop
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import deploy, outcome, page_advice, settling
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.probe import CLOSED, Fault, Page
from copilot_testenv.session import Session, Target
from copilot_testenv.state import live
from copilot_testenv.state.lease import Lease
from tests.fakes import FakeReport, FakeShell, Memory

URL = "http://closed.example"


class OneStack(Aws):
    """An account with one stack that is complete, and the log of its task."""

    lines: tuple[str, ...] = ()

    def stack(self, name: str) -> Stack:
        return Stack(name, "CREATE_COMPLETE", {}, datetime.now(UTC))

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert group == "/copilot/demo-test-web"
        assert limit
        return list(self.lines) if stream.startswith("copilot/web/") else ["a line of redis"]


def page(fault: Fault | None, status: int | None = None, reason: str = "") -> Page:
    return Page(f"{URL}/", status, fault, reason or f"it answers {status}")


def waiting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, found: Page, *lines: str
) -> tuple[Callable[[Stop], Served], FakeReport]:
    """A deploy whose task is healthy, whose page is this one, and whose log has these lines."""
    report, here = FakeReport(), replace(settings, target=target)  # type: ignore[arg-type]  # the two literals
    served = replace(live.deployment_of(here, {"branch": "main"}), url=URL)
    containers = tuple(Container(name, "RUNNING", None, "") for name in ("redis", "web"))
    task = Task("a" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", containers)
    aws = OneStack({})
    aws.lines = lines
    monkeypatch.setattr(live, "running", lambda *_: [task])
    monkeypatch.setattr(live, "describe", lambda *_: served)
    monkeypatch.setattr(settling, "open_page", lambda _: found)
    monkeypatch.setattr(settling, "REACH_SECONDS", 0)
    monkeypatch.setattr(settling, "ERROR_SECONDS", 0)
    monkeypatch.setattr(page_advice, "_LOG_SECONDS", {"sandbox": 0, "aws": 0})
    there = Target({}, Copilot(here, {}, here.root), aws)
    session = Session(here, FakeShell({}), report, {})
    return partial(settling.wait_until_served, session, there, Branch("main", "c0ffee")), report


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("aws", page("closed", 503, CLOSED)),
        ("sandbox", page("closed", 503, CLOSED)),
        ("aws", page("unreachable", None, "timed out")),
    ],
)
def test_a_healthy_deployment_that_lets_this_machine_not_in_is_said_to_be_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, found: Page
) -> None:
    wait, report = waiting(settings, monkeypatch, target, found)
    served = wait(Stop(10))
    assert (served.deployment.url, served.wrong) == (URL, "")
    (said,) = report.said
    assert found.reason in said
    assert "allowed_source_ips" in said


@pytest.mark.parametrize("target", ["aws", "sandbox"])
@pytest.mark.parametrize(
    ("found", "line", "advice"),
    [
        (
            page("bad_request", 400),
            "ERROR Invalid HTTP_HOST header: 'shop.example:8000'. You may need to add 'shop.example' to …",
            "Django does not know the host shop.example (DisallowedHost)",
        ),
        (page("bad_request", 400), "a line that tells nothing", "its log does not say it"),
        (page("https_redirect", 301, "it redirects to https://closed.example/"), "", "SECURE_SSL_REDIRECT"),
        (page("redirect_loop", 302, "it still redirects"), "", "round in a circle"),
        (
            replace(page("redirect_loop", 302, "it still redirects"), url=f"{URL}/".replace("http", "https")),
            "",
            "SECURE_PROXY_SSL_HEADER",
        ),
        (
            page("server_error", 500),
            "ZeroDivisionError: division by zero",
            "on this page: ZeroDivisionError: division by zero",
        ),
        (
            page("server_error", 500),
            "ValueError: Missing staticfiles manifest entry for 'site.css'",
            "entry for 'site.css'. The page names a static file that was not collected or not built.",
        ),
        (page("gateway", 502), "Worker timeout", "gets no answer"),
    ],
)
def test_a_page_that_nobody_can_use_is_told_with_the_log_and_what_to_set(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, found: Page, line: str, advice: str
) -> None:
    check = '10.0.0.1 "GET /healthz HTTP/1.1" 200 "ELB-HealthChecker/2.0"'
    wait, report = waiting(settings, monkeypatch, target, found, line, check, check)
    wrong = wait(Stop(10)).wrong
    assert f"{found.url} cannot be used: {found.reason}." in wrong
    assert advice in wrong
    assert line in wrong
    assert "ELB-HealthChecker" not in wrong
    assert "redis" not in wrong
    assert report.said == []


def test_a_page_without_an_answer_ends_the_wait_in_the_sandbox(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, _ = waiting(settings, monkeypatch, "sandbox", page("unreachable", None, "timed out"))
    assert "timed out" in wait(Stop(10)).wrong


def test_a_page_worth_a_line_is_served(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, report = waiting(settings, monkeypatch, "sandbox", page(None, 404, "it answers 404: no page"))
    assert wait(Stop(10)).wrong == ""
    assert report.said == [f"(The page {URL}/: it answers 404: no page.)"]


def test_an_error_that_does_not_last_is_waited_out_to_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait, _ = waiting(settings, monkeypatch, "sandbox", page("server_error", 500))
    monkeypatch.setattr(settling, "ERROR_SECONDS", 60)
    with pytest.raises(Failed, match="it answers 500"):
        wait(Stop(0.3))


def told(
    settings: Settings, wrong: str, *, json: bool, hours: str = ""
) -> tuple[FakeReport, UserError | None]:
    report = FakeReport()
    served = Served(
        replace(live.deployment_of(settings, {"branch": "main"}), url=URL, hours=hours or None),
        page("server_error" if wrong else None, 500 if wrong else 200),
        wrong,
    )
    try:
        outcome.tell(
            Session(settings, FakeShell(), report, {}),
            Branch("main", "c0ffee"),
            served,
            None,
            seconds=1,
            json=json,
        )
    except UserError as error:
        return report, error
    return report, None


def test_a_page_that_nobody_can_use_ends_with_4_and_is_in_the_json(settings: Settings) -> None:
    report, error = told(settings, "it answers 500", json=True)
    (document,) = map(json.loads, report.printed)
    assert error is not None
    assert (error.exit_code, "is deployed and stays so, but does not work: it answers 500" in str(error)) == (
        4,
        True,
    )
    assert document["url"] == URL
    assert document["page"] == {"url": f"{URL}/", "status": 500, "fault": "server_error"}
    assert report.said == []


def test_a_script_gets_a_url_only_of_what_works(settings: Settings) -> None:
    assert told(settings, "it answers 500", json=False)[0].printed == []
    report, error = told(settings, "", json=False)
    assert (report.printed, error) == ([URL], None)
    assert report.said == ["main at c0ffee is served (1.0 s), until it is torn down:"]


def test_the_last_line_says_the_office_hours(settings: Settings) -> None:
    report, _ = told(settings, "", json=False, hours="mon-fri 08:00-19:00 UTC")
    until = "until it is torn down, awake mon-fri 08:00-19:00 UTC:"
    assert report.said == [f"main at c0ffee is served (1.0 s), {until}"]


def test_a_branch_that_is_refused_changes_no_stack_that_an_earlier_run_has_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def refuse(*_: object) -> None:
        done.append("checked")
        raise Refused("a file of the branch leads out of it")

    monkeypatch.setattr(deploy.checkout, "worktree", lambda *_: nullcontext(settings.root))
    monkeypatch.setattr(deploy._Deploy, "_prepared", refuse)
    monkeypatch.setattr(settling, "usable", lambda *_: done.append("repaired"))
    session = Session(settings, FakeShell({}), FakeReport(), {})
    there = Target({}, Copilot(settings, {}, settings.root), OneStack({}))
    left = Stack("demo-test-web", "DELETE_FAILED", {}, datetime.now(UTC))
    run = deploy._Deploy(session, there, Branch("main", "c0ffee"), datetime.now(UTC), deploy.Options())
    with pytest.raises(Refused):
        run._deploy(left, Lease(Memory(), "web", "ada", "deploying main"), is_new=False)
    assert done == ["checked"]
