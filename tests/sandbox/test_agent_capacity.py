"""Capacity that lacks, by `capacity.json`, with ECS's words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copilot_sandbox.agent import capacity
from copilot_sandbox.agent.capacity import Capacity
from copilot_sandbox.agent.scheduler import ServiceScheduler
from tests.sandbox.test_agent_scheduler import Desk, PaperTask, recreate

ON_DEMAND = recreate("one")  # of 0.25 vCPU
ON_DEMAND = replace(ON_DEMAND, task_definition=replace(ON_DEMAND.task_definition, cpu="256"))
SPOT = replace(ON_DEMAND, capacity_provider="FARGATE_SPOT")


@pytest.mark.parametrize(
    ("content", "lacks", "of_spot"),
    [
        ("", "", ""),
        ("no JSON", "", ""),
        ({}, "", ""),
        ({"capacity": {"FARGATE_SPOT": 0}}, "", capacity.NO_CAPACITY),
        ({"capacity": {"FARGATE": 2}}, capacity.NO_CAPACITY, ""),
        ({"capacity": {"FARGATE": 3}}, "", ""),
        ({"vcpus": {"FARGATE": 0.5}}, capacity.NO_VCPUS, ""),
        ({"vcpus": {"FARGATE": 0.75}}, "", ""),
    ],
)
def test_what_lacks_beside_two_tasks_on_demand_depends_on_the_capacity_provider(
    tmp_path: Path, content: Any, lacks: str, of_spot: str
) -> None:
    file = tmp_path / "capacity.json"
    if content != "":
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    made = Capacity(file)
    assert made.lacks(ON_DEMAND, [ON_DEMAND] * 2) == lacks
    assert made.lacks(SPOT, [ON_DEMAND] * 2) == of_spot


def test_addresses_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "capacity.json"
    file.write_text('{"addresses": 1}')
    assert Capacity(file).lacks_addresses(0) == ""
    assert "InsufficientFreeAddressesInSubnet" in Capacity(file).lacks_addresses(1)


def test_a_task_waits_for_capacity_and_the_event_is_told_once() -> None:
    desk, room = Desk(), [capacity.NO_CAPACITY]
    scheduler: ServiceScheduler[PaperTask] = ServiceScheduler(
        desk._start, desk._stop, desk.events.append, lambda _: room[0]
    )
    desk.scheduler = scheduler
    for _ in range(3):
        desk.round(SPOT)
    (event,) = desk.events
    assert event == f"(service {SPOT.name}) was unable to place a task. Reason: {capacity.NO_CAPACITY}"
    assert not desk.started
    assert desk.rollout[0] == "IN_PROGRESS"
    room[0] = ""
    desk.settle(SPOT)
    assert desk.rollout[0] == "COMPLETED"
