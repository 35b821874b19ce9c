"""ECS's service scheduler for one service: which tasks start and stop, and a deployment's state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from copilot_sandbox.model import DeploymentReport, RolloutState, Service

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK_RETRIES = 3  # ended tasks that are replaced without a pause; later pauses grow
LONGEST_PAUSE = 60.0  # seconds
PROVEN_AFTER = 10.0  # seconds for which a task must be healthy to end a row of restarts


class Unfit(NamedTuple):
    """Why a task's health requires a replacement: the stopped reason, and the end of the service's event.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """

    reason: str
    event: str


class ScheduledTask(Protocol):
    """The properties of a task that the scheduler uses."""

    @property
    def id(self) -> str: ...

    @property
    def deployment_id(self) -> str: ...

    @property
    def alive(self) -> bool:
        """True until the task has stopped."""

    @property
    def stopping(self) -> bool:
        """True once the task is being stopped, for whatever reason."""

    @property
    def dismissed(self) -> bool:
        """True if the scheduler stopped the task for another reason than its health."""

    @property
    def running(self) -> bool: ...

    @property
    def steady(self) -> bool:
        """True if the task runs and is healthy, also in all of its target groups."""

    @property
    def unfit(self) -> Unfit | None:
        """Why the task's health requires a replacement; None if it does not."""


T = TypeVar("T", bound=ScheduledTask)


@dataclass
class Deployment:
    """One deployment of the service, with its state and its counts of failures."""

    id: str
    service: Service
    created_at: float
    rollout: RolloutState = "IN_PROGRESS"
    reason: str = ""
    failed: int = 0  # tasks in a row that failed to start, for the circuit breaker
    restarts: int = 0  # tasks in a row that ended, for the pauses
    not_before: float = 0  # Unix seconds: no task starts earlier


class ServiceScheduler(Generic[T]):
    """Starts and stops one service's tasks until they match its newest definition.

    `start` starts a task of a deployment. `stop` stops a task for a reason; its last argument, `ill`, is True
    if the task's health is the reason. `add_event` adds a sentence to the service's events. `lacks` returns
    why no task of a service is placed, or nothing.
    """

    def __init__(
        self,
        start: Callable[[Deployment], T],
        stop: Callable[[T, str, bool], None],
        add_event: Callable[[str], None],
        lacks: Callable[[Service], str] = lambda _: "",
    ) -> None:
        self._lacks = lacks
        self._lacking: tuple[str, str] | None = None  # the deployment and the reason that were told last
        self._start = start
        self._stop = stop
        self._add_event = add_event
        self.deployments: list[Deployment] = []  # newest first
        self.tasks: list[T] = []
        self._steady_since: dict[str, float] = {}

    def reconcile(self, service: Service | None, now: float) -> None:
        """Stop and start tasks once, to match the service; the agent calls this again and again.

        `service` is None once it is deleted; `now` is in Unix seconds.
        """
        self._count_ended(now)
        if service is None:
            for task in self._living():
                self._dismiss(task, "the service was deleted")
            return
        self._use_definition(service, now)
        primary = self.deployments[0]
        for task in self._living():
            if task.steady:
                self._steady_since.setdefault(task.id, now)
                if task.deployment_id == primary.id:
                    primary.failed = 0
            if task.unfit is not None:
                self._add_event(f"(service {service.name}) (task {task.id}) {task.unfit.event}.")
                self._stop(task, task.unfit.reason, True)  # noqa: FBT003 -- `ill`; a callable has no keywords
        self._update_rollout(primary)
        self._stop_surplus(primary)
        self._start_missing(primary, now)

    def reports(self) -> list[DeploymentReport]:
        reports = []
        for index, deployment in enumerate(self.deployments):
            tasks = [task for task in self._living() if task.deployment_id == deployment.id]
            running = sum(task.running for task in tasks)
            reports.append(
                DeploymentReport(
                    id=deployment.id,
                    status="ACTIVE" if index else "PRIMARY",
                    task_definition_arn=deployment.service.task_definition.arn,
                    desired=0 if index else deployment.service.desired_count,
                    running=running,
                    pending=len(tasks) - running,
                    failed=deployment.failed,
                    rollout=deployment.rollout,
                    rollout_reason=deployment.reason,
                    created_at=deployment.created_at,
                )
            )
        return reports

    def _living(self) -> list[T]:
        """Return the tasks that are alive and not stopping."""
        return [task for task in self.tasks if task.alive and not task.stopping]

    def _count_ended(self, now: float) -> None:
        """Remove ended tasks, and count each that ended by itself or was stopped as unhealthy.

        One that was never steady counts as a failed start too, for the circuit breaker.
        """
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

    def _use_definition(self, service: Service, now: float) -> None:
        """Take the service's newest definition. A new deployment comes before all others."""
        current = next((each for each in self.deployments if each.id == service.deployment_id), None)
        if current is None:
            current = Deployment(service.deployment_id, service, now)
        elif current is self.deployments[0] and current.service.desired_count == service.desired_count:
            current.service = service
            return
        # A new deployment, an earlier one again, or a scaled one has to reach a steady state.
        current.service = service
        current.failed = current.restarts = 0
        current.not_before = 0
        self._set(current, "IN_PROGRESS", f"ECS deployment {current.id} in progress.")
        self.deployments = [current, *(each for each in self.deployments if each is not current)]

    def _update_rollout(self, primary: Deployment) -> None:
        """Mark a deployment COMPLETED once only its tasks run and are steady; FAILED by the breaker."""
        if primary.rollout != "IN_PROGRESS":
            return
        service = primary.service
        tasks = [task for task in self.tasks if task.alive]
        done = all(task.steady and not task.stopping and task.deployment_id == primary.id for task in tasks)
        if done and len(tasks) == service.desired_count:
            self._set(primary, "COMPLETED", f"ECS deployment {primary.id} completed.")
            self._add_event(f"(service {service.name}) (deployment {primary.id}) deployment completed.")
            self._add_event(f"(service {service.name}) has reached a steady state.")
        # ECS's circuit breaker fails after half the desired count, at least 3 and at most 200 tasks.
        elif service.circuit_breaker and primary.failed >= max(
            3, min(200, math.ceil(service.desired_count / 2))
        ):
            self._set(primary, "FAILED", "ECS deployment circuit breaker: tasks failed to start.")
            self._add_event(
                f"(service {service.name}) (deployment {primary.id}) "
                "deployment failed: tasks failed to start."
            )

    def _stop_surplus(self, primary: Deployment) -> None:
        """Stop surplus tasks of the newest deployment, then older tasks as minimum_healthy_percent allows."""
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

    def _start_missing(self, primary: Deployment, now: float) -> None:
        """Start missing tasks, as far as maximum_percent allows."""
        service = primary.service
        if primary.rollout == "FAILED" or now < primary.not_before:
            return
        most = math.floor(service.desired_count * service.maximum_percent / 100)
        living = self._living()
        present = len(living)
        if most <= service.desired_count:
            # With no surplus allowed (recreate), a task that is still stopping may still use the database.
            present = sum(task.alive for task in self.tasks)
        missing = service.desired_count - sum(task.deployment_id == primary.id for task in living)
        for _ in range(min(missing, most - present)):
            if not self._is_placed(primary):
                return
            task = self._start(primary)
            self.tasks.append(task)
            self._add_event(f"(service {service.name}) has started 1 tasks: (task {task.id}).")

    def _is_placed(self, primary: Deployment) -> bool:
        """Return True if there is room for a task. Tell once per deployment and reason that there is none."""
        reason = self._lacks(primary.service)
        told = (primary.id, reason) if reason else None
        if told and told != self._lacking:
            name = primary.service.name
            self._add_event(f"(service {name}) was unable to place a task. Reason: {reason}")
        self._lacking = told
        return not reason

    def _dismiss(self, task: T, reason: str) -> None:
        self._stop(task, reason, False)  # noqa: FBT003 -- `ill`; a callable has no keywords

    @staticmethod
    def _set(deployment: Deployment, rollout: RolloutState, reason: str) -> None:
        deployment.rollout, deployment.reason = rollout, reason


class OneTask(ServiceScheduler[T]):
    """Runs a task of RunTask: once, and without a replacement."""

    def reconcile(self, service: Service | None, now: float) -> None:
        """Start the task if it was not started yet; stop it if `service` is None."""
        self.tasks = [task for task in self.tasks if task.alive]
        if service is None:
            for task in self._living():
                self._dismiss(task, "Task stopped by user")
        elif not self.deployments:
            self.deployments = [Deployment(service.deployment_id, service, now)]
            self.tasks.append(self._start(self.deployments[0]))

    def reports(self) -> list[DeploymentReport]:
        return []
