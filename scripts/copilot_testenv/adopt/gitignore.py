"""Add to .gitignore the files that nobody must commit: secrets, and the tasks' own files beside the code."""

from __future__ import annotations

from copilot_testenv.adopt.changes import Change
from copilot_testenv.adopt.project import Project

_PATH = ".gitignore"
_LINES = (".env", ".sandbox.env", ".sandbox/", ".worktrees/", ".testenv/")


def plan(project: Project) -> Change | None:
    """Plan the .gitignore with the missing lines; None if no line is missing."""
    text = project.text(_PATH)
    there = {line.strip().strip("/") for line in (text or "").splitlines()}
    missing = [line for line in _LINES if line.strip("/") not in there]
    if not missing:
        return None
    end = "\r\n" if text and "\r\n" in text else "\n"
    gap = end if text and not text.endswith("\n") else ""
    added = "".join(f"{line}{end}" for line in missing)
    return Change(_PATH, None if text is None else text.encode(), f"{text or ''}{gap}{added}".encode())
