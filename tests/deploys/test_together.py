"""A teardown of several slots changes the environment once, and deletes their stacks side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot_testenv.core.errors import Failed, Held, Refused
from copilot_testenv.deploys import copy_db, environment_turn
from copilot_testenv.state.lease import Lease
from tests.deploys.teardowns import PAST, Scene, gone, isolated, shared

NAMES = ("a", "b", "c")
OWN = ["demo-test-web-a", "demo-test-web-b", "demo-test-web-c"]


def test_the_environment_is_changed_once_and_the_stacks_go_without_copilot(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    here.teardown(every=True)
    assert here.aws.environment == [{"ALBWorkloads": "web"}]
    assert here.aws.deletions == OWN
    assert [line for line in here.deletes if "svc delete" in line and "web-" in line] == []
    assert here.aws.stacks == {}
    for name in OWN:
        assert f"stack {name}" in gone(here)
    assert here.said.count("Deleted: demo-test-web-a, demo-test-web-b, demo-test-web-c.") == 1


def test_the_last_service_stays_in_the_environment_until_its_own_deletion(
    scene: Callable[..., Scene],
) -> None:
    here = scene(*map(isolated, NAMES))
    here.teardown(every=True)
    assert here.aws.environment == [{"ALBWorkloads": "web-c"}]
    assert here.aws.deletions == OWN[:2]
    assert [line for line in here.deletes if "--name=web-c" in line]
    assert here.aws.stacks == {}


def test_what_has_not_expired_is_not_taken_out_of_the_environment(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("a", expires_at=PAST), isolated("b", expires_at=PAST), isolated("c"))
    here.teardown(expired=True)
    assert here.aws.environment == [{"ALBWorkloads": "web,web-c"}]
    assert sorted(here.aws.stacks) == ["demo-test-web", "demo-test-web-c"]


def test_where_the_environment_cannot_be_changed_each_slot_is_deleted_by_itself(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), *map(isolated, NAMES), refused=True)
    here.teardown(every=True)
    assert here.aws.deletions == []
    assert (
        "(The stacks were not deleted together: The stack demo-test is UPDATE_ROLLBACK_COMPLETE" in here.said
    )
    assert len([line for line in here.deletes if "svc delete" in line]) == 4
    assert here.aws.stacks == {}


def test_a_stack_that_cannot_be_deleted_is_tried_once_more_and_named(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), *map(isolated, NAMES), stuck={"demo-test-web-b"})
    with pytest.raises(Failed, match=r"Not everything of web-b .*demo-test-web-b, which is DELETE_FAILED"):
        here.teardown(every=True)
    assert here.aws.deletions == OWN
    assert list(here.aws.stacks) == ["demo-test-web-b"]


def test_without_the_mark_nothing_is_changed(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    before = dict(here.aws.stacks)
    monkeypatch.setattr(type(here.aws), "parameter_tags", lambda *_: {})
    with pytest.raises(Refused):
        here.teardown(every=True)
    assert here.aws.environment == []
    assert here.aws.deletions == []
    assert here.aws.stacks == before


def test_a_branch_that_is_deployed_again_after_its_stack_went_stays(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    held = environment_turn.held

    def then_deployed(*arguments: Any) -> Any:
        """Deploy `b` once more when the environment is free again."""

        class Turn:
            def __enter__(self) -> Any:
                self.turn = held(*arguments)
                return self.turn.__enter__()

            def __exit__(self, *error: object) -> None:
                self.turn.__exit__(None, None, None)
                here.aws.stacks["demo-test-web-b"] = isolated("b", deployed_at="2")

        return Turn()

    monkeypatch.setattr(environment_turn, "held", then_deployed)
    with pytest.raises(Held, match="web-b"):
        here.teardown(every=True)
    assert here.aws.stacks["demo-test-web-b"] == isolated("b", deployed_at="2")


def test_a_slot_whose_lease_is_lost_meanwhile_is_not_deleted_with_the_others(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    checks = Lease.require_held

    def require_held(lease: Lease) -> None:
        if here.aws.environment and lease.slot == "web-b":
            raise Held("another run has taken web-b")
        checks(lease)

    monkeypatch.setattr(Lease, "require_held", require_held)
    with pytest.raises(Held, match="web-b"):
        here.teardown(every=True)
    assert here.aws.deletions == [OWN[0], OWN[2]]
    assert list(here.aws.stacks) == ["demo-test-web-b"]


def test_without_the_environments_lease_nothing_is_deleted_together(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    checks = Lease.require_held

    def require_held(lease: Lease) -> None:
        if lease.slot == "the environment":
            raise Held("another run has taken the environment")
        checks(lease)

    monkeypatch.setattr(Lease, "require_held", require_held)
    here.teardown(every=True)
    assert here.aws.environment == []
    assert here.aws.deletions == []
    assert "(The stacks were not deleted together: another run has taken the environment" in here.said


def test_a_deleted_slot_that_the_registry_does_not_know_is_still_cleared_to_its_end(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    for name in NAMES:
        here.registry.forget(f"web-{name}")
    here.teardown(every=True)
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    for name in OWN:
        assert f"stack {name}" in gone(here)


def test_slots_that_copy_nothing_are_deleted_together_too(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    monkeypatch.setattr(copy_db, "host", lambda *_: None)
    here.teardown(every=True)
    assert here.aws.deletions == OWN
    assert here.dropped == []
