"""A task's CPU holds while the task is in service, if the engine can change it."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from copilot_sandbox.agent.container import compose_for_engine
from copilot_sandbox.agent.engine import Engine
from copilot_sandbox.agent.health import Problem
from copilot_sandbox.agent.service_task import ServiceTask
from copilot_sandbox.agent.targets import Targets
from copilot_sandbox.agent.wire import ContainerState
from tests.sandbox.fake_control_plane import FakeControlPlane, balanced, container, grouped, service


class FakeEngine:
    can_update = True

    def __init__(self) -> None:
        self.limits: list[tuple[str, float]] = []

    def limit_cpus(self, name: str, cpus: float) -> None:
        self.limits.append((name.rpartition("-")[2], cpus))


def state(name: str, status: Any, code: int | None = None) -> ContainerState:
    return {"name": name, "status": status, "health": "UNKNOWN", "exit_code": code, "reason": None}


def test_a_quarter_of_a_cpu_holds_from_the_first_passed_check_to_the_stop(plane: FakeControlPlane) -> None:
    plane.groups = grouped()
    targets, engine = Targets(lambda: None), FakeEngine()
    checks = SimpleNamespace(watch=lambda _: None)
    context: Any = SimpleNamespace(
        control_plane=plane, targets=targets, engine=engine, health_checks=checks, way="namespace"
    )
    wanted = service(container("web", None), container("startup", None), load_balancing=balanced())
    task = ServiceTask(context, wanted, "ecs-svc/1", "10.0.0.1")
    states = [state("web", "RUNNING"), state("startup", "STOPPED", 0)]
    task.handle({"event": "state", "status": "RUNNING", "containers": states})
    task.tick(time.time())
    assert engine.limits == []
    (target,) = targets.at("10.0.0.1")
    targets.judge(target, "healthy", None)
    task.tick(time.time())
    task.tick(time.time())
    assert engine.limits == [("web", 0.25)]
    targets.judge(target, "unhealthy", Problem("slow"))
    task.tick(time.time())
    assert engine.limits == [("web", 0.25)]
    task.stop("replaced", ill=False)
    assert engine.limits == [("web", 0.25), ("web", 0)]


@pytest.mark.parametrize(("version", "limit"), [((4, 2, 9), 250_000_000), ((4, 3, 1), 0), ((5, 0, 1), 0)])
def test_an_engine_that_cannot_change_a_limit_gets_it_from_the_start(
    version: tuple[int, ...], limit: int
) -> None:
    composed = compose_for_engine(
        container("web", None),
        "web:1",
        is_public=False,
        task="1",
        secrets={},
        readable=[Path("/x")],
        defaults={},
        memory=2**29,
        cpus=0.25,
        engine=Engine("podman", "/s", version=version),
        owner="/o",
    )
    assert composed["settings"]["HostConfig"]["NanoCpus"] == limit
