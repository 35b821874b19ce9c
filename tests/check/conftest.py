from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.clone import ROOT


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """A copy of this repository's own workspace, to spoil."""
    shutil.copytree(ROOT / "copilot", tmp_path / "copilot")
    shutil.copy(ROOT / "Dockerfile", tmp_path)
    return tmp_path
