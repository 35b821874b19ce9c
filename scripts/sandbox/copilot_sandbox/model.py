"""The types that the sandbox's parts exchange, with ECS's and ELB's names.

The control plane (moto, extended) decides what runs. The task agent runs it and reports back. The load
balancer forwards requests to it. None of the three imports another one; they share only these types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
RolloutState = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]
TaskStatus = Literal["PROVISIONING", "PENDING", "RUNNING", "DEPROVISIONING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]
TargetState = Literal["initial", "healthy", "unhealthy", "draining", "unused"]

# nginx's image sets this variable, and every image built from it inherits it, so it identifies them.
# Source: https://github.com/nginx/docker-nginx, stable/debian/Dockerfile.
NGINX_VERSION = "NGINX_VERSION"
NGINX_ENTRYPOINT = ("docker-entrypoint.sh",)
NGINX_CMD = ("nginx", "-g", "daemon off;")


@dataclass(frozen=True)
class StartCommand:
    """A command of a RUN step that a container carries out before its own, because no build here runs it."""

    line: int
    words: tuple[str, ...]
    env: Mapping[str, str]  # all that the build sets at this line, except PATH
    workdir: str
    may_fail: bool = False  # it stands before `||`


@dataclass(frozen=True)
class Image:
    """A built image: the files, the virtual environment and the settings that a container starts with.

    `root` contains the image's paths (`root/app/manage.py` is `/app/manage.py`). It is never written to,
    because each container uses a copy. `venv` is the environment whose `bin` comes first on PATH.
    """

    digest: str
    root: Path
    venv: Path | None
    env: Mapping[str, str]
    workdir: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    paths: tuple[str, ...]  # absolute paths that the Dockerfile created (WORKDIR, COPY targets, VOLUME)
    engine_id: str = ""  # the id of the engine's image, which then has the files
    python: Path | None = None  # where the environment's Python is installed, if it is not the sandbox's own
    start_commands: tuple[StartCommand, ...] = ()

    @property
    def programs(self) -> list[Path]:
        """Return the folders of the environment and its Python, which a container has to read."""
        return [each for each in (self.venv, self.python) if each is not None]


@dataclass(frozen=True)
class HealthCheck:
    """A container's own health check. Times are in seconds."""

    command: tuple[str, ...]  # ("CMD-SHELL", "curl …") or ("CMD", "curl", …)
    interval: float = 30
    timeout: float = 5
    retries: int = 3
    start_period: float = 0


@dataclass(frozen=True)
class Mount:
    volume: str
    path: str
    read_only: bool


@dataclass(frozen=True)
class Container:
    """One container definition of a task definition, resolved."""

    name: str
    image: str
    essential: bool = True
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)  # variable → SSM name, or ARN
    environment_files: tuple[str, ...] = ()  # ARNs of objects in S3
    ports: tuple[int, ...] = ()
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    health_check: HealthCheck | None = None
    stop_timeout: float = 30  # seconds between SIGTERM and SIGKILL
    mounts: tuple[Mount, ...] = ()
    log_group: str | None = None
    log_prefix: str = "ecs"  # stream: prefix/container/task id


@dataclass(frozen=True)
class TaskDefinition:
    arn: str
    cpu: str
    memory: str
    containers: tuple[Container, ...]
    volumes: tuple[str, ...] = ()
    role: str = ""  # the ARN of the task role


@dataclass(frozen=True)
class LoadBalancing:
    """One entry of a service's `loadBalancers`."""

    target_group_arn: str
    container: str
    port: int


@dataclass(frozen=True)
class Service:
    """A service that the control plane wants to run. A new `deployment_id` starts a new deployment.

    A task of RunTask is also a Service, with `only_task`.
    """

    arn: str
    name: str
    cluster_arn: str
    desired_count: int
    task_definition: TaskDefinition
    deployment_id: str
    minimum_healthy_percent: int = 100
    maximum_percent: int = 200
    grace_period: float = 0  # seconds in which failing target health checks are ignored
    circuit_breaker: bool = False
    capacity_provider: str | None = None
    load_balancing: tuple[LoadBalancing, ...] = ()
    host: str = ""  # its name in Copilot's service discovery; empty: it has none
    group: tuple[str, ...] = ()  # services with the same one reach each other by name
    only_task: str | None = None  # the id of a RunTask task: it runs once and is not replaced when it ends


@dataclass(frozen=True)
class TargetGroup:
    """A target group with its health check. Times are in seconds."""

    arn: str
    port: int
    health_path: str = "/"
    matcher: str = "200"  # "200", "200-299", "200,301"
    interval: float = 30
    timeout: float = 5
    healthy_threshold: int = 5
    unhealthy_threshold: int = 2
    deregistration_delay: float = 300


@dataclass(frozen=True)
class Rule:
    """A listener rule: one action for requests that match its hosts, paths (with `*`, `?`) and sources."""

    priority: int  # the default action comes last
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # networks in CIDR notation that contain the client's address
    target_group_arns: tuple[str, ...] = ()
    redirect_to: str | None = None
    fixed_status: int | None = None


@dataclass(frozen=True)
class LoadBalancer:
    """An application load balancer's listeners, and the loopback port that emulates them."""

    arn: str
    environment: str
    port: int
    rules: tuple[Rule, ...]


@dataclass
class ContainerReport:
    name: str
    image: str
    image_digest: str | None = None
    status: Literal["PENDING", "RUNNING", "STOPPED"] = "PENDING"
    health: Health = "UNKNOWN"
    exit_code: int | None = None
    reason: str | None = None


@dataclass
class TaskReport:
    """The state of one task. `id` is 32 hexadecimal digits, as on ECS. Times are Unix seconds."""

    id: str
    service_arn: str
    cluster_arn: str
    task_definition_arn: str
    status: TaskStatus
    desired_status: Literal["RUNNING", "STOPPED"]
    health: Health
    address: str  # the private address of its targets
    created_at: float
    started_at: float | None = None
    stopped_at: float | None = None
    stopped_reason: str | None = None
    stop_code: str | None = None
    capacity_provider: str | None = None
    containers: list[ContainerReport] = field(default_factory=list)


@dataclass
class DeploymentReport:
    """One deployment of a service; the newest is PRIMARY."""

    id: str
    status: Literal["PRIMARY", "ACTIVE"]
    task_definition_arn: str
    desired: int
    running: int
    pending: int
    failed: int
    rollout: RolloutState
    rollout_reason: str
    created_at: float


@dataclass
class TargetReport:
    target_group_arn: str
    address: str
    port: int
    state: TargetState
    reason: str | None = None
    code: str | None = None  # ELB's: "Target.Timeout"


class ControlPlane(Protocol):
    """The calls of the agent and the load balancer; safe from any thread."""

    def services(self) -> list[Service]:
        """Return all services that should have tasks, without deleted ones."""

    def load_balancers(self) -> list[LoadBalancer]: ...

    def target_group(self, arn: str) -> TargetGroup | None: ...

    def secret(self, name: str) -> str:
        """Return the value of an SSM parameter, by name or ARN, or of a secret, by ARN (and JSON key).

        Raises KeyError if it does not exist.
        """

    def environment_file(self, arn: str) -> str:
        """Return the text of an object in S3. Raises KeyError if it does not exist."""

    def log(self, group: str, stream: str, events: Iterable[tuple[int, str]]) -> None:
        """Append (milliseconds since 1970, line) pairs. Create the stream if it is missing.

        As on AWS, lines for a missing group are lost.
        """

    def report_task(self, report: TaskReport) -> None: ...

    def report_service(
        self, arn: str, deployments: list[DeploymentReport], event: str | None = None
    ) -> None: ...

    def report_targets(self, target_group_arn: str, targets: list[TargetReport]) -> None: ...


class Agent(Protocol):
    """The control plane's calls of the task agent."""

    def wake(self) -> None:
        """Start a round now, because something changed."""

    def rollout(self, service_arn: str, deployment_id: str) -> tuple[RolloutState, str]:
        """Return the state of the deployment's rollout, and the reason."""

    def drained(self, service_arn: str) -> bool:
        """Return True if the service has no task any more."""


class DataServers(Protocol):
    """The emulated RDS and ElastiCache."""

    def database(self, name: str, user: str, password: str) -> str:
        """Create an instance's missing database and master user. Return its address, quoted for a URL."""

    def connection(self, environment: str) -> dict[str, Any]:
        """Return what leads to an environment's own database, by the names of RDS's secrets."""

    def cache(self) -> str:
        """Return the address of the emulated ElastiCache, on its usual port."""
