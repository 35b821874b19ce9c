from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.clone import ROOT
from tests.fakes import FakeReport
from tests.renderer import StandIns


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """The real Copilot on the stand-in of `check`, in place of the embedded AWS that other tests have."""
    settings = load(ROOT, {})
    session = Session(settings, RealShell(), FakeReport(), {})
    with session.stand_in() as deployed:
        yield StandIns(settings, session.shell, {}, {}, deployed=deployed)


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of this repository's own workspace, to spoil."""
    shutil.copytree(ROOT / "copilot", tmp_path / "copilot")
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    return tmp_path
