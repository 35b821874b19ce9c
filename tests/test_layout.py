"""The layout: no module outgrows a reader."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 400  # lines


def test_no_module_has_more_than_400_lines() -> None:
    folders = ("scripts", "demo", "tests")
    modules = [ROOT / "tasks.py", *(each for folder in folders for each in (ROOT / folder).rglob("*.py"))]
    assert len(modules) > 200
    assert [str(each) for each in modules if each.read_text().count("\n") > LONGEST] == []


def test_the_quick_sessions_folders_are_there() -> None:
    """They are in Git, not only on this machine."""
    import noxfile  # noqa: PLC0415 - only this test needs it

    listed = subprocess.run(
        ["git", "ls-files", "--", *noxfile.QUICK], cwd=ROOT, check=True, capture_output=True, text=True
    )
    files = listed.stdout.splitlines()
    assert [path for path in noxfile.QUICK if not any(name.startswith(path) for name in files)] == []
