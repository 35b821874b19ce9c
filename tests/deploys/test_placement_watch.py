"""A deploy of which ECS places no task: only the service's events say why."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import placement_watch
from copilot_testenv.deploys.watch import Watcher
from tests.deploys.test_health_watch import RUNS
from tests.deploys.test_watch import OLD, Played, watcher
from tests.fakes import FakeReport

# As AWS writes it: docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
GUIDE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
NO_ROOM = (
    "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try "
    f"again later or in a different availability zone. {GUIDE}"
)
NO_QUOTA = (
    "(service web) was unable to place a task. Reason: You\u2019ve reached the limit on the number of vCPUs "
    f"you can run concurrently. {GUIDE}"
)


def at(made: Watcher, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[str]:
    """What has been said after looks at these times."""
    for now in seconds:
        monkeypatch.setattr(placement_watch.time, "monotonic", lambda now=now: 1000 + now)
        made.placement.look([task for task in made._tasks() if task.id not in made._known])
    report = made.session.report
    assert isinstance(report, FakeReport)
    return report.said


@pytest.mark.parametrize(
    ("event", "cure"), [(NO_ROOM, "TEST_CAPACITY=spot-first"), (NO_QUOTA, "`invoke check --account`")]
)
def test_why_no_task_is_placed_is_told_once_within_seconds_and_first_of_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, event: str, cure: str
) -> None:
    aws = Played(OLD, ecs=[event])
    made = watcher(settings, aws)
    (said,) = at(made, monkeypatch, 0, 5, 11, 40)
    assert said.startswith(f"  ECS places no task: {event}")
    assert cure in said
    assert made.signal_due() is None
    why = made.why().strip().splitlines()
    assert why[0] == f"ECS placed no task: {event}"
    assert cure in why[1]
    assert why.count(event) == 0  # it is not told again as an event


def test_a_deploy_without_a_place_for_three_minutes_is_rolled_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = watcher(settings, Played(OLD, ecs=[NO_ROOM]))
    said = at(made, monkeypatch, 0, 179)
    assert made.signal_due() is None
    at(made, monkeypatch, 191)
    assert made.signal_due() == signal.SIGINT
    assert "the deploy is ended: no task of it starts" in said[-1]


def test_capacity_that_comes_back_is_no_reason_any_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(OLD, ecs=[NO_ROOM])
    made = watcher(settings, aws)
    at(made, monkeypatch, 0, 170)
    aws.ran = [replace(RUNS, status="PROVISIONING")]
    at(made, monkeypatch, 195)
    assert made.signal_due() is None
    assert made.placement.reason == ""


def test_routine_events_and_a_role_without_the_right_say_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = watcher(settings, Played(OLD))
    assert at(made, monkeypatch, 0, 20) == []

    def refuse(*_: object) -> list[str]:
        raise Failed("AccessDenied")

    monkeypatch.setattr(Played, "service_events", refuse)
    assert at(made, monkeypatch, 40) == []
