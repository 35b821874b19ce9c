"""A workspace whose one service has the manifest of a test, read and not rendered."""

from __future__ import annotations

from pathlib import Path

from copilot_testenv.check import project as projects
from copilot_testenv.check.project import Project
from copilot_testenv.core.settings import load


def with_manifest(workspace: Path, text: str) -> Project:
    (workspace / "copilot/web/manifest.yml").write_text(text, encoding="utf-8")
    return projects.read(load(workspace, {"TEST_ENV": "test"}))
