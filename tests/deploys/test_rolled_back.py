"""What a failed deploy says of what serves now, and of its data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws.stack import Container, Stack, Task
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.git import Branch
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys.rolled_back import what_serves
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket
from copilot_testenv.state.registry import DeploymentRecord, Registry
from tests.fakes import DisposableAws, FakeReport, FakeShell, Memory, made

NOW = datetime(2026, 11, 22, tzinfo=UTC)
STACK = Stack("demo-test-web", "UPDATE_ROLLBACK_COMPLETE", made("web", "main"), NOW)
ENDED = (Container("startup", "STOPPED", 0, ""), Container("web", "RUNNING", None, ""))
AGAIN = Task("again", "RUNNING", "HEALTHY", "arn", NOW, "", ENDED)
SERVES = "main at cccccccccccc serves again. "


@dataclass
class Played(DisposableAws):
    """An AWS whose one task that runs has said `line` when it started."""

    line: str
    broken: bool = False
    before: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__({})

    def service(self, stack: str) -> tuple[str, str] | None:
        assert stack == STACK.name
        return "cluster", "service"

    def tasks(self, cluster: str, service: str) -> list[Task]:
        assert (cluster, service) == ("cluster", "service")
        return [AGAIN]

    def resource(self, stack: str, logical_id: str) -> str | None:
        assert (stack, logical_id) == (STACK.name, "TaskDefinition")
        return "arn"

    def last_events(self, group: str, stream: str, limit: int) -> list[tuple[int, str]]:
        assert limit
        if self.broken:
            raise Failed("CloudWatch Logs does not answer.")
        assert (group, stream) == ("/copilot/demo-test-web", "copilot/startup/again")
        return [(1, self.line)]


def says(
    settings: Settings, aws: Played, registry: Registry, monkeypatch: pytest.MonkeyPatch, stack: Stack = STACK
) -> str:
    monkeypatch.setattr(bucket, "registry", lambda *_: registry)
    session = Session(settings, FakeShell(), FakeReport(), {})
    target = Target({}, Copilot(settings, {}, settings.root), aws)
    watcher = Watcher(session, aws, {}, _known=aws.before)
    return what_serves(session, target, Branch("broken", "b" * 40), stack, watcher)


@pytest.mark.parametrize(
    ("end", "data", "recorded"),
    [
        (
            ", kept",
            "Its data are those of before, with what testers entered (copied at 2026-11-21T10:00:00Z).",
            "before",
        ),
        (
            "",
            "Its data were copied again (of 2026-11-21T10:00:00Z): what testers had entered is lost.",
            "2026-11-21T10:00:00Z",
        ),
    ],
    ids=["put back", "copied again"],
)
def test_a_roll_back_says_which_data_the_former_branch_has_and_status_knows_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, end: str, data: str, recorded: str
) -> None:
    registry = Registry(Memory())
    registry.record("web", DeploymentRecord("main", isolated=False, data_copied_at="before"))
    aws = Played(f'copy_stage_db: data of 2026-11-21T10:00:00+00:00 in "test"{end}')
    assert says(settings, aws, registry, monkeypatch) == SERVES + data
    assert registry.read().deployments["web"].data_copied_at == recorded


@pytest.mark.parametrize("aws", [Played("no copy"), Played("", broken=True)], ids=["no copy", "no logs"])
def test_where_the_data_cannot_be_known_status_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, aws: Played
) -> None:
    found = says(settings, aws, Registry(Memory()), monkeypatch)
    assert found == SERVES + "`invoke status` shows of when its data are."


def test_a_task_that_was_never_stopped_is_told_as_such(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = says(settings, Played("", before={"again"}), Registry(Memory()), monkeypatch)
    assert found == SERVES + "Its task and its data were not touched."


def test_after_a_first_deploy_that_failed_nothing_serves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = replace(STACK, status="ROLLBACK_COMPLETE")
    found = says(settings, Played(""), Registry(Memory()), monkeypatch, stack)
    assert found.startswith("Nothing is served; the next deploy starts anew")
