from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.adopt.origin import Origin
from copilot_testenv.core.process import RealShell
from tests.adopt.project import WHEELS, start_project, three_containers
from tests.clone import ROOT


@pytest.fixture(scope="session")
def real_wheels() -> dict[str, bytes]:
    """The wheels of this clone, built once for each state of it."""
    return Origin(RealShell(), ROOT).wheels()


@pytest.fixture(autouse=True)
def wheels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, but for a test that asks for real ones."""
    if "real_wheels" not in request.fixturenames:
        monkeypatch.setattr(Origin, "wheels", lambda _: dict(WHEELS))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return start_project(tmp_path / "shop")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return three_containers(tmp_path / "three")
