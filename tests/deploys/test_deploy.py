from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import Stop
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import settling
from copilot_testenv.deploys.probe import CLOSED
from copilot_testenv.session import Session, Target
from copilot_testenv.state import live
from tests.fakes import FakeReport, FakeShell

URL = "http://closed.example"


class OneStack(Aws):
    """An account with one stack that is complete."""

    def stack(self, name: str) -> Stack:
        return Stack(name, "CREATE_COMPLETE", {}, datetime.now(UTC))


def waiting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, wrong: str
) -> tuple[Callable[[Stop], live.Deployment], FakeReport]:
    """A deploy whose task is healthy and whose URL has, seen from here, this wrong with it."""
    report, here = FakeReport(), replace(settings, target=target)  # type: ignore[arg-type]  # the two literals
    served = replace(live.deployment_of(here, {"branch": "main"}), url=URL)
    monkeypatch.setattr(live, "running", lambda *_: [{"taskArn": "one"}])
    monkeypatch.setattr(live, "describe", lambda *_: served)
    monkeypatch.setattr(settling, "check_url", lambda _: wrong)
    monkeypatch.setattr(settling, "REACH_SECONDS", 0)
    there = Target({}, Copilot(here, {}, here.root), OneStack({}))
    session = Session(here, FakeShell({}), report, {})
    return partial(settling.wait_until_served, session, there, Branch("main", "c0ffee")), report


@pytest.mark.parametrize(("target", "wrong"), [("aws", CLOSED), ("sandbox", CLOSED), ("aws", "timed out")])
def test_a_healthy_deployment_that_lets_this_machine_not_in_is_said_to_be_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, wrong: str
) -> None:
    wait, report = waiting(settings, monkeypatch, target, wrong)
    assert wait(Stop(10)).url == URL
    (said,) = report.said
    assert wrong in said
    assert "allowed_source_ips" in said


@pytest.mark.parametrize(
    ("target", "wrong"), [("aws", "it answers 503"), ("sandbox", "it answers 500"), ("sandbox", "timed out")]
)
def test_a_deployment_that_answers_wrongly_is_waited_for_to_the_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, target: str, wrong: str
) -> None:
    wait, _ = waiting(settings, monkeypatch, target, wrong)
    with pytest.raises(Failed, match=wrong):
        wait(Stop(0.3))
