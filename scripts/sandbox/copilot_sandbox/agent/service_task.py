"""One ECS task in the agent's process: its preparation, target groups, draining and reports."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_sandbox.agent import catalogue, listeners, namespace, preparation
from copilot_sandbox.agent.container import name_of
from copilot_sandbox.agent.runner import Runner, remove_tree
from copilot_sandbox.agent.scheduler import Unfit
from copilot_sandbox.model import ContainerReport, Health, TaskReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.discovery import Named
    from copilot_sandbox.agent.health import HealthChecks
    from copilot_sandbox.agent.targets import Targets
    from copilot_sandbox.model import Container, Service

logger = logging.getLogger(__name__)


_FAILS_AFTER = 2.0  # seconds


@dataclass(frozen=True)
class TaskContext(preparation.Settings):
    """The settings and services that all tasks of an agent share."""

    targets: Targets
    health_checks: HealthChecks
    post: Callable[[ServiceTask, wire.Event], None]
    named: Callable[[Service], Sequence[Named]]


class ServiceTask:
    """A task. Only `connect` may be called from a thread other than the agent's."""

    def __init__(self, context: TaskContext, service: Service, deployment_id: str, address: str) -> None:
        self._context = context
        self._service = service
        self._runner: Runner | None = None
        self._claim: socket.socket | None = None  # reserves the loopback address, if there is no namespace
        self._drain_until: float | None = None
        self._failure: tuple[str, float] | None = None  # and when it ends the task, in Unix seconds
        self._running_since: dict[str, float] = {}
        self._is_limited = False
        self._notes: dict[str, str | None] = {}  # by container: shown as its reason while it runs
        self.id = service.only_task or uuid.uuid4().hex
        self.deployment_id = deployment_id
        self.stopping = False
        self.dismissed = False
        self.exposed = False  # it listened on an address that other machines reach
        self.report = TaskReport(
            id=self.id,
            service_arn=service.arn,
            cluster_arn=service.cluster_arn,
            task_definition_arn=service.task_definition.arn,
            status="PROVISIONING",
            desired_status="RUNNING",
            health="UNKNOWN",
            address=address,
            created_at=time.time(),
            capacity_provider=service.capacity_provider,
            containers=[
                ContainerReport(each.name, each.image) for each in service.task_definition.containers
            ],
        )

    @property
    def service(self) -> Service:
        return self._service

    @property
    def alive(self) -> bool:
        return self.report.status != "STOPPED"

    @property
    def running(self) -> bool:
        return self.report.status == "RUNNING"

    @property
    def steady(self) -> bool:
        if not self.running or self.stopping or self.report.health == "UNHEALTHY":
            return False
        checked = any(each.essential and each.health_check for each in self._containers())
        if checked and self.report.health != "HEALTHY":
            return False
        return all(each.state == "healthy" for each in self._context.targets.at(self.report.address))

    @property
    def unfit(self) -> Unfit | None:
        if not self.running or self.stopping or self.report.started_at is None:
            return None
        if time.time() - self.report.started_at < self._service.grace_period:
            return None
        if self.report.health == "UNHEALTHY":
            return Unfit("Task failed container health checks", "failed container health checks")
        for each in self._context.targets.at(self.report.address):
            if each.state == "unhealthy" and each.problem:
                group = f"in (target-group {each.group.arn})"
                return Unfit(
                    f"Task failed ELB health checks {group}",
                    f"(port {each.port}) is unhealthy {group} due to (reason {each.problem.reason})",
                )
        return None

    def launch(self) -> None:
        """Start the task's process. If something is missing for it, that becomes the stopped reason."""
        self.report.status = "PENDING"
        directory = self._context.directory / self.id
        try:
            spec = self._prepare(directory)
            self._runner = Runner(
                self.id,
                directory,
                spec,
                owner_env=self._context.owner_env,
                engine=self._context.engine,
                on_state=lambda event: self._context.post(self, event),
                on_log=self._log,
            )
        except (preparation.PreparationError, catalogue.NoImageError, namespace.NoAddressError) as error:
            logger.warning("task %s of %s can't start: %s", self.id, self._service.name, error)
            self._give_up(directory, str(error))
        except Exception as error:
            logger.exception("task %s of %s can't start", self.id, self._service.name)
            self._give_up(directory, f"InternalError: {type(error).__name__}: {error}")

    def fail(self, reason: str) -> None:
        """End the task soon, which does not start for this reason of ECS: AWS needs a moment to find out."""
        self._failure = (reason, time.time() + _FAILS_AFTER)

    def handle(self, event: wire.Event) -> None:
        """Handle an event of the task's process."""
        states = {each["name"]: each for each in event.get("containers", [])}
        for report in self.report.containers:
            state = states.get(report.name)
            if state is None:
                continue
            if state["status"] == "RUNNING":
                self._running_since.setdefault(report.name, time.time())
            report.status, report.health = state["status"], state["health"]
            report.exit_code, report.reason = state["exit_code"], state["reason"]
            if state["status"] == "RUNNING":
                report.reason = report.reason or self._notes.get(report.name)
        self.report.health = self._health()
        status = event.get("status")
        if status == "RUNNING" and not self.running:
            self.report.status = "RUNNING"
            self.report.started_at = time.time()
            self._register()
        elif status == "STOPPING":
            self._begin_stop(event.get("reason"), event.get("code"))
            self.report.status = "DEPROVISIONING"
        elif status == "STOPPED":
            self._finish(event.get("reason"), event.get("code"))

    def stop(self, reason: str, *, ill: bool) -> None:
        """Take the task out of its target groups, let requests end, then stop its containers."""
        self.dismissed = not ill
        self._begin_stop(reason, "ServiceSchedulerInitiated")
        delays = [each.group.deregistration_delay for each in self._context.targets.at(self.report.address)]
        self._drain_until = time.time() + max(delays, default=0)
        self.tick(time.time())

    def tick(self, now: float) -> None:
        """Stop the process once the task is drained; end a task that does not start; limit one in service."""
        if self.steady and not self._is_limited:
            self._is_limited = True
            self._limit_cpus(float(self._service.task_definition.cpu or 0) / 1024)
        if self._failure and now >= self._failure[1]:
            self._finish(self._failure[0], "TaskFailedToStart")
            self._failure = None
        if self._drain_until is None:
            return
        if now >= self._drain_until or self._context.targets.idle(self.report.address):
            self._drain_until = None
            if self._runner is not None:
                self._runner.stop(self.report.stopped_reason or "", self.report.stop_code or "")

    def stop_exposed(self, reason: str) -> None:
        """Stop at once a task that other machines reach, and write the reason to its log as well."""
        self.exposed = True
        for container in self._containers():
            if container.log_group is not None:
                stream = f"{container.log_prefix}/{container.name}/{self.id}"
                self._context.control_plane.log(
                    container.log_group, stream, [(int(time.time() * 1000), reason)]
                )
        self.halt(reason, 0)

    def halt(self, reason: str, limit: float) -> None:
        """Stop within `limit` seconds, even if the task is not drained."""
        self._begin_stop(reason, "ServiceSchedulerInitiated")
        self._drain_until = None
        if self._runner is not None:
            self._runner.stop(reason, "ServiceSchedulerInitiated", limit)

    @property
    def pid(self) -> int | None:
        """Return the id of the task's first process while the task runs."""
        return self._runner.pid if self._runner is not None and self.alive else None

    def join(self, timeout: float) -> None:
        """Wait for the process. Kill it if it takes longer than `timeout` seconds."""
        if self._runner is not None and not self._runner.join(timeout):
            self._runner.kill()
            self._runner.join(5)

    def connect(self, port: int, timeout: float) -> socket.socket:
        """Return a connection to the task. Raises OSError."""
        if self._claim is not None:
            host = self._claim.getsockname()[0]
            return socket.create_connection((host, port), timeout)
        if self._runner is None:
            raise ConnectionRefusedError(f"task {self.id} does not run")
        connection = self._runner.open_socket()
        try:
            connection.settimeout(timeout)
            connection.connect((self.report.address, port))
        except OSError:
            connection.close()
            raise
        return connection

    def listening(self, wanted: int) -> str:
        """Return where the task listens in place of the port `wanted`, as `8080`; empty if it is not known.

        The ports of other containers, and those that the sandbox itself forwards, are left out.
        """
        if self.pid is None:
            return ""
        own = self._claim.getsockname()[0] if self._claim is not None else None
        others = {port for each in self._containers() if wanted not in each.ports for port in each.ports}
        forwarded = {(host, port) for host, port, _ in self._context.port_forwards}
        shown = []
        for _, address, port in listeners.of_network(self.pid):
            if port in others or (address, port) in forwarded or own not in (None, address):
                continue
            alone = own is None and not listeners.is_open(address)
            shown.append(f"{address}:{port}, where nobody outside reaches it" if alone else str(port))
        return ", ".join(dict.fromkeys(shown))

    def activity(self) -> tuple[str, float]:
        """Return what the task currently waits for, and since when (Unix seconds)."""
        for each in self._context.targets.at(self.report.address):
            if each.state != "healthy" and each.problem:
                return each.problem.text, self.report.started_at or self.report.created_at
        awaited = {
            name
            for each, report in zip(self._containers(), self.report.containers, strict=True)
            if report.status == "PENDING"
            for name, condition in each.depends_on.items()
            if condition != "START"
        }
        for report in self.report.containers:
            if report.name in awaited and report.status == "RUNNING":
                return f"{report.name} is still running", self._running_since[report.name]
        return "the task is starting", self.report.created_at

    def _give_up(self, directory: Path, reason: str) -> None:
        remove_tree(directory)
        self._finish(reason, "TaskFailedToStart")

    def _containers(self) -> tuple[Container, ...]:
        return self._service.task_definition.containers

    def _prepare(self, directory: Path) -> wire.TaskSpec:
        context, service = self._context, self._service
        if context.engine is None and context.way == "loopback":
            self._claim = namespace.claim_loopback()
        host = self._claim.getsockname()[0] if self._claim else None
        directory.mkdir(parents=True, mode=0o700)
        named = context.named(service) if host is None else ()
        order = preparation.Order(
            service.task_definition,
            self.id,
            self.report.address,
            directory,
            host,
            named,
            one_off=service.only_task is not None,
        )
        prepared = (
            preparation.for_processes(context, order)
            if context.engine is None
            else preparation.for_engine(context, order, context.engine)
        )
        self._notes = prepared.notes
        for report, digest in zip(self.report.containers, prepared.digests, strict=True):
            report.image_digest = digest
        return prepared.spec

    def _log(self, event: wire.Event) -> None:
        container = next(each for each in self._containers() if each.name == event["container"])
        if container.log_group is not None:
            stream = f"{container.log_prefix}/{container.name}/{self.id}"
            lines = ((stamp, line) for stamp, line in event["lines"])
            self._context.control_plane.log(container.log_group, stream, lines)

    def _register(self) -> None:
        if self.stopping:
            return
        for each in self._service.load_balancing:
            group = self._context.control_plane.target_group(each.target_group_arn)
            if group is None:
                logger.warning("task %s: there is no target group %s", self.id, each.target_group_arn)
                continue
            target = self._context.targets.register(group, self.report.address, each.port)
            self._context.health_checks.watch(target)

    def _health(self) -> Health:
        checked = {each.name for each in self._containers() if each.essential and each.health_check}
        results = {report.health for report in self.report.containers if report.name in checked}
        if "UNHEALTHY" in results:
            return "UNHEALTHY"
        return "HEALTHY" if results == {"HEALTHY"} else "UNKNOWN"

    def _begin_stop(self, reason: str | None, code: str | None) -> None:
        if not self.stopping:
            self.stopping = True
            self.report.desired_status = "STOPPED"
            self.report.stopped_reason, self.report.stop_code = reason, code
            self._context.targets.drain(self.report.address)
            if self._is_limited:
                self._limit_cpus(0)

    def _limit_cpus(self, cpus: float) -> None:
        """Let an engine's containers of this task use `cpus` processors, or all if it is 0.

        The task's own number holds while it is in service. A start with migrations takes four times as long
        on a quarter of a processor, and someone waits for it.
        """
        engine = self._context.engine
        if engine is None or not engine.can_update:
            return
        for report in self.report.containers:
            if report.status == "RUNNING":
                engine.limit_cpus(name_of(self.id, report.name), cpus)

    def _finish(self, reason: str | None, code: str | None) -> None:
        self._begin_stop(reason, code)
        self._context.targets.remove(self.report.address)
        if self._claim is not None:
            self._claim.close()
            self._claim = None
        for each in self.report.containers:
            each.status = "STOPPED"
        self.report.status = "STOPPED"
        self.report.stopped_at = time.time()
