"""What the parts of the sandbox tell each other, in ECS's and ELB's own words.

The control plane (moto, extended) says what ought to run; the task agent runs it and reports back; the
load balancer serves it. None of them imports another: they meet in these types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
RolloutState = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]
TaskStatus = Literal["PROVISIONING", "PENDING", "RUNNING", "DEPROVISIONING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]
TargetState = Literal["initial", "healthy", "unhealthy", "draining", "unused"]

# What the image of nginx sets, and so every image that is built from it: by this variable it is known.
# Source: https://github.com/nginx/docker-nginx, stable/debian/Dockerfile.
NGINX_VERSION = "NGINX_VERSION"
NGINX_ENTRYPOINT = ("docker-entrypoint.sh",)
NGINX_CMD = ("nginx", "-g", "daemon off;")


@dataclass(frozen=True)
class Image:
    """A built image: the files, the virtual environment and the settings a container starts with.

    `root` holds the image's own paths (`root/app/manage.py` is `/app/manage.py`); it is never written to:
    each container works on a copy. `venv` is the environment whose `bin` comes first on PATH.
    """

    digest: str
    root: Path
    venv: Path | None
    env: Mapping[str, str]
    workdir: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    paths: tuple[str, ...]  # absolute paths the Dockerfile made (WORKDIR, COPY targets, VOLUME)


@dataclass(frozen=True)
class HealthCheck:
    """A container's own health check; times in seconds."""

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


@dataclass(frozen=True)
class LoadBalancing:
    """One entry of a service's `loadBalancers`."""

    target_group_arn: str
    container: str
    port: int


@dataclass(frozen=True)
class Service:
    """What the control plane wants to run. A new `deployment_id` means: roll out anew.

    A task that RunTask started is one too: nothing else keeps it.
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
    only_task: str | None = None  # its id: it is run once, by RunTask, and not replaced when it ends


@dataclass(frozen=True)
class TargetGroup:
    """Times in seconds."""

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
    """A listener rule: where hosts, paths (`*` and `?` are wild) and sources match, one of the actions."""

    priority: int  # the default action comes last
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()  # networks in CIDR notation that the client's address may be of
    target_group_arns: tuple[str, ...] = ()
    redirect_to: str | None = None
    fixed_status: int | None = None


@dataclass(frozen=True)
class LoadBalancer:
    """An application load balancer's HTTP listener, and the loopback port that plays it."""

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
    """What the agent tells of one task; `id` is 32 hexadecimal digits, as on ECS. Times are Unix seconds."""

    id: str
    service_arn: str
    cluster_arn: str
    task_definition_arn: str
    status: TaskStatus
    desired_status: Literal["RUNNING", "STOPPED"]
    health: Health
    address: str  # the private address it is registered under in its target groups
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


class ControlPlane(Protocol):
    """The questions and reports of the agent and the load balancer; safe to call from any thread."""

    def services(self) -> list[Service]:
        """Return all services that should have tasks; one that is deleted is no longer listed."""

    def load_balancers(self) -> list[LoadBalancer]: ...

    def target_group(self, arn: str) -> TargetGroup | None: ...

    def secret(self, name: str) -> str:
        """Return the value of an SSM parameter, by name or ARN, or of a secret, by ARN (and JSON key).

        Raises KeyError where there is none.
        """

    def log(self, group: str, stream: str, events: Iterable[tuple[int, str]]) -> None:
        """Append (milliseconds since 1970, line) pairs; makes the stream where it is missing.

        What is written to a group that is not there is lost, as it is on AWS.
        """

    def report_task(self, report: TaskReport) -> None: ...

    def report_service(
        self, arn: str, deployments: list[DeploymentReport], event: str | None = None
    ) -> None: ...

    def report_targets(self, target_group_arn: str, targets: list[TargetReport]) -> None: ...


class Agent(Protocol):
    """What the control plane asks of the task agent."""

    def wake(self) -> None:
        """Something changed: look now."""

    def rollout(self, service_arn: str, deployment_id: str) -> tuple[RolloutState, str]:
        """Return how far that deployment is, and the reason."""

    def drained(self, service_arn: str) -> bool:
        """No task of that service is left."""


class DataServers(Protocol):
    """What plays RDS and ElastiCache."""

    def database(self, name: str, user: str, password: str) -> str:
        """Make what is missing of an instance's database and master user; return its address, for a URL."""

    def cache(self) -> str:
        """Return the address of what plays ElastiCache, on its usual port."""
