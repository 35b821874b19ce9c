from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from copilot_sandbox.agent.scheduler import Deployment, ServiceScheduler, Unfit
from copilot_sandbox.model import Service
from tests.sandbox.fake_control_plane import container, service


@dataclass
class PaperTask:
    """A task that is what the test says it is."""

    id: str
    deployment_id: str
    alive: bool = True
    stopping: bool = False
    dismissed: bool = False
    running: bool = False
    steady: bool = False
    unfit: Unfit | None = None


@dataclass
class Desk:
    """A scheduler with paper tasks, and a clock."""

    events: list[str] = field(default_factory=list)
    started: list[PaperTask] = field(default_factory=list)
    now: float = 1000

    def __post_init__(self) -> None:
        self.scheduler: ServiceScheduler[PaperTask] = ServiceScheduler(
            self._start, self._stop, self.events.append
        )

    def _start(self, deployment: Deployment) -> PaperTask:
        self.started.append(PaperTask(f"t{len(self.started)}", deployment.id))
        return self.started[-1]

    def _stop(self, task: PaperTask, _: str, ill: bool) -> None:  # noqa: FBT001 -- the scheduler's signature
        task.stopping, task.dismissed = True, not ill

    def round(self, wanted: Service | None, seconds: float = 1) -> None:
        self.now += seconds
        self.scheduler.reconcile(wanted, self.now)

    def settle(self, wanted: Service) -> None:
        """Let every task that is not stopping come up, and end those that are."""
        for _ in range(6):
            self.round(wanted)
            for task in [task for task in self.started if task.alive]:
                task.running = task.steady = not task.stopping
                task.alive = not task.stopping
        self.round(wanted)

    def fail(self, wanted: Service) -> None:
        """The newest task ends before it was healthy."""
        next(task for task in reversed(self.started) if task.alive).alive = False
        self.round(wanted, 100)

    @property
    def rollout(self) -> tuple[str, str]:
        newest = self.scheduler.deployments[0]
        return newest.rollout, newest.reason

    @property
    def wanted(self) -> list[str]:
        return [task.id for task in self.started if task.alive and not task.stopping]


WEB = container("web", ("true",))


def rolling(deployment: str, **changes: Any) -> Service:
    return service(WEB, deployment=deployment, **changes)


def recreate(deployment: str, **changes: Any) -> Service:
    return service(WEB, deployment=deployment, minimum_healthy_percent=0, maximum_percent=100, **changes)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_rollout_is_completed_when_all_tasks_are_steady(desk: Desk) -> None:
    wanted = rolling("d1", desired_count=2)
    desk.round(wanted)
    assert desk.rollout == ("IN_PROGRESS", "ECS deployment d1 in progress.")
    desk.started[0].running = desk.started[0].steady = True
    desk.round(wanted)
    assert desk.rollout[0] == "IN_PROGRESS"
    desk.settle(wanted)
    assert desk.rollout == ("COMPLETED", "ECS deployment d1 completed.")
    assert desk.events[-1] == "(service web) has reached a steady state."
    assert [(each.running, each.pending, each.desired) for each in desk.scheduler.reports()] == [(2, 0, 2)]


def test_rolling_keeps_the_old_task_until_the_new_one_is_steady(desk: Desk) -> None:
    desk.settle(rolling("d1"))
    wanted = rolling("d2")
    desk.round(wanted)
    assert desk.wanted == ["t0", "t1"]
    desk.started[1].running = True
    desk.round(wanted)
    assert desk.wanted == ["t0", "t1"]
    desk.started[1].steady = True
    desk.round(wanted)
    assert desk.wanted == ["t1"]
    assert desk.rollout[0] == "IN_PROGRESS"  # the old one still drains
    desk.started[0].alive = False
    desk.round(wanted)
    assert desk.rollout[0] == "COMPLETED"


def test_recreate_starts_the_new_task_only_when_the_old_one_has_really_stopped(desk: Desk) -> None:
    desk.settle(recreate("d1"))
    wanted = recreate("d2")
    desk.round(wanted)
    desk.round(wanted)
    assert (desk.wanted, len(desk.started)) == ([], 1)
    desk.started[0].alive = False
    desk.round(wanted)
    assert desk.wanted == ["t1"]


def test_a_minimum_of_half_the_tasks_goes_in_steps(desk: Desk) -> None:
    sizes = {"desired_count": 2, "minimum_healthy_percent": 50, "maximum_percent": 100}
    desk.settle(rolling("d1", **sizes))
    desk.round(rolling("d2", **sizes))
    assert len(desk.wanted) == 1


def test_a_new_deployment_supersedes_an_unfinished_one(desk: Desk) -> None:
    desk.settle(rolling("d1"))
    desk.round(rolling("d2"))
    desk.round(rolling("d3"))
    assert desk.started[1].stopping
    desk.settle(rolling("d3"))
    assert desk.wanted == ["t2"]
    assert [each.id for each in desk.scheduler.deployments] == ["d3"]


def test_an_earlier_deployment_that_comes_back_keeps_its_tasks(desk: Desk) -> None:
    desk.settle(rolling("d1"))
    desk.round(rolling("d2"))
    desk.settle(rolling("d1"))
    assert desk.wanted == ["t0"]
    assert desk.rollout[0] == "COMPLETED"


@pytest.mark.parametrize(("desired", "threshold"), [(1, 3), (6, 3), (10, 5), (1000, 200)])
def test_the_circuit_breaker_trips_at_half_the_tasks_but_at_least_three(
    desk: Desk, desired: int, threshold: int
) -> None:
    wanted = recreate("d1", desired_count=desired, circuit_breaker=True)
    desk.round(wanted)
    for _ in range(threshold - 1):
        desk.fail(wanted)
    assert desk.rollout[0] == "IN_PROGRESS"
    desk.fail(wanted)
    assert desk.rollout == ("FAILED", "ECS deployment circuit breaker: tasks failed to start.")
    count = len(desk.started)
    desk.round(wanted, 1000)
    assert len(desk.started) == count


def test_a_failed_rolling_deployment_leaves_the_old_tasks_alone(desk: Desk) -> None:
    desk.settle(rolling("d1"))
    wanted = rolling("d2", circuit_breaker=True)
    desk.round(wanted)
    for _ in range(3):
        desk.fail(wanted)
    assert desk.rollout[0] == "FAILED"
    assert desk.wanted == ["t0"]


def test_after_a_failed_deployment_a_rollback_starts_over(desk: Desk) -> None:
    desk.settle(recreate("d1"))
    broken = recreate("d2", circuit_breaker=True)
    desk.round(broken)
    desk.started[0].alive = False
    desk.round(broken)
    for _ in range(3):
        desk.fail(broken)
    desk.settle(recreate("d3", circuit_breaker=True))
    assert desk.rollout[0] == "COMPLETED"


def test_without_circuit_breaker_it_goes_on_with_growing_pauses(desk: Desk) -> None:
    wanted = rolling("d1")
    moments = []
    for tenth in range(80):
        before = len(desk.started)
        desk.round(wanted, 0.1)
        if len(desk.started) > before:
            moments.append(tenth / 10)
            desk.started[-1].alive = False
    assert moments == pytest.approx([0, 0.1, 0.2, 0.3, 2.4, 6.5])
    assert desk.rollout[0] == "IN_PROGRESS"
    assert desk.scheduler.reports()[0].failed == 6


def test_a_healthy_task_resets_the_count_of_failures(desk: Desk) -> None:
    wanted = rolling("d1", desired_count=2, circuit_breaker=True)
    desk.round(wanted)
    desk.fail(wanted)
    desk.fail(wanted)
    desk.started[0].running = desk.started[0].steady = True
    desk.round(wanted)
    desk.fail(wanted)
    assert desk.rollout[0] == "IN_PROGRESS"


def test_a_task_that_lived_is_replaced_at_once_and_the_rollout_stays_completed(desk: Desk) -> None:
    wanted = rolling("d1", circuit_breaker=True)
    desk.settle(wanted)
    for _ in range(8):
        desk.round(wanted, 30)
        desk.fail(wanted)
        assert len(desk.wanted) == 1
        desk.settle(wanted)
    assert desk.rollout[0] == "COMPLETED"


def test_a_crash_loop_after_health_is_slowed_down(desk: Desk) -> None:
    wanted = rolling("d1")
    for _ in range(12):
        desk.round(wanted, 0.1)
        task = desk.started[-1]
        task.running = task.steady = True
        desk.round(wanted, 0.1)
        task.alive = False
    assert len(desk.started) < 7


def test_an_unfit_task_is_replaced_and_counts_as_failed(desk: Desk) -> None:
    wanted = rolling("d1")
    desk.round(wanted)
    desk.started[0].unfit = Unfit(
        "Task failed ELB health checks in (target-group x)", "(port 80) is unhealthy"
    )
    desk.round(wanted)
    assert desk.started[0].stopping
    desk.started[0].alive = False
    desk.round(wanted)
    assert desk.scheduler.deployments[0].failed == 1
    assert f"(task {desk.started[0].id}) (port 80) is unhealthy." in " ".join(desk.events)


def test_scaling_down_keeps_steady_tasks_and_scaling_makes_the_rollout_go_on(desk: Desk) -> None:
    desk.settle(rolling("d1", desired_count=3))
    desk.started[0].steady = False
    wanted = rolling("d1", desired_count=1)
    desk.round(wanted)
    assert len(desk.wanted) == 1
    assert desk.wanted != ["t0"]
    assert desk.rollout[0] == "IN_PROGRESS"
    desk.settle(wanted)
    assert desk.rollout[0] == "COMPLETED"


def test_scaling_to_zero_completes_when_all_is_gone(desk: Desk) -> None:
    desk.settle(rolling("d1"))
    wanted = rolling("d1", desired_count=0)
    desk.round(wanted)
    assert desk.rollout[0] == "IN_PROGRESS"
    desk.settle(wanted)
    assert desk.rollout[0] == "COMPLETED"
    assert desk.scheduler.tasks == []


def test_a_deleted_service_loses_all_tasks(desk: Desk) -> None:
    desk.settle(rolling("d1", desired_count=2))
    desk.round(None)
    assert desk.wanted == []
    assert all(task.dismissed for task in desk.started)
