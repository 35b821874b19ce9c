"""What would be written into a project, and what is left alone: shown first, then written file by file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts import writing
from scripts.errors import Failed
from scripts.report import Report

_FOLDER_SHOWN = "scripts"  # its many files are one line


@dataclass(frozen=True)
class Change:
    """A file to write, its path relative to the project. `before` is None for a new one.

    `shown` is off for a file that is only a copy of one of ours.
    """

    path: str
    before: bytes | None
    after: bytes
    shown: bool = True


@dataclass(frozen=True)
class Left:
    """What is not touched: why, and what to do by hand."""

    path: str
    why: str


def show(report: Report, changes: Sequence[Change], left: Sequence[Left]) -> None:
    """Copies as a list, everything else as a diff on standard output; what is left as lines for a person."""
    copies = [change.path for change in changes if not change.shown]
    if copies:
        report.data("Copied from here:\n" + "\n".join(f"  {line}" for line in _listed(copies)))
    for change in changes:
        if change.shown:
            report.data(_diff(change))
    for each in left:
        report.say(f"Left as it is: {each.path}: {each.why}")


def _listed(paths: Iterable[str]) -> list[str]:
    plain, inside = [], 0
    for path in paths:
        if path.startswith(f"{_FOLDER_SHOWN}/"):
            inside += 1
        else:
            plain.append(path)
    return [*plain, f"{_FOLDER_SHOWN}/ ({inside} files)"] if inside else plain


def _diff(change: Change) -> str:
    before, after = ((text or b"").decode("utf-8", "replace") for text in (change.before, change.after))
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        "/dev/null" if change.before is None else f"a/{change.path}",
        f"b/{change.path}",
        lineterm="",
    )
    return "\n".join(lines)


def write(root: Path, changes: Sequence[Change]) -> None:
    """Put each file in its place, where that still holds what was looked at.

    Raises Refused where it does not, or leads elsewhere by now; Failed where it cannot be written.
    """
    for change in changes:
        before = (change.before or b"").decode()
        try:
            writing.write(root / change.path, change.after.decode(), root, expected=before)
        except Failed as error:
            raise Failed(f"{error} Mend that and run it again: what is there already stays.") from error
