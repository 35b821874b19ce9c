"""Read from a project's Git what `adopt` wrote there before: the base of a three-way difference."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.adopt import stamps
from copilot_testenv.core import git
from copilot_testenv.core.process import Shell

_MOST = 200  # commits of one file that are examined


@dataclass(frozen=True)
class History:
    """The commits of the project in folder `root`."""

    shell: Shell
    root: Path

    def of_stamp(self, path: str, digest: str) -> str | None:
        """Return the unedited body of the stamped block with this digest; None if no commit has it."""
        for text in self._texts(path):
            block = stamps.find(text)
            if block and block.digest == digest and not block.is_edited:
                return block.body
        return None

    def first(self, path: str, part: Callable[[str], str | None]) -> str | None:
        """Return a part of a file as the first commit with that part has it; None if no commit has it."""
        oldest: str | None = None
        for text in self._texts(path):
            if (current := part(text)) is None:
                if oldest is not None:
                    return oldest
                continue
            oldest = current
        return oldest

    def _texts(self, path: str) -> Iterator[str]:
        """Yield the file's text in each commit, from the newest to the oldest."""
        listed = self.shell.run(
            git.command(self.root, "log", f"--max-count={_MOST}", "--format=%H", "--", f":(literal){path}")
        )
        for commit in listed.stdout.split() if listed.ok else ():
            shown = self.shell.run(git.command(self.root, "show", f"{commit}:./{path}"))
            if shown.ok:
                yield shown.stdout.replace("\r\n", "\n")


def objects(shell: Shell, root: Path) -> frozenset[str]:
    """Return the hashes of all objects in a repository's history."""
    listed = shell.run(git.command(root, "rev-list", "--objects", "--all"))
    return frozenset(line.partition(" ")[0] for line in listed.stdout.splitlines())


def tracked(shell: Shell, root: Path, *paths: str) -> dict[str, str]:
    """Return the tracked files below these paths, each with the hash of its content."""
    listed = shell.run(git.command(root, "ls-files", "-z", "--stage", "--", *paths))
    hashes = {}
    for entry in filter(None, listed.stdout.split("\0")):
        about, _, path = entry.partition("\t")
        hashes[path] = about.split(" ")[1]
    return hashes


def three_way(path: str, base: str | None, yours: str, ours: str) -> str:
    """Return two differences from `base`: the owner's changes, and those of this version."""
    if base is None:
        return _diff(f"{path} (yours)", yours, f"{path} (this version)", ours)
    return (
        _diff(f"{path} (as it was written)", base, f"{path} (yours)", yours)
        + "\n"
        + _diff(f"{path} (as it was written)", base, f"{path} (this version)", ours)
    )


def _diff(one: str, before: str, other: str, after: str) -> str:
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), one, other, lineterm=""))
