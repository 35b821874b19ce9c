"""ECS's service scheduler for one service: which tasks to start and stop, how a deployment stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from copilot_sandbox.model import DeploymentReport, RolloutState, Service

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK_RETRIES = 3  # tasks replaced at once before pauses grow
LONGEST_PAUSE = 60.0  # seconds
PROVEN_AFTER = 10.0  # seconds a healthy task has to live to count as no crash loop


class ScheduledTask(Protocol):
    """What the scheduler sees of a task."""

    @property
    def id(self) -> str: ...

    @property
    def deployment_id(self) -> str: ...

    @property
    def alive(self) -> bool:
        """Not stopped yet."""

    @property
    def stopping(self) -> bool:
        """On its way out, whoever wanted it."""

    @property
    def dismissed(self) -> bool:
        """Return True where the scheduler itself wanted it to stop, and not for ill health."""

    @property
    def running(self) -> bool: ...

    @property
    def steady(self) -> bool:
        """Running, and healthy in itself and in all of its target groups."""

    @property
    def unfit(self) -> str | None:
        """Why it has to be replaced, where its health says so."""


T = TypeVar("T", bound=ScheduledTask)


@dataclass
class Deployment:
    """One deployment of the service and its score."""

    id: str
    service: Service
    created_at: float
    rollout: RolloutState = "IN_PROGRESS"
    reason: str = ""
    failed: int = 0  # tasks that failed to start in a row, for the circuit breaker
    restarts: int = 0  # tasks that ended in a row, for the pauses
    not_before: float = 0


class ServiceScheduler(Generic[T]):
    """Keeps one service's tasks as its newest definition wants them.

    `start` makes a task of a deployment; `stop` ends one for a reason, `ill` where its health is the reason;
    `tell` passes on a sentence for the service's events.
    """

    def __init__(
        self,
        start: Callable[[Deployment], T],
        stop: Callable[[T, str, bool], None],
        tell: Callable[[str], None],
    ) -> None:
        self._start = start
        self._stop = stop
        self._tell = tell
        self.deployments: list[Deployment] = []  # newest first
        self.tasks: list[T] = []
        self._steady_since: dict[str, float] = {}

    def reconcile(self, service: Service | None, now: float) -> None:
        """Do one round: `service` is None once it is deleted; `now` in Unix seconds."""
        self._bury(now)
        if service is None:
            for task in self._living():
                self._dismiss(task, "the service was deleted")
            return
        self._adopt(service, now)
        primary = self.deployments[0]
        for task in self._living():
            if task.steady:
                self._steady_since.setdefault(task.id, now)
                if task.deployment_id == primary.id:
                    primary.failed = 0
            if task.unfit is not None:
                self._tell(f"(service {service.name}) (task {task.id}) is unhealthy: {task.unfit}.")
                self._stop(task, task.unfit, True)  # noqa: FBT003 -- `ill`; a callable has no keywords
        self._judge(primary)
        self._trim(primary)
        self._fill(primary, now)

    def reports(self) -> list[DeploymentReport]:
        found = []
        for index, each in enumerate(self.deployments):
            tasks = [task for task in self._living() if task.deployment_id == each.id]
            running = sum(task.running for task in tasks)
            found.append(
                DeploymentReport(
                    id=each.id,
                    status="ACTIVE" if index else "PRIMARY",
                    task_definition_arn=each.service.task_definition.arn,
                    desired=0 if index else each.service.desired_count,
                    running=running,
                    pending=len(tasks) - running,
                    failed=each.failed,
                    rollout=each.rollout,
                    rollout_reason=each.reason,
                    created_at=each.created_at,
                )
            )
        return found

    def _living(self) -> list[T]:
        """Tasks that are wanted: alive and not stopping."""
        return [task for task in self.tasks if task.alive and not task.stopping]

    def _bury(self, now: float) -> None:
        """Take note of tasks that have ended, and of whose fault it was."""
        for task in [task for task in self.tasks if not task.alive]:
            self.tasks.remove(task)
            steady_since = self._steady_since.pop(task.id, None)
            deployment = next((each for each in self.deployments if each.id == task.deployment_id), None)
            if task.dismissed or deployment is None:
                continue
            if steady_since is None:
                deployment.failed += 1
            elif now - steady_since >= PROVEN_AFTER:
                deployment.restarts = 0
            deployment.restarts += 1
            excess = deployment.restarts - QUICK_RETRIES
            deployment.not_before = now + (min(2.0**excess, LONGEST_PAUSE) if excess > 0 else 0)
        holders = {task.deployment_id for task in self.tasks}
        self.deployments = [
            each for index, each in enumerate(self.deployments) if index == 0 or each.id in holders
        ]

    def _adopt(self, service: Service, now: float) -> None:
        """Take the service's newest definition; a new deployment supersedes an unfinished one."""
        current = next((each for each in self.deployments if each.id == service.deployment_id), None)
        if current is None:
            current = Deployment(service.deployment_id, service, now)
        elif current is self.deployments[0] and current.service.desired_count == service.desired_count:
            current.service = service
            return
        # New, or an earlier one again, or scaled: it has to reach a steady state.
        current.service = service
        current.failed = current.restarts = 0
        current.not_before = 0
        self._set(current, "IN_PROGRESS", f"ECS deployment {current.id} in progress.")
        self.deployments = [current, *(each for each in self.deployments if each is not current)]

    def _judge(self, primary: Deployment) -> None:
        if primary.rollout != "IN_PROGRESS":
            return
        service = primary.service
        tasks = [task for task in self.tasks if task.alive]
        done = all(task.steady and not task.stopping and task.deployment_id == primary.id for task in tasks)
        if done and len(tasks) == service.desired_count:
            self._set(primary, "COMPLETED", f"ECS deployment {primary.id} completed.")
            self._tell(f"(service {service.name}) (deployment {primary.id}) deployment completed.")
            self._tell(f"(service {service.name}) has reached a steady state.")
        # AWS: half the desired count, at least 3, at most 200.
        elif service.circuit_breaker and primary.failed >= max(
            3, min(200, math.ceil(service.desired_count / 2))
        ):
            self._set(primary, "FAILED", "ECS deployment circuit breaker: tasks failed to start.")
            self._tell(
                f"(service {service.name}) (deployment {primary.id}) "
                "deployment failed: tasks failed to start."
            )

    def _trim(self, primary: Deployment) -> None:
        """Stop what is too much: of the newest deployment, then of older ones as far as allowed."""
        service = primary.service
        new = [task for task in self._living() if task.deployment_id == primary.id]
        new.sort(key=lambda task: not task.steady)
        for task in new[service.desired_count :]:
            self._dismiss(task, f"Scaling activity initiated by (deployment {primary.id})")
        if primary.rollout == "FAILED":
            return
        old = [task for task in self._living() if task.deployment_id != primary.id]
        needed = math.ceil(service.desired_count * service.minimum_healthy_percent / 100)
        healthy = sum(task.steady for task in self._living())
        for task in sorted(old, key=lambda task: task.steady):
            if task.steady:
                if healthy <= needed:
                    continue
                healthy -= 1
            self._dismiss(task, f"Scaling activity initiated by (deployment {primary.id})")

    def _fill(self, primary: Deployment, now: float) -> None:
        """Start what is missing, as far as allowed."""
        service = primary.service
        if primary.rollout == "FAILED" or now < primary.not_before:
            return
        most = math.floor(service.desired_count * service.maximum_percent / 100)
        living = self._living()
        present = len(living)
        if most <= service.desired_count:
            # Recreate: what is still stopping may still hold the database.
            present = sum(task.alive for task in self.tasks)
        missing = service.desired_count - sum(task.deployment_id == primary.id for task in living)
        for _ in range(min(missing, most - present)):
            task = self._start(primary)
            self.tasks.append(task)
            self._tell(f"(service {service.name}) has started 1 tasks: (task {task.id}).")

    def _dismiss(self, task: T, reason: str) -> None:
        self._stop(task, reason, False)  # noqa: FBT003 -- `ill`; a callable has no keywords

    @staticmethod
    def _set(deployment: Deployment, rollout: RolloutState, reason: str) -> None:
        deployment.rollout, deployment.reason = rollout, reason


class OneTask(ServiceScheduler[T]):
    """Runs a task that RunTask asked for: once, whatever becomes of it."""

    def reconcile(self, service: Service | None, now: float) -> None:
        """Start it where that has not been done; end it where `service` is None."""
        self.tasks = [task for task in self.tasks if task.alive]
        if service is None:
            for task in self._living():
                self._dismiss(task, "Task stopped by user")
        elif not self.deployments:
            self.deployments = [Deployment(service.deployment_id, service, now)]
            self.tasks.append(self._start(self.deployments[0]))

    def reports(self) -> list[DeploymentReport]:
        return []
