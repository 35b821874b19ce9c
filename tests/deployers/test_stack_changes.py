from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.core.process import Result
from copilot_testenv.deployers.deployer import never
from copilot_testenv.deployers.stack_changes import StackChanges

ROLE = "arn:aws:iam::1:role/demo-test-CFNExecutionRole"


def stack(status: str, at: int = 0) -> Stack:
    return Stack("demo-test-web", status, {}, datetime(2026, 1, 1, 0, 0, at, tzinfo=UTC))


@dataclass
class Account(Aws):
    """An account whose stack goes through these states, one a look; `asked` has what was to be done."""

    states: list[Stack | None]
    changes: bool = True
    asked: list[str] = field(default_factory=list)

    def stack(self, name: str) -> Stack | None:
        assert name == "demo-test-web"
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def change_set(self, stack: str, template: Mapping[str, str], *_: Any, **more: Any) -> str | None:
        self.asked.append(f"{'create' if more['is_new'] else 'update'} {stack} {template['TemplateURL']}")
        return "arn" if self.changes else None

    def execute(self, stack: str, change_set: str) -> None:
        self.asked.append(f"execute {stack} {change_set}")

    def cancel_update(self, stack: str) -> None:
        self.asked.append(f"cancel {stack}")

    def delete_stack(self, stack: str, role: str) -> None:
        assert role == ROLE
        self.asked.append(f"delete {stack}")


BEFORE = stack("UPDATE_COMPLETE")


def applied(account: Account, before: Stack | None, *signals: signal.Signals | None) -> Result:
    due: Iterator[signal.Signals | None] = iter(signals)
    changes = StackChanges(account, ROLE, 0)
    return changes.apply("demo-test-web", "url", {}, {}, before, lambda: next(due, None))


def test_an_update_is_waited_for_from_the_stack_before_it_to_its_end() -> None:
    account = Account([BEFORE, stack("UPDATE_IN_PROGRESS", 1), stack("UPDATE_COMPLETE", 1)])
    assert applied(account, BEFORE).ok
    assert account.asked == ["update demo-test-web url", "execute demo-test-web arn"]


def test_where_nothing_changes_nothing_is_executed() -> None:
    account = Account([BEFORE], changes=False)
    assert applied(account, BEFORE).ok
    assert account.asked == ["update demo-test-web url"]


@pytest.mark.parametrize("before", [None, stack("REVIEW_IN_PROGRESS")])
def test_a_stack_in_review_is_no_stack_yet(before: Stack | None) -> None:
    states = [stack("REVIEW_IN_PROGRESS"), stack("CREATE_IN_PROGRESS"), stack("ROLLBACK_COMPLETE")]
    account = Account([*states])
    assert applied(account, before) == Result(1, "The stack demo-test-web is ROLLBACK_COMPLETE.")
    assert account.asked[0].startswith("create")


def test_an_interrupted_update_is_cancelled_once_and_waited_for() -> None:
    under_way = stack("UPDATE_IN_PROGRESS", 1)
    account = Account([under_way, under_way, stack("UPDATE_ROLLBACK_COMPLETE", 1)])
    assert not applied(account, BEFORE, signal.SIGINT, signal.SIGINT).ok
    assert account.asked[2:] == ["cancel demo-test-web"]


def test_an_update_that_only_cleans_up_is_not_cancelled() -> None:
    account = Account([stack("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", 1), stack("UPDATE_COMPLETE", 1)])
    assert applied(account, BEFORE, signal.SIGINT).ok
    assert "cancel demo-test-web" not in account.asked


def test_an_interrupted_first_deploy_is_deleted() -> None:
    account = Account([stack("CREATE_IN_PROGRESS"), None])
    assert not applied(account, None, signal.SIGINT).ok
    assert account.asked[2:] == ["delete demo-test-web"]


def test_a_lost_lease_ends_the_wait_and_changes_nothing() -> None:
    account = Account([stack("UPDATE_IN_PROGRESS", 1)])
    assert applied(account, BEFORE, signal.SIGTERM).returncode == -signal.SIGTERM
    assert account.asked == ["update demo-test-web url", "execute demo-test-web arn"]


@pytest.mark.parametrize(
    ("states", "code", "asked"),
    [
        ([None], 0, []),
        ([BEFORE, stack("DELETE_IN_PROGRESS"), None], 0, ["delete demo-test-web"]),
        ([BEFORE, stack("DELETE_FAILED")], 1, ["delete demo-test-web"]),
    ],
)
def test_a_deletion_is_waited_for(states: list[Stack | None], code: int, asked: list[str]) -> None:
    account = Account(states)
    assert StackChanges(account, ROLE, 0).delete("demo-test-web", never).returncode == code
    assert account.asked == asked
