"""Check if a path in a branch's manifests leads to a regular file or folder of its repository."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LARGEST_FILE = 1 << 20  # bytes of a manifest, template, patch, Dockerfile or env_file
LARGEST_FOLDER = 2 << 30  # bytes of a build context or a folder that is uploaded
MOST_FILES = 200_000  # in such a folder
_INTERPRETER = re.compile(r"(python|pypy)[\d.]*")
_OUTSIDE = "give it a regular file of the repository"


@dataclass(frozen=True, order=True)
class Wrong:
    """A fault of a file that Copilot or Docker would read.

    `path` is relative to the workspace, and `line` counts from 1. `change` is the name in core.trust that
    allows it; where it is empty, nothing does. `owner` is the folder of copilot/ that it belongs to, empty
    for all.
    """

    path: str
    line: int
    what: str
    instead: str
    change: str = ""
    owner: str = ""


@dataclass(frozen=True)
class Repository:
    """A checkout: the workspace, which holds copilot/, and the repository's top folder, often the same.

    Paths in manifests are relative to the workspace; no path and no link may leave the repository. `listed`
    are the absolute paths of the files that Git tracks: in a person's own checkout, other files do not belong
    to the branch. None means that all files do.
    """

    root: Path
    listed: frozenset[str] | None = None
    without_git: Path | None = None  # the top folder where Git knows none; the workspace, if it is not given
    top: Path = field(init=False)

    def __post_init__(self) -> None:
        root = Path(os.path.realpath(self.root))
        known = (folder for folder in (root, *root.parents) if (folder / ".git").exists())
        top = next(known, Path(os.path.realpath(self.without_git)) if self.without_git else root)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "top", top)

    def shown(self, place: str) -> str:
        return posixpath.relpath(place, self.root)

    def holds(self, place: str) -> bool:
        """Return True if a path without `..` and links is in the repository, and not in Git's own folder."""
        top = str(self.top)
        if place != top and not place.startswith(top + "/"):
            return False
        return all(part.lower() != ".git" for part in place[len(top) :].split("/"))

    def locate(self, path: str, *, absolute: bool = False) -> tuple[str | None, Wrong | None]:
        """Return the place that a path leads to, and its fault; None for both where nothing exists there.

        Copilot joins paths as text before it follows links: `a/../b` is `b` whatever `a` is. With `absolute`,
        it accepts an absolute path; elsewhere it reads one as relative, which no author can want. The fault
        has no path and line. Source: filepath.Join in internal/pkg/manifest/workload.go and addon/package.go
        of aws/copilot-cli.
        """
        if not path.isprintable():
            return None, Wrong("", 0, f"the path {path!r} holds a control character", _OUTSIDE)
        if path.startswith("/") and not absolute:
            what = f"the path {path} is absolute, and paths are relative to the workspace"
            return None, Wrong("", 0, what, "write it without the slash, if it is of this repository")
        if path.startswith("~"):
            return None, Wrong("", 0, f"the path {path} names a home folder", _OUTSIDE)
        place = posixpath.normpath(path if path.startswith("/") else posixpath.join(str(self.root), path))
        place = "/" + place.lstrip("/")
        if not self.holds(place):
            what = f"the path {path} leads out of the repository, or into Git's own folder"
            return None, Wrong("", 0, what, _OUTSIDE)
        return self.follow(place)

    def follow(self, place: str) -> tuple[str | None, Wrong | None]:
        """Return the real place of an absolute path in the repository, and its fault."""
        parts = place[len(str(self.top)) :].strip("/").split("/")
        for count in range(1, len(parts) + 1):
            step = posixpath.join(str(self.top), *parts[:count])
            try:
                mode = os.lstat(step).st_mode
            except (OSError, ValueError):
                return None, None
            if stat.S_ISLNK(mode):
                return self._linked(place, step)
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                what = f"{self.shown(step)} is neither a regular file nor a folder"
                return None, Wrong("", 0, what, _OUTSIDE)
        return place, None

    def _linked(self, place: str, link: str) -> tuple[str | None, Wrong]:
        shown = self.shown(link)
        real = os.path.realpath(place)
        if not self.holds(real):
            return None, Wrong("", 0, f"{shown} is a link that leads out of the repository", _OUTSIDE)
        try:
            mode = Path(real).stat().st_mode
        except OSError:
            return None, Wrong("", 0, f"{shown} is a link to nothing", _OUTSIDE)
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            what = f"{shown} is a link to something that is neither a regular file nor a folder"
            return None, Wrong("", 0, what, _OUTSIDE)
        return real, Wrong("", 0, f"{shown} is a link", "put the file itself there", "paths")

    def too_large(self, place: str, most: int = LARGEST_FILE) -> Wrong | None:
        size = Path(place).stat().st_size
        if size <= most:
            return None
        what = f"{self.shown(place)} has {size:,} bytes, and the limit is {most:,}"
        return Wrong("", 0, what, "make it smaller", "paths")

    def below(self, folder: str, *, is_context: bool = False) -> Iterator[Wrong]:
        """Yield the faults in a folder that is read completely: links out of the repository, devices, size.

        A link within the repository is not a fault, because Docker sends it as a link. In a build context,
        neither is the interpreter of a virtual environment that somebody has committed.
        """
        size = 0
        for count, (place, mode, length) in enumerate(self._files(folder), 1):
            size += length
            if stat.S_ISLNK(mode):
                if not self.holds(os.path.realpath(place)) and not (is_context and _is_interpreter(place)):
                    what = f"{self.shown(place)} is a link that leads out of the repository"
                    yield Wrong("", 0, what, "make it a file, or delete it")
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                what = f"{self.shown(place)} is neither a regular file nor a folder"
                yield Wrong("", 0, what, "delete it")
            if size > LARGEST_FOLDER or count > MOST_FILES:
                what = (
                    f"{self.shown(folder)}/ has more than {LARGEST_FOLDER >> 30} GiB or {MOST_FILES:,} files"
                )
                yield Wrong("", 0, what, "name a smaller folder", "paths")
                return

    def _files(self, folder: str) -> Iterator[tuple[str, int, int]]:
        """Yield each file of the branch below a folder, in the form of `walk`."""
        if self.listed is None:
            yield from walk(folder)
            return
        beginning = folder.rstrip("/") + "/"
        for place in sorted(self.listed):
            if place.startswith(beginning):
                try:
                    status = os.lstat(place)
                except OSError:  # deleted in the checkout
                    continue
                yield place, status.st_mode, status.st_size


def _is_interpreter(link: str) -> bool:
    """Return True for `bin/python3` of a virtual environment, with a target of such a name."""
    folder = posixpath.dirname(link)
    names = (posixpath.basename(link), Path(link).readlink().name)
    return (
        posixpath.basename(folder) == "bin"
        and all(_INTERPRETER.fullmatch(name) for name in names)
        and os.path.lexists(posixpath.join(posixpath.dirname(folder), "pyvenv.cfg"))
    )


def walk(folder: str, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, int, int]]:
    """Yield each file and folder with its mode and size; do not follow links.

    Git's own folder and folders with a name in `without` are left out.
    """
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            if entry.name.lower() == ".git" or entry.name in without:
                continue
            status = entry.stat(follow_symlinks=False)
            yield entry.path, status.st_mode, status.st_size
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
