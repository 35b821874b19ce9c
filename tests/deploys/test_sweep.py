"""A teardown of several slots does once what is done for all, and lets others have the slots they hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import application
from copilot_testenv.core.errors import Failed, Held, Refused
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import copy_db
from copilot_testenv.deploys.stack_tags import SLOT
from copilot_testenv.deploys.sweep import Sweep
from copilot_testenv.state.lease import Lease, State
from copilot_testenv.state.live import SERVICES
from tests.deploys.teardowns import PAST, Played, Scene, gone, isolated, shared, stack
from tests.fakes import Memory

NAMES = ("a", "b", "c")
OWN = ["demo-test-web-a", "demo-test-web-b", "demo-test-web-c"]
ALL = [*OWN, "demo-test-web"]


def test_the_environment_is_changed_once_and_the_stacks_go_without_copilot(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    here.teardown(every=True)
    assert here.aws.environment == [{"ALBWorkloads": "web"}]
    assert here.aws.deletions == ALL
    assert [line for line in here.deletes if "svc delete" in line] == []
    assert here.aws.stacks == {}
    for name in ALL:
        assert f"stack {name}" in gone(here)
    assert here.said.count("Deleted: demo-test-web-a, demo-test-web-b, demo-test-web-c.") == 1


def test_the_shared_slot_goes_last_with_its_images_and_stays_in_the_application(
    scene: Callable[..., Scene],
) -> None:
    tags = [f"{'a' * 40}-test", "theirs"]
    here = scene(shared(), *map(isolated, NAMES), tags=tags, keys=["manual/templates/demo-test-web/a.yml"])
    here.leases.append("web")
    here.teardown(every=True)
    assert here.aws.deletions[-1] == "demo-test-web"
    assert here.aws.tags == ["theirs"]
    assert here.aws.keys == []
    assert here.leases == []
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    assert here.together == [["web-a", "web-b", "web-c"]]
    (receipt,) = (each for each in here.receipts if not each["isolated"])
    assert [f"{each['kind']} {each['name']}" for each in receipt["gone"]] == [
        "service web",
        "stack demo-test-web",
        "log group /copilot/demo-test-web",
        "templates s3://bucket-of-demo/manual/templates/demo-test-web/",
        f"image tag demo/web:{tags[0]}",
        "lease web",
    ]


def test_without_another_deployment_the_slot_that_drops_the_databases_goes_last_and_is_stopped_before(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, done = scene(*map(isolated, NAMES)), list[str]()
    drops, deletes = copy_db.drop_several, type(here.aws).delete_stack

    def drop_several(*arguments: Any) -> dict[str, list[str]]:
        done.append("databases")
        return drops(*arguments)

    def delete_stack(aws: Played, name: str, role: str) -> None:
        done.append(name)
        deletes(aws, name, role)

    monkeypatch.setattr(copy_db, "drop_several", drop_several)
    monkeypatch.setattr(Played, "delete_stack", delete_stack)
    monkeypatch.setattr(Played, "scale_service", lambda _, name, tasks: done.append(f"{name}: {tasks}"))
    here.teardown(every=True)
    assert here.aws.environment == [{"ALBWorkloads": "web-c"}]
    assert done == [*OWN[:2], "demo-test-web-c: 0", "databases", OWN[2]]
    assert here.together == [["web-a", "web-b", "web-c"]]
    assert here.aws.stacks == {}


def test_while_the_stack_of_another_slot_is_left_the_load_balancer_stays(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), *map(isolated, NAMES), stuck={"demo-test-web-b"})
    with pytest.raises(Failed, match="Not everything of web-b"):
        here.teardown(every=True)
    assert here.aws.deletions == OWN
    assert "web is not deleted with the others: it goes after the others." in here.said
    deleted = [line for line in here.deletes if "svc delete" in line]
    assert ["--name=web-b" in line for line in deleted] == [True, False]


def test_the_other_services_of_slots_go_with_them_before_their_web_services(
    scene: Callable[..., Scene],
) -> None:
    def worker(slot: str, **tags: str) -> Stack:
        name = slot.replace("web", "worker")
        return stack(name, "main", **{**tags, SLOT: slot})

    def of(slot: Stack) -> Stack:
        service = slot.tags["copilot-service"]
        return replace(slot, tags={**slot.tags, SERVICES: service.replace("web", "worker")})

    keys = ["manual/templates/demo-test-worker-a/1.yml", "manual/templates/demo-test-workshop/1.yml"]
    here = scene(
        *map(of, (shared(), isolated("a"), isolated("b"))),
        worker("web"), worker("web-a", isolated="yes"), worker("web-b", isolated="yes"), keys=keys,
    )  # fmt: skip
    here.registry.forget("worker-a", "worker-b")  # it has slots, by their web services
    here.teardown(every=True)
    assert here.aws.deletions == [
        "demo-test-worker-a", "demo-test-worker-b", *OWN[:2], "demo-test-worker", "demo-test-web"
    ]  # fmt: skip
    assert here.withdrawals == [["worker-a", "web-a", "worker-b", "web-b"]]
    assert here.together == [["web-a", "web-b"]]
    assert here.aws.keys == keys[1:]
    assert here.registry.read().deployments == {}
    assert [receipt["services"] for receipt in here.receipts] == [
        ["web-a", "worker-a"], ["web-b", "worker-b"], ["web", "worker"]
    ]  # fmt: skip
    for name in ("service worker-a", "repository demo/worker-a", "stack demo-test-worker"):
        assert name in gone(here)


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
        "(The slots were not deleted together: The stack demo-test is UPDATE_ROLLBACK_COMPLETE" in here.said
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


def test_a_slot_that_another_run_takes_before_its_stack_goes_is_given_back(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    change = type(here.aws).change_parameters
    with ExitStack() as others:

        def then_taken(aws: Played, *arguments: Any) -> None:
            change(aws, *arguments)
            others.enter_context(here.others("web-b").held(wait=False, say=print))

        monkeypatch.setattr(type(here.aws), "change_parameters", then_taken)
        with pytest.raises(Held, match="web-b is being changed: grace"):
            here.teardown(every=True)
    assert here.aws.deletions == [OWN[0], OWN[2]]
    assert list(here.aws.stacks) == ["demo-test-web-b"]
    assert "web-b is not deleted with the others: another run changes it." in here.said


def test_a_slot_that_another_run_takes_after_its_stack_went_keeps_its_database(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    looks = type(here.aws).every_stack
    with ExitStack() as others:

        def then_taken(aws: Played) -> dict[str, Stack]:
            if "web-b" not in here.stores or here.stores["web-b"].body in {None, State().as_bytes()}:
                others.enter_context(here.others("web-b").held(wait=False, say=print))
            return looks(aws)

        monkeypatch.setattr(type(here.aws), "every_stack", then_taken)
        with pytest.raises(Held, match="web-b is being changed: grace"):
            here.teardown(every=True)
    assert here.together == [["web-a", "web-c"]]
    assert here.withdrawals == [["web-a", "web-c"]]
    assert list(here.registry.read().deployments) == ["web-b"]


def test_a_sweep_that_lost_its_lease_changes_nothing_further(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    change = type(here.aws).change_parameters

    def then_lost(aws: Played, *arguments: Any) -> None:
        """The sweep was silent for too long, and a run that waited for `b` has ended its claim."""
        change(aws, *arguments)
        here.stores[""].write(State().as_bytes(), here.stores[""].read().version)

    monkeypatch.setattr(type(here.aws), "change_parameters", then_lost)
    here.teardown(every=True)
    assert here.aws.deletions == []
    assert "(The slots were not deleted together: Nothing further was changed, because this run" in here.said
    assert here.aws.stacks == {}  # each was deleted by itself, under its own lease


def test_of_two_sweeps_at_once_one_changes_nothing(scene: Callable[..., Scene]) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    before = dict(here.aws.stacks)
    own = [f"web-{name}" for name in NAMES]
    theirs = Lease(
        here.stores.setdefault("", Memory()), "the slots", "grace", "deleting", slots=(*own, "web")
    )
    with theirs.held(wait=False, say=print), pytest.raises(Held, match="is being changed: grace, deleting"):
        here.teardown(every=True)
    assert here.aws.stacks == before


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
    assert "(The slots were not deleted together: another run has taken the environment" in here.said


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
    assert here.aws.deletions == ALL
    assert here.dropped == []


def test_several_services_leave_the_application_by_one_change_and_their_leases_last(
    scene: Callable[..., Scene],
) -> None:
    here = scene(shared(), *map(isolated, NAMES))
    here.leases += [f"web-{name}" for name in NAMES]
    here.teardown(every=True)
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    assert here.registry.read().deployments == {}
    for receipt in (each for each in here.receipts if each["isolated"]):
        own = receipt["service"]
        things = [f"{each['kind']} {each['name']}" for each in receipt["gone"]]
        assert things[0] == f"service {own}"
        assert things[-2:] == [f"repository demo/{own}", f"lease {own}"]
        assert receipt["left"] == []


def test_a_branch_that_was_deployed_again_in_between_keeps_its_service(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))

    def require_ours(own: Settings, *_: Any) -> list[Any]:
        if own.service == "web-c":
            raise Refused("it has images of others")
        return []

    looks = type(here.aws).every_stack

    def every_stack(aws: Played) -> dict[str, Stack]:
        """Return the stacks; once the databases are gone, somebody has deployed `a` again."""
        return {**looks(aws), **({OWN[0]: isolated("a")} if here.dropped else {})}

    monkeypatch.setattr(type(here.aws), "every_stack", every_stack)
    monkeypatch.setattr(application, "require_ours", require_ours)
    with pytest.raises(Failed, match=r"Not everything of web-a .*it was deployed again meanwhile"):
        here.teardown(every=True)
    assert here.withdrawals == [["web-b"]]
    assert sorted(here.registry.read().deployments) == ["web-a", "web-c"]
    assert "service web-c: it has images of others" in here.said


def test_where_the_stack_set_cannot_be_changed_the_next_run_goes_on(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))

    def fail(*_: object) -> None:
        raise Failed("another change came first each time")

    with monkeypatch.context() as patched:
        patched.setattr(application, "withdraw_several", fail)
        with pytest.raises(Failed, match="service web-a: another change came first"):
            here.teardown(every=True)
    assert not any(name.startswith("service web-") for name in gone(here))
    assert len(here.registry.read().deployments) == 3
    here.teardown(every=True)
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    assert here.registry.read().deployments == {}


def test_a_run_that_was_cut_off_before_the_change_is_finished_by_the_next(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(shared(), *map(isolated, NAMES))

    class Cut(BaseException):
        """The process was killed."""

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(Sweep, "_withdraw", cut)
        with pytest.raises(Cut):
            here.teardown(every=True)
    assert here.aws.stacks == {}
    assert len(here.registry.read().deployments) == 3
    here.teardown(expired=True)
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    assert [receipt["left"] for receipt in here.receipts] == [[], [], []]
