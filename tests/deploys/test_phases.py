"""The phases of a deploy, as a person reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Container, ContainerDefinition, Stack, Task, TaskDefinition
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.phases import Phases
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell

NOW = datetime(2026, 11, 22, tzinfo=UTC)
COPY = ("sh", "-c", "python manage.py copy_stage_db && python manage.py migrate")
DATA = 'copy_stage_db: data of 2026-11-20T10:00:00+00:00 in "test"'


@dataclass
class Played(Aws):
    """An AWS with one task definition, and what its container `startup` has written."""

    command: tuple[str, ...] = COPY
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__({})

    def task_definition(self, arn: str) -> TaskDefinition:
        assert arn == "arn"
        startup = ContainerDefinition("startup", "image", self.command, {}, {})
        return TaskDefinition("256", "512", "", (startup,))

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert (group, stream) == ("/copilot/demo-test-web", "copilot/startup/one")
        assert limit
        return self.lines


def task(web: str, startup: str, code: int | None = None, name: str = "one") -> Task:
    status = "STOPPED" if web == "STOPPED" else "RUNNING"
    both = (Container("web", web, None, ""), Container("startup", startup, code, ""))
    return Task(name, status, "UNKNOWN", "arn", NOW, "", both)


def phases(settings: Settings, aws: Played) -> tuple[Phases, list[str]]:
    said: list[str] = []
    session = Session(settings, FakeShell(), FakeReport(), {})
    return Phases(session, aws, said.append), said


def names(said: list[str]) -> list[str]:
    assert all(re.match(r" {2}[ \d]{3} s {2}\S", line) for line in said), said
    return [line.partition(" s  ")[2] for line in said]


def test_the_last_line_of_the_container_that_copies_is_kept_while_it_runs(settings: Settings) -> None:
    aws = Played(lines=["Waiting for postgres...", " "])
    made, _ = phases(settings, aws)
    made.look(None, [task("PENDING", "RUNNING")])
    assert made.last_line == "Waiting for postgres..."
    aws.lines = [DATA, "  Applying shop.0001_initial..."]
    made.look(None, [task("PENDING", "RUNNING")])
    assert made.last_line == "Applying shop.0001_initial..."
    made.look(None, [task("RUNNING", "STOPPED", 0)])
    assert not made.last_line


def test_a_deploy_is_told_in_phases_each_once(settings: Settings) -> None:
    aws = Played()
    made, said = phases(settings, aws)
    for _ in range(2):
        made.tell("building the image")
        made.look(None, [])
    for looked in (task("PENDING", "PENDING"), task("PENDING", "RUNNING"), task("PENDING", "RUNNING")):
        made.look(None, [looked])
    aws.lines.append(DATA)
    for looked in (task("PENDING", "RUNNING"), task("PENDING", "STOPPED", 0), task("RUNNING", "STOPPED", 0)):
        made.look(None, [looked])
    assert names(said) == [
        "building the image",
        "starting the containers",
        "copying staging's data",
        "migrating",
        "starting the service",
        "waiting until it is healthy",
    ]


def test_the_task_after_a_failed_one_and_the_roll_back_are_told(settings: Settings) -> None:
    made, said = phases(settings, Played())
    failed = task("PENDING", "STOPPED", 1)
    again = task("PENDING", "PENDING", name="two")
    made.look(None, [task("PENDING", "RUNNING")])
    made.look(None, [failed])
    for _ in range(2):
        made.look(None, [task("STOPPED", "STOPPED", 1), again])
    made.look(Stack("demo-test-web", "UPDATE_ROLLBACK_IN_PROGRESS", {}, NOW), [again])
    tries = ["copying staging's data", "ECS tries again: starting the containers"]
    assert names(said) == [*tries, "rolling back"]


def test_a_service_that_copies_nothing_has_no_phase_for_it(settings: Settings) -> None:
    made, said = phases(settings, Played(command=("true",)))
    for looked in (task("PENDING", "RUNNING"), task("RUNNING", "RUNNING")):
        made.look(None, [looked])
    assert names(said) == ["starting the containers", "waiting until it is healthy"]


@pytest.mark.parametrize(
    ("container", "said"),
    [
        (
            Container("nginx", "RUNNING", None, "a relay stands in for it"),
            ["  nginx: a relay stands in for it"],
        ),
        (Container("startup", "STOPPED", 1, ""), ["  startup: ended with exit code 1"]),
        (Container("redis", "STOPPED", 0, ""), []),
        (Container("redis", "RUNNING", None, ""), []),
    ],
    ids=["a stand-in", "a failure", "an end", "a start"],
)
def test_of_the_containers_only_failures_and_stand_ins_are_told(
    settings: Settings, container: Container, said: list[str]
) -> None:
    report = FakeReport()
    watcher = Watcher(Session(settings, FakeShell(), report, {}), Played(), {})
    for _ in range(2):
        watcher._report(Task("one", "RUNNING", "UNKNOWN", "arn", NOW, "", (container,)))
    assert report.said == said
