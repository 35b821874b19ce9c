from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox.control_plane import ControlPlaneServer
from tests.sandbox.cloud import Agent, Cloud


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    agent = Agent()
    plane = ControlPlaneServer(0, tmp_path / "state", agent, lambda environment: 8000 + len(environment))
    plane.start()
    try:
        yield Cloud(plane, agent)
    finally:
        plane.stop()
