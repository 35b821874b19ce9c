"""A week of office hours on the moved clock: several services are asleep and awake when they should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from copilot_sandbox.control_plane import server
from copilot_testenv.aws import Aws
from copilot_testenv.core import office_hours
from tests.sandbox.cloud import Cloud, service, template

LONDON = "mon-fri 08:00-19:00 Europe/London"
TEXTS = (LONDON, "sun-thu 09:00-17:00 Asia/Jerusalem", "sat 10:00-14:00 America/New_York")
# The clocks of London and Jerusalem change in this week.
SUNDAY = datetime(2026, 3, 22, 0, tzinfo=UTC)


def awake(hours: office_hours.OfficeHours, moment: datetime) -> bool:
    local = moment.astimezone(ZoneInfo(hours.zone.key))
    return local.weekday() in hours.days and hours.start <= local.time() < hours.end


@pytest.mark.parametrize(
    ("count", "step"),
    [
        (3, timedelta(hours=7)),
        pytest.param(10, timedelta(hours=1), marks=pytest.mark.nightly),
    ],
    ids=["three", "ten"],
)
def test_services_are_awake_in_their_hours_all_week_and_no_longer(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, count: int, step: timedelta
) -> None:
    monkeypatch.setattr(server, "_SCHEDULE_SECONDS", 0.04)
    aws, slots, counted = Aws(cloud.aws), {}, dict.fromkeys(TEXTS, 0)
    cloud.move_clock((SUNDAY - timedelta(days=2)).timestamp())
    cloud.create({"Resources": {"Cluster": {"Type": "AWS::ECS::Cluster"}}}, "demo-test")
    (cluster,) = cloud.ids("demo-test").values()
    for number in range(count):
        stack, text = f"demo-test-web-{number}", TEXTS[number % len(TEXTS)]
        resources = service("a:1")
        del resources["Cluster"]
        resources["Service"]["Properties"]["Cluster"] = cluster
        cloud.create(template(resources), stack)
        hours = office_hours.parse(text)
        assert hours
        aws.schedule(
            stack, wakes=hours.wakes, sleeps=hours.sleeps, zone=hours.zone.key, count=1, tags={"a": "b"}
        )
        slots[stack] = hours
    moment = SUNDAY + timedelta(minutes=30)
    while moment < SUNDAY + timedelta(weeks=1, days=2):
        cloud.move_clock(moment.timestamp())
        sleeping = aws.sleeping("demo", "test")
        assert sleeping == frozenset(stack for stack, hours in slots.items() if not awake(hours, moment)), (
            moment
        )
        if moment < SUNDAY + timedelta(weeks=1):
            for shown in {str(each) for each in slots.values() if awake(each, moment)}:
                counted[shown] += 1
        moment += step
    if step == timedelta(hours=1):  # as many hours as the costs count
        end = SUNDAY + timedelta(weeks=1)
        for hours in slots.values():
            assert counted[str(hours)] == hours.within(SUNDAY, end)
