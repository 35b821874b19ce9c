"""A control plane for the agent's and the load balancer's tests: plain lists that say what should run."""

from __future__ import annotations

import contextlib
import copy
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest

from copilot_sandbox.agent import runner
from copilot_sandbox.agent.agent import TaskAgent
from copilot_sandbox.model import (
    Container,
    ControlPlane,
    DeploymentReport,
    Image,
    LoadBalancer,
    LoadBalancing,
    Service,
    TargetGroup,
    TargetReport,
    TaskDefinition,
    TaskReport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from copilot_sandbox.agent.namespace import Way

GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/web/1"
SERVICE = "arn:aws:ecs:us-east-1:123456789012:service/cluster/web"
REDIS = "public.ecr.aws/docker/library/redis:7.4.1-alpine"

# A web server that says which release it is, in the words of its environment.
SERVER = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(float(os.environ.get("SLOW", "1")))
        ill = self.path == "/healthz" and os.path.exists(os.environ.get("ILL", "ill"))
        body = os.environ.get("RELEASE", "?").encode()
        self.send_response(500 if ill else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
host, port = sys.argv[1], int(sys.argv[2])
print("listening", flush=True)
http.server.ThreadingHTTPServer((host, port), Handler).serve_forever()
"""


def python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", *words)


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def server(port: int = 8000) -> tuple[str, ...]:
    return python("-c", SERVER, "0.0.0.0", str(port))  # noqa: S104 -- in a container, all addresses are its own


def make_image(root: Path, **changes: Any) -> Image:
    root.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {
        "digest": "sha256:" + "0" * 64,
        "root": root,
        "venv": None,
        "env": {},
        "workdir": "/app",
        "entrypoint": (),
        "cmd": (),
        "paths": ("/app",),
    }
    return Image(**{**values, **changes})


def container(name: str, command: tuple[str, ...] | None, **changes: Any) -> Container:
    values: dict[str, Any] = {"image": "demo", "command": command, "log_group": "/demo", "stop_timeout": 2}
    return Container(name=name, **{**values, **changes})


def service(*containers: Container, deployment: str = "ecs-svc/1", **changes: Any) -> Service:
    definition = TaskDefinition(
        f"arn:task-definition/{deployment}", "256", "512", containers, changes.pop("volumes", ())
    )
    values: dict[str, Any] = {
        "arn": SERVICE,
        "name": "web",
        "cluster_arn": "arn:cluster",
        "desired_count": 1,
        "task_definition": definition,
        "deployment_id": deployment,
    }
    return Service(**{**values, **changes})


def balanced(name: str = "web", port: int = 8000) -> tuple[LoadBalancing, ...]:
    return (LoadBalancing(GROUP, name, port),)


@dataclass
class FakeControlPlane:
    """Holds what should run and remembers what it was told."""

    wanted: list[Service] = field(default_factory=list)
    balancers: list[LoadBalancer] = field(default_factory=list)
    groups: dict[str, TargetGroup] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    logs: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    log_calls: int = 0
    tasks: dict[str, TaskReport] = field(default_factory=dict)
    history: list[TaskReport] = field(default_factory=list)
    deployments: dict[str, list[DeploymentReport]] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    targets: dict[str, list[TargetReport]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def services(self) -> list[Service]:
        return list(self.wanted)

    def load_balancers(self) -> list[LoadBalancer]:
        return list(self.balancers)

    def target_group(self, arn: str) -> TargetGroup | None:
        return self.groups.get(arn)

    def secret(self, name: str) -> str:
        return self.secrets[name]

    def environment_file(self, arn: str) -> str:
        return self.files[arn]

    def log(self, group: str, stream: str, events: Iterable[tuple[int, str]]) -> None:
        with self.lock:
            self.log_calls += 1
            self.logs.setdefault((group, stream), []).extend(events)

    def report_task(self, report: TaskReport) -> None:
        with self.lock:
            self.tasks[report.id] = report
            self.history.append(copy.deepcopy(report))

    def report_service(self, arn: str, deployments: list[DeploymentReport], event: str | None = None) -> None:
        with self.lock:
            self.deployments[arn] = deployments
            if event is not None:
                self.events.append(event)

    def report_targets(self, target_group_arn: str, targets: list[TargetReport]) -> None:
        with self.lock:
            self.targets[target_group_arn] = targets

    def lines(self, name: str, task: str = "") -> list[str]:
        """All that containers of that name have said, in all tasks or in one."""
        with self.lock:
            found = [(stream, lines) for (_, stream), lines in self.logs.items()]
        ours = [lines for stream, lines in found if f"/{name}/{task}" in stream]
        return [line for lines in ours for _, line in lines]

    def live(self) -> list[TaskReport]:
        with self.lock:
            return [task for task in self.tasks.values() if task.status != "STOPPED"]

    def stopped(self) -> list[TaskReport]:
        with self.lock:
            return [task for task in self.tasks.values() if task.status == "STOPPED"]


T = TypeVar("T")


def until(test: Callable[[], T], timeout: float = 10) -> T:
    """The first true answer of `test`; an AssertionError after so many seconds."""
    deadline = time.monotonic() + timeout
    while True:
        answer = test()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {timeout} s in vain"
        time.sleep(0.02)


@contextmanager
def running_agent(
    plane: ControlPlane, directory: Path, way: Way | None = None, **options: Any
) -> Iterator[TaskAgent]:
    """An agent that knows a built image, `demo`, and `images`; all is stopped afterwards, and seen to be.

    A test that asks for namespaces is skipped on a system without them, as is root's in most containers.
    """
    require(way)
    image = options.pop("image", None) or make_image(directory / "image")
    known: dict[str, Image] = {"demo": image, **options.pop("images", {})}
    agent = TaskAgent(
        plane,
        directory / "state",
        known.get,
        owner_env={"SANDBOX_OWNER": str(directory)},
        way=way,
        **options,
    )
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
        assert list((directory / "state" / "tasks").iterdir()) == []
        assert owned(directory) == []


def require(way: Way | None) -> None:
    """Skip a test that asks for namespaces where there are none."""
    if way == "namespace" and (refused := _no_namespaces()) is not None:
        pytest.skip(f"this system has no network namespaces: {refused}")


@cache
def _no_namespaces() -> str | None:
    """Why a task has no network namespace here; None if it has."""
    return runner.probe()[1]


def owned(directory: Path) -> list[psutil.Process]:
    """All processes that carry the directory's mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("SANDBOX_OWNER") == str(directory):
                found.append(process)
    return found


def completed(agent: TaskAgent, deployment: str = "ecs-svc/1") -> bool:
    return agent.rollout(SERVICE, deployment)[0] == "COMPLETED"


def over(plane: FakeControlPlane) -> TaskReport:
    """The first task that has stopped."""
    return until(plane.stopped)[0]


def stopped_containers(task: TaskReport) -> dict[str, int | None]:
    return {each.name: each.exit_code for each in task.containers}


def grouped(**changes: Any) -> dict[str, TargetGroup]:
    values: dict[str, Any] = {"health_path": "/healthz", "interval": 1, "deregistration_delay": 5}
    return {GROUP: TargetGroup(GROUP, 8000, **{**values, **changes})}
