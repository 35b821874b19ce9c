"""A teardown of orphans deletes what serves nothing, and nothing that lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.core.errors import Held
from copilot_testenv.deploys import copy_db
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord
from tests.deploys.teardowns import NOW, Scene, isolated, shared
from tests.fakes import made


def test_orphans_are_what_serves_nothing_and_what_living_ones_are_not(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = replace(isolated("dead"), status="ROLLBACK_COMPLETE")
    tag = f"{'d' * 40}-test"
    here = scene(shared(commit="c" * 40), isolated("alive"), dead, tags=[f"{'c' * 40}-test", tag])
    here.aws.stacks["task-demo-test-web-lost-copy-db"] = Stack(
        "task-demo-test-web-lost-copy-db", "CREATE_COMPLETE", made("", ""), NOW
    )
    monkeypatch.setattr(copy_db, "databases", lambda *_: ["test_alive", "test_forgotten"])
    named: list[str] = []
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: named.append(words[-1]))
    here.teardown(orphans=True)
    assert sorted(here.aws.stacks) == ["demo-test-web", "demo-test-web-alive"]
    assert here.aws.tags == [f"{'c' * 40}-test"]
    assert named == ["test_forgotten"]
    assert here.withdrawn == ["web-dead"]  # a task's stack alone does not make a service a branch's


def test_a_database_of_a_deployment_that_has_begun_since_the_question_stays(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(commit="c" * 40))

    def look(*_: object) -> list[str]:
        here.registry.record("web-young", DeploymentRecord("young", isolated=True))
        return ["test_young", "test_forgotten"]

    monkeypatch.setattr(copy_db, "databases", look)
    named: list[str] = []
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: named.append(words[-1]))
    with pytest.raises(Held, match="test_young belongs to a deployment that has just begun"):
        here.teardown(orphans=True)
    assert named == ["test_forgotten"]


def test_what_is_being_deployed_just_now_is_no_orphan(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(replace(isolated("young"), status="REVIEW_IN_PROGRESS"))
    with monkeypatch.context() as patched:
        patched.setattr(Lease, "holder", lambda _: "somebody")
        here.teardown(orphans=True)
    assert here.deletes == []
    here.teardown(orphans=True)
    assert here.aws.stacks == {}


@pytest.mark.parametrize(
    "options", [{"branch": "admin"}, {"every": True}, {"expired": True}, {"orphans": True}]
)
def test_a_service_of_the_projects_own_is_never_taken_for_what_a_branch_left(
    scene: Callable[..., Scene], options: dict[str, Any]
) -> None:
    """Its one-off task's stack is still here, and the registry has it as no branch's."""
    here = scene()
    here.registry.record("web-admin", DeploymentRecord("main", isolated=False))
    here.registry.record(
        "web-other", DeploymentRecord("another", isolated=True)
    )  # the name of no such branch
    left = "task-demo-test-web-admin-copy-db"
    here.aws.stacks[left] = Stack(left, "CREATE_COMPLETE", made("", ""), NOW)
    here.teardown(**options)
    assert here.withdrawn == here.dropped == []
    assert "svc delete" not in " ".join(here.deletes)


def test_leases_of_slots_that_are_gone_are_orphans_and_others_are_not(scene: Callable[..., Scene]) -> None:
    here = scene(isolated("alive"))
    here.leases += ["web", "web-alive", "web-gone", "other"]
    here.teardown(orphans=True)
    assert here.leases == ["web", "web-alive", "other"]
    assert "Gone: the lease of web-gone." in here.said
