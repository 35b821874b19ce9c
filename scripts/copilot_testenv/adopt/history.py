"""Ask a project's own Git what was written into it before: the base of a three-way difference."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from copilot_testenv.adopt import stamps
from copilot_testenv.core import git
from copilot_testenv.core.process import Shell

_MOST = 200  # commits of one file that are looked at


@dataclass(frozen=True)
class History:
    """The commits of the project's folder."""

    shell: Shell
    root: Path

    def of_stamp(self, path: str, digest: str) -> str | None:
        """Return the lines that a stamp of this digest was written for; None where no commit has them."""
        for text in self._texts(path):
            found = stamps.find(text)
            if found and found.digest == digest and not found.is_edited:
                return found.body
        return None

    def first(self, path: str, part: Callable[[str], str | None]) -> str | None:
        """Return a part of a file as it stood in the first commit that had it; None where none has."""
        found: str | None = None
        for text in self._texts(path):
            if (one := part(text)) is None:
                if found is not None:
                    return found
                continue
            found = one
        return found

    def _texts(self, path: str) -> Iterator[str]:
        """The file as the commits have it, the newest first."""
        listed = self.shell.run(
            git.command(self.root, "log", f"--max-count={_MOST}", "--format=%H", "--", f":(literal){path}")
        )
        for commit in listed.stdout.split() if listed.ok else ():
            shown = self.shell.run(git.command(self.root, "show", f"{commit}:./{path}"))
            if shown.ok:
                yield shown.stdout.replace("\r\n", "\n")


def objects(shell: Shell, root: Path) -> frozenset[str]:
    """Return the names of all that a repository's Git has kept."""
    listed = shell.run(git.command(root, "rev-list", "--objects", "--all"))
    return frozenset(line.partition(" ")[0] for line in listed.stdout.splitlines())


def tracked(shell: Shell, root: Path, *paths: str) -> dict[str, str]:
    """Return the files below these paths that Git has, each with the name of its content."""
    listed = shell.run(git.command(root, "ls-files", "-z", "--stage", "--", *paths))
    found = {}
    for entry in filter(None, listed.stdout.split("\0")):
        about, _, path = entry.partition("\t")
        found[path] = about.split(" ")[1]
    return found


def three_way(path: str, base: str | None, yours: str, ours: str) -> str:
    """Return what the owner and what this version have changed of the same lines, as two differences."""
    if base is None:
        return _diff(f"{path} (yours)", yours, f"{path} (this version)", ours)
    return (
        _diff(f"{path} (as it was written)", base, f"{path} (yours)", yours)
        + "\n"
        + _diff(f"{path} (as it was written)", base, f"{path} (this version)", ours)
    )


def _diff(one: str, before: str, other: str, after: str) -> str:
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), one, other, lineterm=""))
