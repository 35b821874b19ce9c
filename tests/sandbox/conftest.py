from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_sandbox import postgres
from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.images import venvs
from copilot_sandbox.load_balancer.listening import Listeners
from tests.runtime.stage_copy.servers import memory
from tests.sandbox.builds import Project, make_wheel
from tests.sandbox.cloud import Agent, Cloud
from tests.sandbox.fake_control_plane import FakeControlPlane
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


@pytest.fixture
def _no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip finds two small wheels made here, and nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    for name in ("tiny", "other"):
        make_wheel(tmp_path / "wheels", name)


@pytest.fixture
def _nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments are made and stay empty, where only their names and places matter."""
    monkeypatch.setattr(venvs, "_install", lambda *_: None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()
