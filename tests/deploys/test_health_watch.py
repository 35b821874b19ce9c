"""Tasks that run and are not healthy: what is said of them, and when they are not waited for."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from copilot_testenv.aws.stack import Container, TargetHealth, Task
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import health_watch
from copilot_testenv.deploys.health_watch import HealthWatch
from copilot_testenv.deploys.task_advice import advice
from copilot_testenv.session import Session
from tests.deploys.test_watch import BEFORE, OLD, Played, watcher
from tests.fakes import FakeReport, FakeShell

RUNS = Task("b" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", (Container("web", "RUNNING", None, ""),))


def health(
    settings: Settings, aws: Played, monkeypatch: pytest.MonkeyPatch, *seconds: float, task: Task = RUNS
) -> tuple[HealthWatch, list[str]]:
    """What is said of a task that runs, looked at after so many seconds."""
    said: list[str] = []
    made = HealthWatch(Session(settings, FakeShell(), FakeReport(), {}), aws, said.append, BEFORE)
    for now in (0.0, *seconds):
        monkeypatch.setattr(health_watch.time, "monotonic", lambda now=now: 1000 + now)
        made.look([task])
    return made, said


def test_a_task_that_stays_unhealthy_is_told_once_with_its_log_and_ecs_events(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = TargetHealth(8000, "unhealthy", "Health checks failed with these codes: [500]")
    aws = Played(OLD, health=[TargetHealth(8000, "draining", "of the old task"), failing])
    aws.ecs = ["(service web) (port 8000) is unhealthy in (target-group x)"]
    made, said = health(settings, aws, monkeypatch, 5, 21, 40, 200)
    (text,) = said
    assert "task bbbbbbbb: it has run for 21 s and is not healthy: Health checks failed" in text
    assert "ECS: (service web) (port 8000) is unhealthy" in text
    assert "has started" not in text
    assert "last line of copilot/web" in text
    assert "DEPLOY_TIMEOUT" in text
    assert made.reason == failing.reason


BOOTED = replace(
    RUNS, containers=(Container("startup", "STOPPED", 0, ""), Container("web", "RUNNING", None, ""))
)


@pytest.mark.parametrize(
    ("task", "state", "hopeless"),
    [
        (BOOTED, "unhealthy", True),
        (BOOTED, "initial", False),
        (BOOTED, "healthy", False),
        (
            replace(BOOTED, containers=BOOTED.containers[1:]),
            "unhealthy",
            False,
        ),  # it may migrate at its start
        (replace(BOOTED, containers=(Container("startup", "RUNNING", None, ""),)), "unhealthy", False),
    ],
)
def test_a_task_that_has_prepared_all_and_stays_unhealthy_is_not_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, task: Task, state: str, *, hopeless: bool
) -> None:
    aws = Played(OLD, health=[TargetHealth(8000, state, "codes: [500]")])
    made, said = health(settings, aws, monkeypatch, 0, 30, 100, 209, task=task)
    assert not made.hopeless
    monkeypatch.setattr(health_watch.time, "monotonic", lambda: 1000 + 30 + 181)
    made._asked = 0
    made.look([task])
    assert bool(made.hopeless) is hopeless
    assert ("up to 180 s, because `startup` has ended" in "".join(said)) is hopeless


def test_a_deploy_that_cannot_succeed_is_rolled_back_with_the_containers_last_lines(
    settings: Settings,
) -> None:
    aws = Played(OLD, ran=[BOOTED])
    made = watcher(settings, aws)
    made._known = set()
    made.health.hopeless = "Health checks failed with these codes: [500]"
    assert made.signal_due() == signal.SIGINT
    why = made.why()
    assert "`web` was not healthy: Health checks failed with these codes: [500]. Its last lines" in why
    assert "last line of copilot/web/" in why


def test_a_healthy_task_and_one_that_begins_are_not_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(OLD, health=[TargetHealth(8000, "healthy", "")])
    assert health(settings, aws, monkeypatch, 30, 50, 100)[1] == []
    aws.health = [TargetHealth(8000, "initial", "Elb.InitialHealthChecks")]
    assert health(settings, aws, monkeypatch, 30)[1] == []
    assert len(health(settings, aws, monkeypatch, 30, 50)[1]) == 1


def test_a_container_health_check_that_fails_is_told_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(OLD, health=[TargetHealth(8000, "healthy", "")])
    sick = replace(RUNS, health="UNHEALTHY")
    (text,) = health(settings, aws, monkeypatch, 21, task=sick)[1]
    assert "a container's own health check fails" in text


def test_a_traceback_in_the_log_is_told_before_the_load_balancer_has_decided(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(OLD, health=[TargetHealth(8000, "initial", "Elb.InitialHealthChecks")])
    lines = ["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'shop'"]
    monkeypatch.setattr(Played, "last_lines", lambda *_: lines)
    (text,) = health(settings, aws, monkeypatch, 21)[1]
    assert "No module named 'shop'" in text


def test_a_role_that_may_not_ask_for_the_health_hides_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> list[TargetHealth]:
        raise Failed("AccessDenied")

    monkeypatch.setattr(Played, "targets", refuse)
    (text,) = health(settings, Played(OLD), monkeypatch, 30, 50)[1]
    assert "its health is not known: AccessDenied" in text


def test_the_watch_is_never_silent_for_long(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    report = made.session.report
    assert isinstance(report, FakeReport)
    made._said_at -= 31
    made.keep("\x1b[1mBuilding your container image")
    made._end_silence()
    made._end_silence()
    aws.ran = [RUNS]
    made._look()
    made._said_at -= 31
    made._end_silence()
    waits = [line for line in report.said if "still waiting" in line]
    assert len(waits) == 2
    assert waits[0].endswith("Copilot: Building your container image")
    assert waits[1].endswith("web is RUNNING")
    made.phases.last_line = "Waiting for postgres..."
    made._said_at -= 31
    made._end_silence()
    assert report.said[-1].endswith("web is RUNNING; it last wrote: Waiting for postgres...")


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("[INFO] Listening at: http://127.0.0.1:8000 (7)", "let it listen on 0.0.0.0:8000"),
        ("Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)", "listens on port 8080"),
        ("Starting development server at http://0.0.0.0:8001/", "listens on port 8001"),
        ("Listening on TCP address 127.0.0.1:8000", "let it listen on 0.0.0.0:8000"),
        ("uWSGI http bound on :8080 fd 4", "listens on port 8080"),
        ("[INFO] Listening at: http://0.0.0.0:8000 (7)", ""),
        ("uWSGI http bound on :8000 fd 4", ""),
        ("a line about 10:30", ""),
    ],
)
def test_a_server_on_another_port_than_the_load_balancers_is_known_by_its_log(line: str, cure: str) -> None:
    found = advice([], [line], 8000)
    assert cure in found
    assert bool(found) == bool(cure)


@pytest.mark.parametrize(
    "line", ["/srv/start.sh: line 6: nginx: command not found", "sh: 1: nginx: not found"]
)
def test_a_program_that_the_container_lacks_is_named(line: str) -> None:
    assert advice([], [line]).startswith("The container has no program nginx: install it in the Dockerfile.")


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("ModuleNotFoundError: No module named 'shop.local'", "The image has no module shop.local: "),
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file",
            "The container has no library libGL.so.1: ",
        ),
        ("OSError: cannot load library 'libpango-1.0-0': x", "The container has no library libpango-1.0-0: "),
        (
            "ImproperlyConfigured: Could not find the GDAL library (tried ",
            "The container has no library GDAL: ",
        ),
        ("ValueError: Dependency on app with no migrations: shop", "Git has no migrations of the app shop: "),
    ],
)
def test_what_a_project_lacks_in_git_is_told(line: str, cure: str) -> None:
    assert advice([], [line]).startswith(cure)


def test_a_page_that_is_not_found_is_no_missing_program() -> None:
    assert advice([], ["Not Found: /favicon.ico", "10:30: page /x: not found"]) == ""
