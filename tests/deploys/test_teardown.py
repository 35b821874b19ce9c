"""A teardown deletes what its flags name, tells what went, and touches nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.ci import pull_request
from copilot_testenv.ci.pull_request import Message
from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed, Held, Interrupted, Refused, UsageError
from copilot_testenv.deploys import copy_db, nothing
from copilot_testenv.deploys.delete_slot import SlotPart, listed
from copilot_testenv.state.registry import DeploymentRecord
from tests.deploys.teardowns import FUTURE, NOW, PAST, Played, Scene, gone, isolated, shared, stack


def test_the_shared_slot_goes_with_its_image_tags_and_nothing_else_does(scene: Callable[..., Scene]) -> None:
    ours, theirs = f"{'c' * 40}-test", f"{'c' * 40}-production"
    here = scene(shared(), isolated("feature/x"), tags=[ours, f"startup-{ours}", theirs, "c" * 40, "latest"])
    here.teardown()
    assert gone(here) == [
        "service web", "stack demo-test-web", "log group /copilot/demo-test-web",
        f"image tag demo/web:{ours}", f"image tag demo/web:startup-{ours}", "lease web",
    ]  # fmt: skip
    assert here.aws.tags == [theirs, "c" * 40, "latest"]
    assert here.withdrawn == here.dropped == []
    assert list(here.aws.stacks) == [isolated("feature/x").name]


def test_a_branchs_own_goes_with_database_repository_and_name(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("feature/x"))
    here.teardown(branch="feature/x")
    slug = git.slug("feature/x")
    assert f"database test_{slug.replace('-', '_')}" in gone(here)
    assert f"repository demo/web-{slug}" in gone(here)
    assert here.registry.read().deployments == {}
    assert list(here.aws.stacks) == ["demo-test-web"]
    assert "The shared slot carries main, not feature/x: the slot stays." in here.said


def test_the_branch_in_the_shared_slot_goes_from_there(scene: Callable[..., Scene]) -> None:
    here = scene(shared("feature/x"), isolated("feature/y"))
    here.teardown(branch="feature/x")
    assert list(here.aws.stacks) == [isolated("feature/y").name]


def test_all_is_all_of_this_service_and_of_no_other(scene: Callable[..., Scene]) -> None:
    others = [stack("web-admin", "admin"), stack("api", "main"), Stack("other", "CREATE_COMPLETE", {}, NOW)]
    here = scene(shared(), isolated("feature/x"), isolated("feature/y"), *others)
    here.teardown(every=True)
    assert sorted(here.aws.stacks) == sorted(each.name for each in others)


def test_only_what_has_come_to_its_end_expires_and_the_run_is_noted(scene: Callable[..., Scene]) -> None:
    here = scene(shared(expires_at="never"), isolated("a", expires_at=PAST), isolated("b"))
    here.teardown(expired=True)
    assert [receipt["branch"] for receipt in here.receipts] == ["a"]
    assert here.said.count("it stays") == 2
    assert here.registry.read().swept is not None


def test_with_a_branch_only_its_expired_deployment_goes_and_that_is_no_sweep(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared("c", expires_at=PAST), isolated("a", expires_at=PAST), isolated("b"))
    here.teardown(branch="b", expired=True)
    assert here.deletes == []
    assert "b is not expired in test: nothing to tear down" in here.said
    here.teardown(branch="a", expired=True)
    assert [receipt["branch"] for receipt in here.receipts] == ["a"]
    here.teardown(branch="c", expired=True)
    assert list(here.aws.stacks) == [isolated("b").name]
    assert here.registry.read().swept is None


def test_a_plan_changes_nothing_and_notes_nothing(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("a", expires_at=PAST))
    here.teardown(expired=True, plan=True, yes=False)
    (receipt,) = here.receipts
    assert receipt["gone"] == []
    assert {"kind": "stack", "name": "demo-test-web-a"} in receipt["would_go"]
    assert here.deletes == []
    assert here.registry.read().swept is None


def test_nothing_goes_without_a_yes(scene: Callable[..., Scene]) -> None:
    here = scene(shared())
    with pytest.raises(Refused):
        here.teardown(yes=False)
    assert here.deletes == []


def test_only_one_flag_says_what_is_to_go(scene: Callable[..., Scene]) -> None:
    here = scene(shared())
    with pytest.raises(UsageError):
        here.teardown(every=True, expired=True)
    with pytest.raises(UsageError):
        here.teardown(branch="main", orphans=True)
    assert here.deletes == []


def test_a_service_that_is_not_of_these_tasks_making_stays(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), stack("web-admin", "admin"))
    here.teardown(branch="admin")
    assert here.deletes == []
    assert "was not made by these tasks" in here.said


@pytest.mark.parametrize(
    "changed", [{"deployed_at": "2"}, {"expires_at": FUTURE}], ids=["deployed anew", "extended"]
)
def test_what_was_changed_after_the_question_stays(
    scene: Callable[..., Scene], changed: dict[str, str]
) -> None:
    before = isolated("a", expires_at=PAST)
    here = scene(before, isolated("b", expires_at=PAST))

    def meanwhile(aws: Played) -> None:
        if before.name in aws.stacks:
            aws.stacks[before.name] = replace(before, tags={**before.tags, **changed})

    here.aws.on_look = meanwhile
    with pytest.raises(Held, match="changed meanwhile"):
        here.teardown(expired=True)
    assert list(here.aws.stacks) == [before.name]  # the other one had its turn
    assert [receipt["branch"] for receipt in here.receipts] == ["b"]


def test_an_interrupted_one_off_task_ends_the_run_before_the_next_slot(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"), isolated("b"))

    def interrupted(*_: object) -> list[str]:
        raise Interrupted("Interrupted; the one-off task goes on.")

    monkeypatch.setattr(copy_db, "drop_own", interrupted)
    with pytest.raises(Interrupted):
        here.teardown(every=True)
    assert here.deletes == []


def test_a_branch_that_is_not_deployed_is_answered_with_the_nearest_that_is(
    scene: Callable[..., Scene],
) -> None:
    here = scene(isolated("feature/basket"))
    here.registry.record("web-basket", DeploymentRecord("feature/basket", isolated=True))
    here.teardown(branch="feature/baskt")
    assert here.said.endswith("nothing to tear down. Did you mean 'feature/basket'?")
    assert here.deletes == []


def test_who_is_asked_sees_whose_it_is(scene: Callable[..., Scene]) -> None:
    here = scene(shared(deployed_by="grace", why="a demo"))
    with pytest.raises(Refused):
        here.teardown(yes=False)
    assert f"To be deleted: web (main), of grace, until {FUTURE}: a demo" in here.said


def test_twice_is_fine(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), isolated("a"))
    here.teardown(every=True)
    for options in ({}, {"branch": "a"}, {"expired": True}, {"every": True}, {"orphans": True}):
        here.teardown(**options)
        assert here.receipts == []
    assert here.said.count("nothing to tear down") == 5


def test_an_empty_shared_slot_is_told_with_the_branches_in_slots_of_their_own(
    scene: Callable[..., Scene],
) -> None:
    here = scene(isolated("feature/x"))
    here.teardown()
    assert "feature/x has a slot of its own: name it by `--branch feature/x`" in here.said
    assert here.deletes == []
    target = here.session.enter()
    assert "feature/x has a slot of its own" in str(nothing.deployed(here.session, target, ", so what"))
    here = scene(shared())
    here.teardown()
    told = str(nothing.deployed(here.session, target, ", so what"))
    assert told.startswith("Nothing is deployed, so what:")


def test_the_receipt_tells_what_it_has_cost_and_the_pull_request_that_it_is_gone(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Message] = []
    monkeypatch.setattr(Played, "region", "eu-west-1")
    monkeypatch.setattr(pull_request, "tell", lambda _, message, __: told.append(message))
    here = scene(shared(deployed_at="2026-11-24T10:00:00Z"))
    here.teardown()
    (receipt,) = here.receipts
    assert "list prices of eu-west-1" in receipt["cost"]
    assert receipt["cost"] not in here.said  # what runs in the sandbox costs nothing
    assert [(message.branch, message.url, message.service) for message in told] == [("main", None, "web")]


@pytest.mark.parametrize("forbidden", [False, True])
def test_the_slots_own_templates_go_and_no_others(scene: Callable[..., Scene], forbidden: bool) -> None:  # noqa: FBT001 - a parameter
    own = "manual/templates/demo-test-web/1.yml"
    others = ["manual/templates/demo-test-web-a/1.yml", "manual/templates/demo-test/1.yml"]
    here = scene(shared(), keys=[own, *others], forbidden=forbidden)
    here.teardown()
    assert here.aws.keys == ([own, *others] if forbidden else others)
    assert ("templates s3://bucket-of-demo/manual/templates/demo-test-web/" in gone(here)) is not forbidden
    assert ("templates of web were not deleted" in here.said) is forbidden


@pytest.mark.parametrize("forbidden", [False, True])
def test_the_logs_of_the_slots_lambda_functions_go_and_no_others(
    scene: Callable[..., Scene],
    forbidden: bool,  # noqa: FBT001 - a parameter
) -> None:
    own, other = (f"/aws/lambda/demo-test-{name}-EnvControllerFunction-AB12" for name in ("web", "web-a"))
    here = scene(shared(), groups={own, other}, forbidden=forbidden)
    here.teardown()
    assert here.aws.groups == ({own, other} if forbidden else {other})
    assert (f"log group {own}" in gone(here)) is not forbidden
    assert ("logs of web's Lambda functions were not deleted" in here.said) is forbidden


def test_the_databases_of_several_branches_are_dropped_by_one_task_and_each_receipt_names_its_own(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), isolated("b"), isolated("a"))
    here.teardown(every=True)
    assert here.together == [["web-b", "web-a"]]
    assert here.dropped == ["web-b", "web-a"]
    assert [line for line in gone(here) if line.startswith("database")] == [
        "database test_b",
        "database test_a",
    ]


def test_where_the_databases_cannot_be_dropped_together_each_slot_drops_its_own(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), isolated("b"), isolated("a"))

    def fails(*_: object) -> dict[str, list[str]]:
        raise Failed("The one-off task did not start.")

    monkeypatch.setattr(copy_db, "drop_several", fails)
    here.teardown(every=True)
    assert sorted(here.dropped) == ["web-a", "web-b"]
    assert "The slots were not deleted together: The one-off task did not start." in here.said


def test_a_slot_that_another_run_holds_is_left_out_of_what_is_dropped_together(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), isolated("a"), isolated("b"), isolated("c"))
    taken = here.others("web-b")
    with taken.held(wait=False, say=print), pytest.raises(Held):
        here.teardown(every=True)
    assert here.together == [["web-a", "web-c"]]


def test_several_parts_of_a_kind_are_told_in_its_plural() -> None:
    kinds = ("stack", "repository", "templates", "media")
    told = listed([SlotPart(kind, name) for kind in kinds for name in ("a", "b")])
    assert told == "\n  stacks a, b\n  repositories a, b\n  templates a, b\n  media a, b"
