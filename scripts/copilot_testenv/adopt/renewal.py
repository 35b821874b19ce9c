"""Decide whether to write, renew or leave a file or block that `adopt` owns in somebody's repository."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from copilot_testenv.adopt import history, stamps
from copilot_testenv.adopt.changes import Change, NotChanged
from copilot_testenv.adopt.history import History
from copilot_testenv.adopt.project import Project

# Returns the start and end of the lines that a version without stamps wrote; None if there are no such lines.
LegacyLines = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True)
class Renewal:
    """The project, its Git history, and the paths (--take) whose edited blocks are replaced too."""

    project: Project
    history: History
    take: Collection[str] = ()

    def plan_file(self, path: str, body: str, *, is_shown: bool = True) -> Change | NotChanged | None:
        """Plan a file that `adopt` writes as a whole; None if it is up to date or the owner's own."""
        current = self.project.text(path)
        if current is None:
            return Change(path, None, stamps.whole(body).encode(), is_shown)
        return self.plan_block(path, current, body, is_shown=is_shown)

    def plan_block(
        self, path: str, current: str, body: str, *, is_shown: bool = True
    ) -> Change | NotChanged | None:
        """Plan to renew the stamped block in the text; None if it is up to date, or there is no block."""
        block = stamps.find(current.replace("\r\n", "\n"))
        if block is None or block.body == body:
            return None
        if block.is_open:
            return NotChanged(
                path, "the line `# end of copilot-testenv` is missing: put it back.", is_behind=True
            )
        change = Change(path, current.encode(), block.replaced(current, body).encode(), is_shown)
        if not block.is_edited or path in self.take:
            return change
        base = self.history.of_stamp(path, block.digest)
        return None if base == body else _edited(path, base, block.body, body)

    def plan_legacy(
        self, path: str, current: str, body: str, find_lines: LegacyLines, *, is_whole: bool = False
    ) -> Change | NotChanged | None:
        """Plan to replace the lines of a version without stamps by a stamped block.

        Return None if there are no such lines. They count as edited unless the project's Git has them.
        """
        text = current.replace("\r\n", "\n")
        place = find_lines(text)
        if place is None:
            return None
        start, end = place

        def lines_of(earlier: str) -> str | None:
            place = find_lines(earlier)
            return earlier[place[0] : place[1]] if place else None

        base = self.history.first(path, lines_of)
        if base and text.startswith(base, start):  # the lines after it are the owner's
            end = start + len(base)
        if text[start:end] != base and path not in self.take:
            return _edited(path, base, text[start:end], body)
        indent = text[start:end][: len(text[start:end]) - len(text[start:end].lstrip(" "))]
        new = stamps.whole(body) if is_whole else stamps.block(body, indent)
        return Change(path, current.encode(), stamps.spliced(current, start, end, new).encode())


def _edited(path: str, base: str | None, yours: str, ours: str) -> NotChanged:
    return NotChanged(
        path,
        "you have edited what `adopt` wrote there, and this version would write something else. Merge it by "
        f"hand, or replace it with --take {path}.",
        history.three_way(path, base, yours, ours),
        is_behind=True,
    )
