from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import office_hours as hours_setting
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import office_hours, settling
from copilot_testenv.deploys.office_hours import Options
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.probe import Page
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, live
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import Registry
from tests.deploys.teardowns import Scene, gone, isolated, shared
from tests.fakes import DisposableAws, FakeReport, FakeShell, Memory

LONDON = "mon-fri 08:00-19:00 Europe/London"


@dataclass
class Played(DisposableAws):
    """An AWS with the shared slot's stack, whose service is to have `count` tasks."""

    found: Stack | None = field(default_factory=lambda: shared(hours=LONDON))
    count: int = 1
    scaled: bool = False
    forbidden: bool = False
    did: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__({})

    def stack(self, name: str) -> Stack | None:
        return self.found if self.found and self.found.name == name else None

    def address(self, stack: str) -> str | None:
        return f"http://{stack}.example"

    def service(self, stack: str) -> None:
        assert stack

    def resource(self, stack: str, logical_id: str) -> str | None:
        return f"{stack}/{logical_id}"

    def newest_streams(self, group: str, limit: int) -> list[str]:
        assert group
        assert limit
        return []

    def desired_count(self, stack: str) -> int | None:
        assert stack
        return self.count

    def task_count(self, stack: str) -> int:
        assert stack
        return 2

    def scales_itself(self, stack: str) -> bool:
        assert stack
        return self.scaled

    def scale_service(self, stack: str, count: int) -> None:
        self.count = count
        self.did.append(f"scale {stack} to {count}")

    def schedule(self, stack: str, *, tags: Mapping[str, str], **given: Any) -> None:
        if self.forbidden:
            raise Failed("AccessDenied.")
        assert tags == {"copilot-application": "demo", "copilot-environment": "test"}
        self.did.append(
            f"schedule {stack} {given['wakes']} {given['sleeps']} {given['zone']} {given['count']}"
        )

    def unschedule(self, stack: str) -> None:
        self.did.append(f"unschedule {stack}")


Make = Callable[..., tuple[Session, Played, Target]]


@pytest.fixture
def make(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Make:
    def made(hours: str = "", **more: Any) -> tuple[Session, Played, Target]:
        aws = Played(**more)
        here = replace(settings, hours=hours_setting.parse(hours))
        target = Target({}, Copilot(here, {}, here.root), aws)
        monkeypatch.setattr(Session, "enter", lambda *_, **__: target)
        monkeypatch.setattr(bucket, "lease", lambda *_: Lease(Memory(), "web", "ada", "sleeping"))
        monkeypatch.setattr(bucket, "registry", lambda *_: Registry(Memory()))
        return Session(here, FakeShell(), FakeReport(), {}), aws, target

    return made


def said(session: Session) -> str:
    assert isinstance(session.report, FakeReport)
    return "\n".join(session.report.said)


def test_a_deploy_sets_the_hours_and_starts_what_was_asleep(make: Make) -> None:
    session, aws, target = make(LONDON, count=0)
    office_hours.apply(session, target, None)
    wakes, sleeps = "cron(0 8 ? * MON,TUE,WED,THU,FRI *)", "cron(0 19 * * ? *)"
    assert aws.did == [
        f"schedule demo-test-web {wakes} {sleeps} Europe/London 2",
        "scale demo-test-web to 2",
    ]


def test_a_deploy_without_hours_ends_those_of_before_and_else_changes_no_schedule(make: Make) -> None:
    session, aws, target = make()
    office_hours.apply(session, target, shared())
    assert aws.did == []
    office_hours.apply(session, target, shared(hours=LONDON))
    assert aws.did == ["unschedule demo-test-web"]


def test_a_role_that_may_not_set_the_hours_is_told_where_its_rights_are(make: Make) -> None:
    session, _, target = make(LONDON, forbidden=True)
    with pytest.raises(Failed, match=r"is deployed, but its office hours were not set: .*docs/iam\.md"):
        office_hours.apply(session, target, None)


@pytest.mark.parametrize("count", [{"range": "1-3"}, {"range": {"min": 1, "max": 3}, "cpu_percentage": 70}])
def test_a_range_of_tasks_is_refused_only_with_hours(make: Make, count: Any) -> None:
    session, _, _ = make()
    found = {"type": "Load Balanced Web Service", "environments": {"test": {"count": count}}}
    office_hours.require_fixed_count(session.settings, found, "its manifest")
    session, _, _ = make(LONDON)
    with pytest.raises(SettingsError, match="`count` of its manifest is a range in test"):
        office_hours.require_fixed_count(session.settings, found, "its manifest")
    office_hours.require_fixed_count(session.settings, {**found, "environments": {"test": {"count": 2}}}, "")


def test_sleep_stops_the_tasks_once_and_says_when_they_start_again(make: Make) -> None:
    session, aws, _ = make()
    office_hours.sleep(session, Options(plan=True))
    assert aws.did == []
    office_hours.sleep(session, Options(json=True))
    office_hours.sleep(session, Options())
    office_hours.sleep(session, Options(plan=True))
    assert said(session).count("Would stop") == 1
    assert aws.did == ["scale demo-test-web to 0"]
    assert isinstance(session.report, FakeReport)
    assert json.loads(session.report.printed[-1])["asleep"] is True
    assert f"({LONDON}), or by `invoke wake`." in said(session)
    assert "main sleeps already." in said(session)


@pytest.mark.parametrize("hours", ["", "when I like"], ids=["none", "edited"])
def test_without_hours_only_somebody_wakes_it(make: Make, hours: str) -> None:
    session, _, _ = make(found=shared(hours=hours))
    office_hours.sleep(session, Options())
    assert "`invoke wake` wakes it." in said(session)


def test_what_aws_scales_or_nobody_of_us_deployed_does_not_sleep(make: Make) -> None:
    session, aws, _ = make(scaled=True)
    with pytest.raises(Refused, match="AWS scales its service"):
        office_hours.sleep(session, Options())
    assert aws.did == []
    for task in (office_hours.sleep, office_hours.wake):
        session, aws, _ = make(found=shared(**{"copilot-application": "other"}))
        with pytest.raises(Refused, match="was not deployed by these tasks"):
            task(session, Options())
        session, _, _ = make(found=None)
        with pytest.raises(Failed, match="Nothing is deployed"):
            task(session, Options())
        session, _, _ = make(found=shared())
        with pytest.raises(Failed, match="other is not deployed"):
            task(session, Options("other"))
        assert aws.did == []


def test_wake_starts_as_many_tasks_as_the_manifest_wants_and_tells_a_page_that_does_not_work(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, aws, _ = make()
    office_hours.wake(session, Options())
    office_hours.wake(session, Options(plan=True))
    assert aws.did == []
    assert said(session).count("main is awake.") == 2
    aws.count = 0
    deployment = live.deployment_of(session.settings, {"branch": "main"}, url="http://a.example")
    served = Served(deployment, Page("http://a.example/", 200, None, ""))
    monkeypatch.setattr(settling, "wait_until_served", lambda *_: served)
    office_hours.wake(session, Options(plan=True))
    assert aws.did == []
    office_hours.wake(session, Options())
    assert aws.did == ["scale demo-test-web to 2"]
    assert isinstance(session.report, FakeReport)
    assert session.report.printed[-1] == "http://a.example"
    aws.count = 0
    monkeypatch.setattr(settling, "wait_until_served", lambda *_: replace(served, wrong="it answers 500"))
    with pytest.raises(Failed, match="main is awake, but does not work: it answers 500"):
        office_hours.wake(session, Options())


def test_a_teardown_of_several_slots_ends_the_hours_before_their_stacks_go(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    here = scene(isolated("a", hours=LONDON), isolated("b", hours=LONDON), shared(), isolated("c"))
    kind = type(here.aws)
    monkeypatch.setattr(kind, "unschedule", lambda _, name: done.append(f"unschedule {name}"), raising=False)
    delete = kind.delete_stack

    def deleted(aws: Any, name: str, role: str) -> None:
        done.append(f"delete {name}")
        delete(aws, name, role)

    monkeypatch.setattr(kind, "delete_stack", deleted)
    here.teardown(every=True)
    for slot in ("a", "b"):
        name = f"demo-test-web-{slot}"
        assert done.index(f"unschedule {name}") < done.index(f"delete {name}")
    assert "unschedule demo-test-web-c" not in done


def test_hours_that_cannot_be_ended_do_not_keep_a_slot(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Failed("AccessDenied.")

    here = scene(isolated("a", hours=LONDON))
    monkeypatch.setattr(type(here.aws), "unschedule", refuse)
    here.teardown(branch="a")
    assert here.dropped == ["web-a"]
    assert "stack demo-test-web-a" in gone(here)
    assert here.receipts[0]["left"] == []
    assert "The office hours of demo-test-web-a were not ended: AccessDenied." in here.said
