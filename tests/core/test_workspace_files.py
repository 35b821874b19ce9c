"""Copilot reads `manifest.yml` alone; guards look at files of similar names too."""

from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import project as projects
from copilot_testenv.core import workspace_files
from copilot_testenv.core.errors import Refused
from copilot_testenv.core.settings import load


def _write(workspace: Path, path: str) -> None:
    file = workspace / "copilot" / path
    file.parent.mkdir(parents=True)
    file.write_text("name: x\n", encoding="utf-8")


def test_a_file_that_copilot_ignores_is_no_manifest_and_check_says_so(workspace: Path) -> None:
    _write(workspace, "api/manifest.yaml")
    assert "api" not in workspace_files.services(workspace)
    (found,) = projects.read(load(workspace, {})).unreadable
    assert (found.path, found.rule) == ("copilot/api/manifest.yaml", "yaml")
    assert "rename it to manifest.yml" in found.instead


def test_a_guard_sees_the_environment_of_a_file_that_copilot_ignores(workspace: Path) -> None:
    _write(workspace, "environments/test-eu/manifest.yaml")
    assert "test-eu" not in workspace_files.environments(workspace)
    assert "test-eu" in workspace_files.environment_names(workspace)
    with pytest.raises(Refused, match="test-eu"):
        load(workspace, {})
