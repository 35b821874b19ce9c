"""The stack set is told once of all services that a teardown takes out of the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from copilot_testenv.copilot import application
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.settings import Settings
from tests.copilot.test_application import Played as Application
from tests.deploys.teardowns import Scene, gone, isolated, shared

NAMES = ("a", "b", "c")


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

    def require_ours(own: Settings, aws: Any) -> None:
        del aws
        if own.service == "web-c":
            raise Refused("it has images of others")

    real = here.aws.stack

    def stack(name: str) -> Any:
        """Return the stacks; once all are gone, somebody has deployed `a` again."""
        if name == "demo-test-web-a" and "Gone: web-c" in here.said:
            return isolated("a")
        return real(name)

    monkeypatch.setattr(here.aws, "stack", stack)
    monkeypatch.setattr(application, "require_ours", require_ours)
    with pytest.raises(Failed, match=r"Not everything of web-a .*it was deployed again meanwhile"):
        here.teardown(every=True)
    assert here.withdrawals == [["web-b"]]
    assert sorted(here.registry.read().deployments) == ["web-a", "web-c"]
    assert "service web-c: it has images of others" in here.said


def test_where_the_stack_set_cannot_be_changed_the_next_run_goes_on(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(*map(isolated, NAMES))

    def fail(*_: object) -> None:
        raise Failed("another change came first each time")

    with monkeypatch.context() as patched:
        patched.setattr(application, "withdraw_several", fail)
        with pytest.raises(Failed, match="service web-a: another change came first"):
            here.teardown(every=True)
    assert not any(name.startswith("service") for name in gone(here))
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
        patched.setattr("copilot_testenv.deploys.teardown.withdraw_together", cut)
        with pytest.raises(Cut):
            here.teardown(every=True)
    assert here.aws.stacks == {}
    assert len(here.registry.read().deployments) == 3
    here.teardown(expired=True)
    assert here.withdrawals == [["web-a", "web-b", "web-c"]]
    assert [receipt["left"] for receipt in here.receipts] == [[], [], []]


def test_the_application_is_changed_once_for_several(settings: Settings) -> None:
    slugs = ("feature-x", "feature-y")
    services = ("web", *(f"web-{slug}" for slug in slugs))
    aws = Application(services=services, beaten=1)
    slots = [settings.isolated_for(slug) for slug in slugs]
    found = application.withdraw_several(slots, aws, lambda: None)
    assert [things[0] for things in found.values()] == [f"repository demo/{name}" for name in services[1:]]
    ((text, operation),) = aws.written
    assert operation == "9"  # two more than the version, as two changes would have made
    assert all(f"demo/{name}\n" not in text for name in services[1:])
