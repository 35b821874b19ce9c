from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from copilot_testenv import rendering
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import load
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.fakes import FakeReport

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Renderer]:
    """The real Copilot on an embedded AWS that has this repository's three environments.

    Of a module: a process has one embedded AWS, and that of another file wipes this one.
    """
    folder = tmp_path_factory.mktemp("rendering")
    shutil.copytree(ROOT / "copilot", folder / "copilot")
    session = Session(load(folder, {}), RealShell(), FakeReport(), {})
    with rendering.open_renderer(session) as opened:
        yield opened


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of this repository's own workspace, to spoil."""
    shutil.copytree(ROOT / "copilot", tmp_path / "copilot")
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    return tmp_path
