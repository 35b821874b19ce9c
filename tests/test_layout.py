"""The layout: no module outgrows a reader."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 400  # lines


def test_no_module_has_more_than_400_lines() -> None:
    folders = ("scripts", "demo", "tests")
    modules = [ROOT / "tasks.py", *(each for folder in folders for each in (ROOT / folder).rglob("*.py"))]
    assert len(modules) > 200
    assert [str(each) for each in modules if each.read_text().count("\n") > LONGEST] == []
