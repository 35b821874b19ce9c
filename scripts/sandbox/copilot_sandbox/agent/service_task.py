"""One ECS task in the agent's process: its preparation, target groups, draining and reports."""

from __future__ import annotations

import logging
import shutil
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_sandbox.agent import catalogue, filesystem, namespace, nginx
from copilot_sandbox.agent.confined import hidden
from copilot_sandbox.agent.container import compose, without_key
from copilot_sandbox.agent.runner import Runner, remove_tree
from copilot_sandbox.boot import PACKAGE
from copilot_sandbox.env_files import parse_env_file
from copilot_sandbox.model import NGINX_VERSION, ContainerReport, Health, TaskReport
from copilot_sandbox.postgres import bin_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.health import HealthChecks
    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.agent.targets import Targets
    from copilot_sandbox.model import Container, ControlPlane, Image, Service

logger = logging.getLogger(__name__)

MISSING = (
    "ResourceInitializationError: unable to pull secrets or registry auth: "
    "execution resource retrieval failed: unable to retrieve secrets from ssm: "
    "service call has been retried 1 time(s): "
    "The parameter {name} could not be found (variable {variable} of container {container})."
)


class PreparationError(Exception):
    """The task can't start; the message is its stopped reason."""


@dataclass(frozen=True)
class TaskContext:
    """The settings and services that all tasks of an agent share."""

    control_plane: ControlPlane
    directory: Path
    find_image: Callable[[str], Image | None]
    owner_env: Mapping[str, str]
    way: namespace.Way
    port_forwards: Sequence[PortForward]
    readable: Sequence[Path]  # folders of this machine that every container may read
    own_filesystem: bool  # containers have a file system of their own
    targets: Targets
    health_checks: HealthChecks
    post: Callable[[ServiceTask, wire.Event], None]
    supply: Callable[[str, str, str, str | None], tuple[str | None, str]]
    aws: Callable[[str], tuple[Mapping[str, str], Path | None]]


class ServiceTask:
    """A task. Only `connect` may be called from a thread other than the agent's."""

    def __init__(self, context: TaskContext, service: Service, deployment_id: str, address: str) -> None:
        self._context = context
        self._service = service
        self._runner: Runner | None = None
        self._claim: socket.socket | None = None  # reserves the loopback address, if there is no namespace
        self._drain_until: float | None = None
        self._running_since: dict[str, float] = {}
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
    def unfit(self) -> str | None:
        if not self.running or self.stopping or self.report.started_at is None:
            return None
        if time.time() - self.report.started_at < self._service.grace_period:
            return None
        if self.report.health == "UNHEALTHY":
            return "Task failed container health checks"
        for each in self._context.targets.at(self.report.address):
            if each.state == "unhealthy":
                return f"Task failed ELB health checks in (target-group {each.group.arn}): {each.reason}"
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
                on_state=lambda event: self._context.post(self, event),
                on_log=self._log,
            )
        except (PreparationError, catalogue.NoImageError, namespace.NoAddressError) as error:
            logger.warning("task %s of %s can't start: %s", self.id, self._service.name, error)
            self._give_up(directory, str(error))
        except Exception as error:
            logger.exception("task %s of %s can't start", self.id, self._service.name)
            self._give_up(directory, f"InternalError: {type(error).__name__}: {error}")

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
        """Stop the process once the task is drained."""
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

    def activity(self) -> tuple[str, float]:
        """Return what the task currently waits for, and since when (Unix seconds)."""
        for each in self._context.targets.at(self.report.address):
            if each.state != "healthy" and each.reason:
                return each.reason, self.report.started_at or self.report.created_at
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
        definition = self._service.task_definition
        secrets = {each.name: self._secrets(each) for each in definition.containers}
        host = None
        if self._context.way == "loopback":
            self._claim = namespace.claim_loopback()
            host = self._claim.getsockname()[0]
        directory.mkdir(parents=True, mode=0o700)
        readable = {*self._context.readable, PACKAGE}
        aws = self._aws(definition.role, directory) if host is None else {}
        volumes = {name: directory / "volumes" / name for name in definition.volumes}
        specs = []
        for defined, report in zip(definition.containers, self.report.containers, strict=True):
            container = replace(defined, environment={**self._from_files(defined), **defined.environment})
            own = directory / container.name
            image = self._context.find_image(container.image)
            tools: tuple[Path, ...] = (bin_dir(),)  # replaces programs that apt-get would install
            if image is None:
                public = catalogue.provide(container.image, own, host)
                image, tools = public.image, public.tools
            if NGINX_VERSION in image.env:
                upstream = nginx.upstream_of(definition.containers, container)
                provided = nginx.provide(container, image, own, host, upstream)
                tools = (provided.programs, *tools)
                notes = (self._notes.get(container.name), provided.note)
                self._notes[container.name] = "; ".join(filter(None, notes)) or None
            readable |= {image.root, *tools, *([image.venv] if image.venv else [])}
            report.image_digest = image.digest or None
            for mount in container.mounts:
                volumes.setdefault(mount.volume, directory / "volumes" / mount.volume)
            specs.append(
                compose(
                    container,
                    image,
                    directory=own,
                    volumes=volumes,
                    secrets=secrets[container.name],
                    owner_env={**self._context.owner_env, "SANDBOX_TASK": self.id},
                    host=host,
                    tools=tools,
                    defaults=without_key(aws, {*container.environment, *container.secrets}),
                )
            )
        # A task with its own server on that port (a Redis sidecar) does not get the forward.
        own_ports = {port for each in definition.containers for port in each.ports}
        return {
            "namespace": host is None,
            "address": self.report.address,
            "port_forwards": [each for each in self._context.port_forwards if each[1] not in own_ports],
            "filesystem": self._filesystem(directory, readable),
            "directories": [str(each) for each in volumes.values()],
            "containers": specs,
        }

    def _aws(self, role: str, directory: Path) -> dict[str, str]:
        """Return the variables with which a program reaches the embedded AWS. The authority is in a file."""
        variables, authority = self._context.aws(role)
        if authority is None:
            return dict(variables)
        shutil.copyfile(authority, directory / authority.name)
        return {**variables, "AWS_CA_BUNDLE": str(directory / authority.name)}

    def _from_files(self, container: Container) -> dict[str, str]:
        """Return the variables of a container's environment files."""
        found: dict[str, str] = {}
        for arn in container.environment_files:
            try:
                found |= parse_env_file(self._context.control_plane.environment_file(arn))
            except KeyError as error:
                raise PreparationError(
                    f"ResourceInitializationError: failed to download env files: {arn} does not exist"
                ) from error
        return found

    def _filesystem(self, directory: Path, readable: set[Path]) -> list[object] | None:
        if not self._context.own_filesystem:
            return None
        scratch = directory / "scratch"
        scratch.mkdir()
        outside = [str(each) for each in readable if not each.is_relative_to(directory)]
        shown = [*outside, *filesystem.interpreter()]
        return [*filesystem.Shown(shown, [str(directory)], hidden(), str(scratch))]

    def _secrets(self, container: Container) -> dict[str, str]:
        values, notes = {}, []
        environment = container.environment.get("COPILOT_ENVIRONMENT_NAME", "")
        for variable, name in container.secrets.items():
            stored: str | None = None
            with suppress(KeyError):
                stored = self._context.control_plane.secret(name)
            value, note = self._context.supply(variable, name, environment, stored)
            if value is None:
                missing = MISSING.format(name=name, variable=variable, container=container.name)
                raise PreparationError(f"{missing}{note}")
            values[variable] = value
            notes += [note] if note else []
        self._notes[container.name] = "; ".join(notes) or None
        return values

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
