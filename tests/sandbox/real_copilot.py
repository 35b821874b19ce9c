"""The real Copilot pointed at an embedded AWS of its own, with an agent that only says how its tasks are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copilot_sandbox import model
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.seed import seed
from copilot_sandbox.workspace import Workspace
from copilot_testenv.copilot import disposable
from tests.sandbox.cloud import client

REPOSITORY = Path(__file__).resolve().parents[2]
COPILOT = shutil.which("copilot", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}") or ""
PORTS = {"test": 8101, "stage": 8102, "production": 8103}
DIGEST = "sha256:" + "a" * 64

# Answers Copilot's five calls. The digest is that of the Dockerfile, so that a changed one is a new image.
DOCKER = """#!/bin/sh
case "$1" in
    info) echo '{"OSType":"linux","Architecture":"x86_64","ServerErrors":null}' ;;
    inspect) echo "'${4%:*}@sha256:$(sha256sum Dockerfile | cut -d' ' -f1)'" ;;
esac
"""


@dataclass
class FakeAgent:
    """Says of each deployment what it was told to say, and reports one task for each running service."""

    verdicts: list[tuple[Callable[[model.Service], bool], model.RolloutState]] = field(default_factory=list)
    plane: ControlPlaneServer | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    known: dict[tuple[str, str], model.RolloutState] = field(default_factory=dict)

    def run(self) -> None:
        assert self.plane is not None
        while not self.stopping.wait(0.05):
            for service in self.plane.services():
                self.look(self.plane, service)

    def look(self, plane: ControlPlaneServer, service: model.Service) -> None:
        state: model.RolloutState = next(
            (verdict for holds, verdict in self.verdicts if holds(service)), "COMPLETED"
        )
        self.known[service.arn, service.deployment_id] = state
        running = service.desired_count if state == "COMPLETED" else 0
        definition = service.task_definition
        deployment = model.DeploymentReport(
            service.deployment_id,
            "PRIMARY",
            definition.arn,
            service.desired_count,
            running,
            service.desired_count - running,
            0,
            state,
            f"it is {state}",
            time.time(),
        )
        task = model.TaskReport(
            id=service.only_task or f"{abs(hash(service.arn)):032x}",
            service_arn=service.arn,
            cluster_arn=service.cluster_arn,
            task_definition_arn=definition.arn,
            status="RUNNING" if running else "PENDING",
            desired_status="RUNNING",
            health="UNKNOWN",
            address="10.0.0.7",
            created_at=time.time(),
            started_at=time.time(),
            capacity_provider=service.capacity_provider,
            containers=[
                model.ContainerReport(container.name, container.image, DIGEST, "RUNNING")
                for container in definition.containers
            ],
        )
        plane.report_service(service.arn, [deployment])
        plane.report_task(task)
        for entry in service.load_balancing:
            target = model.TargetReport(entry.target_group_arn, "10.0.0.7", entry.port, "healthy")
            plane.report_targets(entry.target_group_arn, [target])

    @contextmanager
    def saying(self, state: model.RolloutState, holds: Callable[[model.Service], bool]) -> Iterator[None]:
        self.verdicts.append((holds, state))
        try:
            yield
        finally:
            self.verdicts.clear()

    def wake(self) -> None:
        """It looks all the time."""

    def rollout(self, service_arn: str, deployment_id: str) -> tuple[model.RolloutState, str]:
        return self.known.get((service_arn, deployment_id), "IN_PROGRESS"), "as told"

    def drained(self, service_arn: str) -> bool:
        assert self.plane is not None
        return all(service.arn != service_arn for service in self.plane.services())


@dataclass
class Sandbox:
    plane: ControlPlaneServer
    agent: FakeAgent
    workspace: Path
    aws: dict[str, str]

    def copilot(self, *words: str, within: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COPILOT, *words],
            cwd=within or self.workspace,
            env=self.aws,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )

    def begin(self, *words: str, within: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COPILOT, *words],
            cwd=within,
            env=self.aws,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def client(self, service: str) -> Any:
        return client(self.aws, service)

    def stack(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def await_status(self, name: str, status: str) -> None:
        for _ in range(200):
            if any(
                stack["StackStatus"] == status
                for stack in self.client("cloudformation").describe_stacks()["Stacks"]
                if stack["StackName"] == name
            ):
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} never was {status}")

    def failures(self, name: str) -> dict[str, str]:
        events = self.client("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        return {
            event["LogicalResourceId"]: event["ResourceStatusReason"]
            for event in events
            if event["ResourceStatus"] in ("CREATE_FAILED", "UPDATE_FAILED")
        }

    def service(self, environment: str) -> model.Service:
        (found,) = [s for s in self.plane.services() if f"demo-{environment}-" in s.name]
        return found


@contextmanager
def running_sandbox(folder: Path) -> Iterator[Sandbox]:
    """An embedded AWS, an empty workspace, and a `docker` that builds nothing."""
    binaries = folder / "bin"
    binaries.mkdir()
    (binaries / "docker").write_text(DOCKER)
    (binaries / "docker").chmod(0o755)
    workspace = folder / "workspace"
    workspace.mkdir()
    agent = FakeAgent()
    plane = ControlPlaneServer(0, folder / "state", agent, PORTS.__getitem__)
    agent.plane = plane
    plane.start()
    thread = threading.Thread(target=agent.run)
    thread.start()
    aws = {**plane.environment(), "PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(folder)}
    try:
        yield Sandbox(plane, agent, workspace, aws)
    finally:
        agent.stopping.set()
        thread.join()
        plane.stop()


@contextmanager
def deployed_sandbox(folder: Path) -> Iterator[Sandbox]:
    """The same with its three environments; the service is deployed to test and stage."""
    with running_sandbox(folder) as sandbox:
        copy_of(REPOSITORY, sandbox.workspace)
        sow(sandbox.workspace, sandbox.aws)
        with ThreadPoolExecutor() as pool:
            words = [deploying("test", "--resource-tags", "branch=feature/x"), deploying("stage")]
            for done in pool.map(lambda line: sandbox.copilot(*line), words):
                assert done.returncode == 0, done.stdout
        yield sandbox


def credentials(aws: dict[str, str]) -> tuple[str, ...]:
    """Flags of `env init` for the sandbox's own key, without which it asks."""
    return (
        *("--region", aws["AWS_REGION"], "--aws-access-key-id", aws["AWS_ACCESS_KEY_ID"]),
        *("--aws-secret-access-key", aws["AWS_SECRET_ACCESS_KEY"], "--aws-session-token", "none"),
    )


def deploying(environment: str, *more: str) -> tuple[str, ...]:
    return ("deploy", "--name", "web", "--env", environment, "--deploy-env=false", "--tag", "abc", *more)


def copy_of(workspace: Path, folder: Path, dockerfile: str = "FROM scratch\n") -> Path:
    shutil.copytree(workspace / "copilot", folder / "copilot")
    (folder / "Dockerfile").write_text(dockerfile)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def sow(workspace: Path, aws: dict[str, str]) -> None:
    tags = {"test": {disposable.TAG: disposable.value("demo", "test")}}
    seed(
        Workspace(workspace, "demo", "web", tags=tags),
        aws,
        tuple(PORTS),
        secrets={"test": {"SECRET_KEY": "sesame"}},
    )
