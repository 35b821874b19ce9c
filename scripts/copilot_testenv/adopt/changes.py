"""Show and write the planned changes of a project's files; show the files that `adopt` does not change."""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.core import documents, files
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.terminal import Report

_MOST = 12  # names in a list
_EVERYWHERE = re.compile(r"Dockerfile[^/]*$|/cfn\.patches\.yml$")  # what each environment has


@dataclass(frozen=True)
class Change:
    """A file to write. `path` is relative to the project; `before` is None for a new file, `after` to delete.

    `is_shown` is False for a file that nobody reads: a wheel, a requirements file, a deleted copy.
    """

    path: str
    before: bytes | None
    after: bytes | None
    is_shown: bool = True


@dataclass(frozen=True)
class NotChanged:
    """A file that `adopt` does not change. `why` has the reason and what to do by hand."""

    path: str
    why: str
    difference: str = ""
    is_behind: bool = False  # this version would write something newer


def show(report: Report, changes: Sequence[Change], not_changed: Sequence[NotChanged]) -> None:
    """Print names as lists and other changes as differences, on standard output; report unchanged files."""
    for title, names in (
        ("New, not shown:", [each.path for each in changes if not each.is_shown and each.after is not None]),
        ("Deleted:", [each.path for each in changes if each.after is None]),
    ):
        if names:
            more = [f"and {len(names) - _MOST} more"] if len(names) > _MOST else []
            report.data("\n".join([title, *(f"  {name}" for name in [*names[:_MOST], *more])]))
    for change in changes:
        if change.is_shown:
            report.data(_diff(change))
    everywhere = [each.path for each in changes if each.after is not None and _EVERYWHERE.search(each.path)]
    if everywhere:
        report.say(
            f"Not only of test: {', '.join(everywhere)}. Your next deploys of stage and production "
            f"have these changes too: see The image and On AWS in {documents.page('adopt.md')}."
        )
    for each in not_changed:
        report.say(f"Left as it is: {each.path}: {each.why}")
        if each.difference:
            report.data(each.difference)


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


def write(root: Path, top: Path, changes: Sequence[Change]) -> None:
    """Write each file, if it still has the content on which the plan was based.

    Paths are relative to `root`, and none leads out of the repository `top`.

    Raises Refused if the content has changed or a link was put there, Failed if a file cannot be written.
    """
    for change in changes:
        before, place = change.before or b"", Path(posixpath.normpath(root / change.path))
        try:
            if change.after is None:
                files.remove(place, top, before)
            else:
                files.write(place, change.after, top, expected=before)
        except Failed as error:
            raise Failed(f"{error} Correct that and run it again: files already written stay.") from error
