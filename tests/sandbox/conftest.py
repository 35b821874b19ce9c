from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox import postgres
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.load_balancer.listening import Listeners
from tests.runtime.stage_copy.servers import memory
from tests.sandbox.cloud import Agent, Cloud
from tests.sandbox.town import Town


@pytest.fixture(scope="session", autouse=True)
def _roots_data_in_memory() -> Iterator[None]:
    """The data of root's Postgres servers lie in memory where there is room."""
    folder = memory() / f"copilot-sandbox-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres, "ROOTS_DATA", folder)
        yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    agent = Agent()
    plane = ControlPlaneServer(0, tmp_path / "state", agent, lambda environment: 8000 + len(environment))
    plane.start()
    try:
        yield Cloud(plane, agent)
    finally:
        plane.stop()


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town()
    listeners = Listeners(town.plane, town, idle_timeout=1)
    listeners.start()
    try:
        yield town
    finally:
        listeners.stop()
        for each in town.servers:
            each.listener.close()
