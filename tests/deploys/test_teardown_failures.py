"""What a teardown cannot delete is named and found again, and costs no more than it must."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from copilot_testenv.copilot import application
from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.deploys import copy_db
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Lease
from tests.deploys.teardowns import Scene, gone, isolated, shared
from tests.fakes import Memory


def test_what_would_not_go_is_left_in_the_receipt_with_the_reason(scene: Callable[..., Scene]) -> None:
    one, other = isolated("a"), isolated("b")
    here = scene(one, other, stuck={one.name})
    with pytest.raises(
        Failed,
        match=r"Not everything of web-a \(a\) was deleted: stack demo-test-web-a.*Service: it is in use",
    ):
        here.teardown(every=True)
    assert list(here.aws.stacks) == [one.name]
    assert here.withdrawn == ["web-b"]
    assert list(here.registry.read().deployments) == ["web-a"]


def test_a_database_that_cannot_be_dropped_keeps_nothing_that_costs(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def drop(*_: object) -> list[str]:
        raise Failed("the server does not answer")

    monkeypatch.setattr(copy_db, "drop_own", drop)
    with pytest.raises(Failed, match=r"database …_a: the server does not answer.*--orphans"):
        here.teardown(branch="a")
    assert here.aws.stacks == {}
    assert here.withdrawn == ["web-a"]
    assert here.registry.read().deployments == {}
    dropped: list[str] = []
    monkeypatch.setattr(copy_db, "databases", lambda *_: ["test_a"])
    monkeypatch.setattr(copy_db, "drop_named", lambda *words: dropped.append(words[-1]))
    here.teardown(orphans=True)
    assert dropped == ["test_a"]


def test_a_slot_whose_lease_was_lost_is_touched_no_further(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def drop_and_sleep(*_: object) -> list[str]:
        held.lost = True
        return []

    held = Lease(Memory(), "web-a", "ada", "deleting")
    monkeypatch.setattr(bucket, "lease", lambda *_: held)
    monkeypatch.setattr(copy_db, "drop_own", drop_and_sleep)
    with pytest.raises(Held, match="another run has taken web-a"):
        here.teardown(branch="a")
    assert here.deletes == []
    assert here.withdrawn == []


def test_image_tags_stay_where_the_stack_did(scene: Callable[..., Scene]) -> None:
    tag = f"{'c' * 40}-test"
    here = scene(shared(), tags=[tag], stuck={"demo-test-web"})
    with pytest.raises(Failed):
        here.teardown()
    assert here.aws.tags == [tag]


def test_the_receipt_says_only_what_went(scene: Callable[..., Scene]) -> None:
    one, other = f"{'c' * 40}-test", f"{'d' * 40}-test"
    here = scene(shared(), tags=[one, other], undeletable={other}, groups={"/copilot/demo-test-web"})
    here.held.add("web")
    with pytest.raises(Failed, match=r"log group /copilot/demo-test-web.*image tags of demo/web: 1 images"):
        here.teardown()
    assert gone(here) == ["service web", "stack demo-test-web", f"image tag demo/web:{one}"]


def test_a_service_that_stays_in_the_application_is_not_said_to_be_gone_and_is_found_again(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(isolated("a"))

    def withdraw(*_: object) -> list[str]:
        raise Failed("another change came first each time")

    with monkeypatch.context() as patched:
        patched.setattr(application, "withdraw", withdraw)
        with pytest.raises(
            Failed, match=r"Not everything of web-a .*service web-a: another change came first"
        ):
            here.teardown(branch="a")
    assert gone(here) == ["stack demo-test-web-a", "database test_a", "log group /copilot/demo-test-web-a"]
    assert list(here.registry.read().deployments) == ["web-a"]
    here.teardown(orphans=True)
    assert here.withdrawn == ["web-a"]
    assert here.registry.read().deployments == {}
