"""A task that an agent runs once, and the ways to run it."""

from __future__ import annotations

from pathlib import Path

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Container, TaskReport
from tests.sandbox.fake_control_plane import FakeControlPlane, over, running_agent, service, shell

WAYS: list[Way] = ["namespace", "loopback"]
FOREVER = shell("exec sleep 60")


def run_once(
    plane: FakeControlPlane, tmp_path: Path, *containers: Container, way: Way = "loopback"
) -> TaskReport:
    """The task's report once it has stopped by itself."""
    plane.wanted = [service(*containers, circuit_breaker=True)]
    with running_agent(plane, tmp_path, way):
        return over(plane)
