"""Write, renew or leave a file or block of ours in somebody's repository."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from copilot_testenv.adopt import history, stamps
from copilot_testenv.adopt.changes import Change, Left
from copilot_testenv.adopt.history import History
from copilot_testenv.adopt.project import Project

# Where a version before stamps wrote its lines: their first and last letter, or None where it did not.
Unstamped = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True)
class Renewal:
    """The project, its Git, and the paths whose edited blocks are to be replaced all the same."""

    project: Project
    history: History
    take: Collection[str] = ()

    def whole(self, path: str, body: str, *, is_shown: bool = True) -> Change | Left | None:
        """Write a file that is ours as a whole; None where nothing is to be done, or it is the owner's."""
        there = self.project.text(path)
        if there is None:
            return Change(path, None, stamps.whole(body).encode(), is_shown)
        return self.present(path, there, body, is_shown=is_shown)

    def present(self, path: str, there: str, body: str, *, is_shown: bool = True) -> Change | Left | None:
        """Renew the stamped block of a text; None where it is as it should be, or there is none."""
        text = there.replace("\r\n", "\n")
        found = stamps.find(text)
        if found is None or found.body == body:
            return None
        if found.is_open:
            return Left(path, "the line `# end of copilot-testenv` is missing: put it back.", is_behind=True)
        change = Change(path, there.encode(), found.replaced(there, body).encode(), is_shown)
        if not found.is_edited or path in self.take:
            return change
        base = self.history.of_stamp(path, found.digest)
        return None if base == body else _edited(path, base, found.body, body)

    def unstamped(
        self, path: str, there: str, body: str, where: Unstamped, *, is_whole: bool = False
    ) -> Change | Left | None:
        """Put a stamped block in the place of the lines of a version that wrote no stamps.

        None where there are none. They are taken for edited where the project's Git cannot tell.
        """
        text = there.replace("\r\n", "\n")
        place = where(text)
        if place is None:
            return None
        start, end = place

        def part(of: str) -> str | None:
            found = where(of)
            return of[found[0] : found[1]] if found else None

        base = self.history.first(path, part)
        if base and text.startswith(base, start):  # what follows is the owner's
            end = start + len(base)
        if text[start:end] != base and path not in self.take:
            return _edited(path, base, text[start:end], body)
        indent = text[start:end][: len(text[start:end]) - len(text[start:end].lstrip(" "))]
        new = stamps.whole(body) if is_whole else stamps.block(body, indent)
        return Change(path, there.encode(), stamps.spliced(there, start, end, new).encode())


def _edited(path: str, base: str | None, yours: str, ours: str) -> Left:
    return Left(
        path,
        "you have edited what `adopt` wrote there, and this version would write something else. Merge it by "
        f"hand, or have it replaced with --take {path}.",
        history.three_way(path, base, yours, ours),
        is_behind=True,
    )
