from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import (
    Container,
    ContainerDefinition,
    Event,
    Stack,
    TargetHealth,
    Task,
    TaskDefinition,
)
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.watch import LONG_AGO, Watcher, _plain
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell

BEFORE = datetime(2026, 11, 22, tzinfo=UTC)
OURS = {"commit": "new", "deployed_at": "now"}
OLD = Stack("demo-test-web", "UPDATE_COMPLETE", {"commit": "old"}, BEFORE)


@dataclass
class Played(Aws):
    """An AWS that answers what the test says is there: states that pass too fast to be met for real."""

    found: Stack | None = None
    ran: list[Task] = field(default_factory=list)
    happened: list[Event] = field(default_factory=list)
    health: list[TargetHealth] = field(default_factory=list)
    ecs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__({})

    def stack(self, name: str) -> Stack | None:
        assert name == "demo-test-web"
        return self.found

    def resource(self, stack: str, logical_id: str) -> str | None:
        assert stack
        return f"arn:x:service/cluster/{logical_id}" if self.found else None

    def tasks(self, cluster: str, service: str) -> list[Task]:
        assert (cluster, service) == ("cluster", "Service")
        return self.ran

    def task_definition(self, arn: str) -> TaskDefinition:
        assert arn
        return TaskDefinition("256", "512", "", ())

    def events(self, stack: str, since: datetime) -> list[Event]:
        assert stack
        return [event for event in self.happened if event.at > since]

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert group == "/copilot/demo-test-web"
        assert limit
        return [f"last line of {stream}"]

    def targets(self, stack: str) -> list[TargetHealth]:
        assert stack == "demo-test-web"
        return self.health

    def service_events(self, cluster: str, service: str, since: datetime) -> list[str]:
        assert (cluster, service) == ("cluster", "Service")
        assert since
        return ["(service web) has started 1 tasks: (task b).", *self.ecs]


def watcher(settings: Settings, aws: Played) -> Watcher:
    made = Watcher(Session(settings, FakeShell(), FakeReport(), {}), aws, OURS)
    with made:
        pass
    return made


def looks(made: Watcher, aws: Played, *stacks: Stack | None) -> list[signal.Signals | None]:
    due = []
    for stack in stacks:
        aws.found = stack
        made._look()
        due.append(made.signal_due())
    return due


def at(status: str, **tags: str) -> Stack:
    return Stack("demo-test-web", status, {**OURS, **tags}, BEFORE + timedelta(minutes=1))


def test_copilot_is_ended_when_our_own_change_has_settled_for_two_looks(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    done = at("UPDATE_COMPLETE")
    assert looks(made, aws, OLD, at("UPDATE_IN_PROGRESS"), done, done) == [None, None, None, signal.SIGTERM]


def test_a_failed_first_stack_that_is_deleted_to_be_made_anew_ends_nothing(settings: Settings) -> None:
    old = replace(OLD, status="ROLLBACK_COMPLETE")
    aws = Played(old)
    made = watcher(settings, aws)
    deleting = replace(old, status="DELETE_IN_PROGRESS", changed_at=BEFORE + timedelta(seconds=9))
    created = at("CREATE_IN_PROGRESS")
    assert looks(made, aws, old, deleting, None, None, None, at("REVIEW_IN_PROGRESS"), created) == [None] * 7


def test_somebody_elses_change_ends_nothing(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    theirs = at("UPDATE_COMPLETE", commit="theirs")
    assert looks(made, aws, at("UPDATE_IN_PROGRESS", commit="theirs"), theirs, theirs, theirs) == [None] * 4


def test_a_stack_that_carries_our_tags_already_is_not_our_change(settings: Settings) -> None:
    same = replace(OLD, tags=OURS)
    aws = Played(same)
    made = watcher(settings, aws)
    assert looks(made, aws, same, same, same) == [None] * 3


def test_what_failed_before_this_deploy_is_not_blamed(settings: Settings) -> None:
    failed = (Container("startup", "STOPPED", 1, ""),)
    earlier = Task("a" * 32, "STOPPED", "UNKNOWN", "arn:1", None, "", failed)
    aws = Played(OLD, [earlier], [Event(BEFORE, "Service", "UPDATE_FAILED", "of old")])
    made = watcher(settings, aws)
    assert made.why() == ""
    aws.ran = [earlier, replace(earlier, id="b" * 32)]
    aws.happened.append(Event(BEFORE + timedelta(1), "Service", "UPDATE_FAILED", "of new"))
    why = made.why()
    assert why.startswith("\nThe container `startup` ended with exit code 1.")
    assert f"last line of copilot/startup/{'b' * 32}" in why
    assert "of new" in why
    assert "of old" not in why


def test_a_task_that_did_not_start_says_why(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    containers = (Container("web", "STOPPED", None, ""),)
    reason = "ResourceInitializationError: no value for K. Give it in .sandbox.env: K=value."
    aws.ran = [Task("b" * 32, "STOPPED", "UNKNOWN", "arn:1", None, reason, containers)]
    assert made.why() == f"\nThe task stopped: {reason}"


def test_what_did_not_get_healthy_in_time_is_quoted(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    aws.ran = [
        Task("b" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", (Container("web", "RUNNING", None, ""),))
    ]
    made.remember_unfinished()
    assert "`web` was not healthy" in made.why()
    assert made.cause.startswith("The container `web` was not healthy")
    assert made.cause.endswith(".")  # `status` shows this line alone
    assert "last line of copilot/web" in made.why()


def stopped(reason: str, *containers: Container) -> Task:
    return Task("b" * 32, "STOPPED", "UNKNOWN", "arn:1", None, reason, containers)


def end(name: str, code: int | None = None, reason: str = "") -> Container:
    return Container(name, "STOPPED", code, reason)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            stopped(
                "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve "
                "secrets from ssm: The parameter /copilot/demo/test/secrets/MAIL could not be found.",
                end("startup"),
                end("web"),
            ),
            ["The task stopped: ResourceInitializationError", "/secrets/MAIL", "`copilot secret init`"],
        ),
        (
            stopped("CannotPullContainerError: demo/web:x: not found", end("web")),
            ["CannotPullContainerError: demo/web:x", "The image cannot be pulled"],
        ),
        (
            stopped("Essential container in task exited", end("redis", 0), end("web", 3)),
            ["`web` ended with exit code 3. Its last lines:", "last line of copilot/web"],
        ),
        (
            stopped("Task failed to start", end("web", 127, "CannotStart: /srv/start: Exec format error")),
            ["The container `web` did not run: CannotStart", "another CPU architecture", "`#!/bin/sh`"],
        ),
        (
            stopped("OutOfMemoryError: container killed", end("web", 137, "OutOfMemoryError")),
            ["`web` ended with exit code 137 (OutOfMemoryError). Its last lines:", "more `memory`"],
        ),
        (
            stopped(
                "Task failed ELB health checks in (target-group arn:x): nothing listens on port 80",
                end("redis", 143),
                end("startup", 0),
                end("web", 143),
            ),
            [
                "The container `web` ran and was not healthy",
                "last line of copilot/web",
                "nothing listens on port 80",
            ],
        ),
    ],
)
def test_what_ends_a_task_before_it_is_healthy_is_told_by_its_reason(
    settings: Settings, task: Task, words: list[str]
) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    aws.ran = [task]
    aws.happened = [Event(BEFORE + timedelta(1), "Service", "CREATE_FAILED", "Circuit Breaker")]
    why = made.why()
    assert all(word in why for word in words), why
    assert why.index(words[0]) < why.index("Circuit Breaker")
    said = [line for line in made.session.report.said if "it stopped: " in line]  # type: ignore[attr-defined]
    assert len(said) == 1
    assert ("web has ended" if task.stopped_reason.startswith("Essential") else task.stopped_reason) in said[
        0
    ]


def test_a_container_that_ended_is_named_with_its_error_and_not_with_what_followed(
    settings: Settings,
) -> None:
    class Logging(Played):
        def last_lines(self, *_: object) -> list[str]:
            return ["  Applying shop.0002_x...", "ValueError: no weight"]

    aws = Logging(OLD)
    made = watcher(settings, aws)
    dependency = (
        "CannotStartContainerError: dependency graph: failed to resolve container ordering dependency "
        "[startup (STOPPED) - Exit: 1] for target [web] as dependency did not exit successfully."
    )
    aws.ran = [replace(stopped(dependency, end("startup", 1), end("web")), id=name * 32) for name in "ab"]
    breaker = "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
    aws.happened = [Event(BEFORE + timedelta(1), "Service", "UPDATE_FAILED", breaker)]
    error = "ValueError: no weight (migration shop.0002_x)"
    assert made.why() == (
        f"\nThe container `startup` ended with exit code 1: {error}\nIts last lines:"
        "\n    Applying shop.0002_x...\n  ValueError: no weight"
    )
    said = made.session.report.said  # type: ignore[attr-defined]
    assert said.count(f"  startup: {error}") == 1
    assert not any("dependency" in line for line in said)


@dataclass
class Migrating(Played):
    """An AWS whose container `startup` copies and migrates, and has written these lines."""

    lines: tuple[str, ...] = ("  Applying shop.0002_x...", "ValueError: no weight")

    def task_definition(self, arn: str) -> TaskDefinition:
        command = ("sh", "-c", "python manage.py copy_stage_db && python manage.py migrate")
        startup = ContainerDefinition("startup", "image", command, {}, {})
        return replace(super().task_definition(arn), containers=(startup,))

    def last_lines(self, *_: object) -> list[str]:
        return list(self.lines)


ESSENTIAL = "Essential container in task exited"
LOST = "django.db.utils.OperationalError: connection failed: timeout expired"


@pytest.mark.parametrize(
    ("ends", "lines", "status", "ended"),
    [
        ((end("startup", 1), end("web")), Migrating.lines, "UPDATE_IN_PROGRESS", True),
        ((end("startup", 1), end("web")), Migrating.lines, "CREATE_IN_PROGRESS", True),
        ((end("startup", 3), end("web")), ("CommandError: not marked",), "UPDATE_IN_PROGRESS", True),
        # ECS's next try may succeed, or nothing is known of why it failed.
        ((end("startup", 1), end("web")), (LOST,), "UPDATE_IN_PROGRESS", False),
        ((end("startup", 4), end("web")), ("CommandError: no answer",), "UPDATE_IN_PROGRESS", False),
        ((end("startup", 1), end("web")), ("bye",), "UPDATE_IN_PROGRESS", False),
        ((end("startup", 137), end("web")), Migrating.lines, "UPDATE_IN_PROGRESS", False),
        # Another container than the one that migrates.
        ((end("startup", 0), end("web", 1)), Migrating.lines, "UPDATE_IN_PROGRESS", False),
        # ECS's circuit breaker has come first.
        ((end("startup", 1), end("web")), Migrating.lines, "UPDATE_ROLLBACK_IN_PROGRESS", False),
    ],
)
def test_copilot_rolls_back_at_the_first_failure_that_each_further_try_would_repeat(
    settings: Settings, ends: tuple[Container, ...], lines: tuple[str, ...], status: str, *, ended: bool
) -> None:
    aws = Migrating(OLD, lines=lines)
    made = watcher(settings, aws)
    next_try = Task(
        "d" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", (Container("startup", "RUNNING", None, ""),)
    )
    aws.ran = [stopped(ESSENTIAL, *ends), next_try]
    made.phases._task = "b" * 32
    due = signal.SIGINT if ended else None
    assert looks(made, aws, at(status), at(status)) == [due, due]
    aws.ran.append(replace(stopped(ESSENTIAL, end("startup", 143), end("web")), id="c" * 32))
    looks(made, aws, at(status))
    said = made.session.report.said  # type: ignore[attr-defined]
    assert ("  startup: ended with exit code 143" in said) is not ended
    assert any("tries again" in line for line in said) is not (ended or "ROLLBACK" in status)
    assert said.count("  the deploy is ended: each further try of ECS would fail in the same way") == ended


def test_a_task_that_ecs_ends_for_another_one_is_no_failure(settings: Settings) -> None:
    aws = Played(OLD)
    made = watcher(settings, aws)
    aws.ran = [stopped("Scaling activity initiated by (deployment ecs-svc/1)", end("web", 137))]
    assert made.why() == ""


def test_copilots_lines_are_read_without_escapes_and_noise() -> None:
    lines = [
        "\x1b[2K\x1b[1A",
        "",
        "sandbox: not done here: RUN apt-get",
        "\x1b[31mERROR: no such package\x1b[0m",
        'Building your container image "web": docker build …',
        "ERROR: no such package",
    ]
    assert _plain(lines) == ["ERROR: no such package"]


def test_what_the_sandbox_did_not_install_is_reported_once_and_at_once(settings: Settings) -> None:
    made = watcher(settings, Played())
    for line in (
        "sandbox: line 3 installed nothing here: `conda install a`: x\n",
        "sandbox: python:3.13-slim is Python 3.13; here it runs on Python 3.11 (python3)\n",
        "sandbox: not done here: y",
    ):
        made.keep(line)
        made.keep(line)
    report = made.session.report
    assert isinstance(report, FakeReport)
    assert report.said == [
        "  sandbox: line 3 installed nothing here: `conda install a`: x",
        "  sandbox: python:3.13-slim is Python 3.13; here it runs on Python 3.11 (python3)",
    ]


def test_the_watch_begins_at_awss_own_time(settings: Settings) -> None:
    assert watcher(settings, Played())._since == LONG_AGO
    happened = [Event(BEFORE, "Service", "CREATE_COMPLETE", "")]
    assert watcher(settings, Played(OLD, [], happened))._since == BEFORE


def test_an_error_that_nobody_foresaw_is_said_and_the_watch_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, errors = FakeReport(), [KeyError("Stacks")]
    made = Watcher(Session(replace(settings, target="sandbox"), FakeShell(), report, {}), Played(OLD), OURS)

    def look() -> None:
        if errors:
            raise errors.pop()
        made._over.set()

    monkeypatch.setattr(made, "_look", look)
    with made:
        assert made._over.wait(10)
    assert report.said == ["(The deploy could not be checked just now: KeyError: 'Stacks')"]
