"""The layout: no module outgrows a reader."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
LONGEST = 400  # lines


def test_no_module_has_more_than_400_lines() -> None:
    modules = [ROOT / "tasks.py", *(ROOT / "scripts").rglob("*.py"), *(ROOT / "demo").rglob("*.py")]
    assert len(modules) > 100
    assert [str(each) for each in modules if each.read_text().count("\n") > LONGEST] == []
