"""Application Auto Scaling's scheduled actions, carried out on a clock that the tests move."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from copilot_sandbox.control_plane import server
from copilot_sandbox.control_plane.schedules import InvalidScheduleError, parse
from tests.sandbox.cloud import Cloud, service, template

DIMENSION = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SCHEDULE_SECONDS", 0.05)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def move_to(cloud: Cloud, moment: str) -> None:
    cloud.move_clock(seconds(moment))


def deployed(cloud: Cloud) -> tuple[Any, str]:
    cloud.create(template(service("a:1")))
    (found,) = cloud.plane.services()
    return cloud.client("application-autoscaling"), f"service/{found.cluster_arn.split('/')[-1]}/{found.name}"


def put(scaling: Any, resource: str, name: str, schedule: str, count: int) -> None:
    scaling.put_scheduled_action(
        **DIMENSION, ResourceId=resource, ScheduledActionName=name, Schedule=schedule,
        Timezone="Europe/London", ScalableTargetAction={"MinCapacity": count, "MaxCapacity": count},
    )  # fmt: skip


def desired(cloud: Cloud) -> int:
    return int(cloud.plane.services()[0].desired_count)


def test_a_schedule_fires_on_its_days_in_its_time_zone() -> None:
    wakes = parse("cron(0 8 ? * MON-FRI *)", "Europe/London")
    # London's clocks go forward on Sunday, 29 March 2026.
    assert wakes.between(seconds("2026-03-27T00:00"), seconds("2026-03-31T00:00")) == [
        seconds("2026-03-27T08:00"),
        seconds("2026-03-30T07:00"),
    ]
    at = seconds("2026-03-30T07:00")
    assert wakes.between(at, at) == []
    assert wakes.between(at - 1, at) == [at]
    assert parse("cron(15,45 9-10 1 jan ? 2027)", "").between(
        seconds("2026-12-31T00:00"), seconds("2027-02-01T00:00")
    ) == [seconds(f"2027-01-01T{at}") for at in ("09:15", "09:45", "10:15", "10:45")]


@pytest.mark.parametrize(
    ("expression", "zone"),
    [
        ("rate(1 hour)", ""),
        ("cron(0 8 * * *)", ""),
        ("cron(0/5 8 * * ? *)", ""),
        ("cron(0 24 * * ? *)", ""),
        ("cron(0 8 * * ? *)", "Europe/Lundon"),
    ],
)
def test_a_schedule_that_the_sandbox_does_not_carry_out_is_refused(expression: str, zone: str) -> None:
    with pytest.raises(InvalidScheduleError):
        parse(expression, zone)


def test_a_service_sleeps_and_wakes_by_its_scheduled_actions(cloud: Cloud) -> None:
    scaling, resource = deployed(cloud)
    move_to(cloud, "2026-11-23T12:00")  # a Monday
    tags = {"copilot-environment": "test"}
    scaling.register_scalable_target(
        **DIMENSION, ResourceId=resource, MinCapacity=0, MaxCapacity=1, Tags=tags
    )
    put(scaling, resource, "sleep", "cron(0 19 * * ? *)", 0)
    put(scaling, resource, "wake", "cron(0 8 ? * MON-FRI *)", 1)
    move_to(cloud, "2026-11-23T18:59")
    woken = cloud.agent.woken
    assert desired(cloud) == 1
    move_to(cloud, "2026-11-23T19:01")
    assert desired(cloud) == 0
    assert cloud.agent.woken > woken
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert (target["ResourceId"], target["MaxCapacity"]) == (resource, 0)
    move_to(cloud, "2026-11-28T12:00")  # Saturday: the wakes and sleeps since then came in their order
    assert desired(cloud) == 0
    move_to(cloud, "2026-11-30T08:01")
    assert desired(cloud) == 1
    described = scaling.describe_scheduled_actions(ServiceNamespace="ecs", ResourceId=resource)
    assert {each["ScheduledActionName"] for each in described["ScheduledActions"]} == {"sleep", "wake"}
    scaling.deregister_scalable_target(**DIMENSION, ResourceId=resource)
    assert scaling.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"] == []
    move_to(cloud, "2026-11-30T19:01")
    assert desired(cloud) == 1


def test_what_scales_nothing_is_refused_in_awss_words(cloud: Cloud) -> None:
    scaling, resource = deployed(cloud)
    with pytest.raises(ClientError, match="ECS service doesn't exist"):
        scaling.register_scalable_target(
            **DIMENSION, ResourceId="service/c/none", MinCapacity=0, MaxCapacity=1
        )
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        put(scaling, resource, "sleep", "cron(0 19 * * ? *)", 0)
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        scaling.deregister_scalable_target(**DIMENSION, ResourceId=resource)
    with pytest.raises(ClientError, match="Both min and max capacity"):
        scaling.register_scalable_target(**DIMENSION, ResourceId=resource)
    scaling.register_scalable_target(**DIMENSION, ResourceId=resource, MinCapacity=0, MaxCapacity=1)
    with pytest.raises(ClientError, match="Invalid schedule"):
        put(scaling, resource, "sleep", "rate(5 minutes)", 0)
    cloud.stacks.delete_stack(StackName="s")
    time.sleep(0.2)
    assert scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"] == []
