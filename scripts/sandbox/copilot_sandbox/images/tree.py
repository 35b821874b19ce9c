"""An image's files before they are written: what stands at which path, and from where it comes."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from copilot_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from copilot_sandbox.images.ignore import Ignore

_LINKS = 40  # as many as Linux follows before ELOOP
_CHUNK = 1 << 20
# What base images bring along: a container's own folders lie below these.
_SYSTEM = re.compile(
    r"/|/(bin|boot|dev|etc|home|lib|lib64|opt|proc|root|run|sbin|sys|tmp|usr|var)"
    r"|/usr/(bin|lib|local|sbin|share|src)|/usr/local/(bin|etc|lib|share)|/var/(cache|lib|log|run|tmp)"
)


class CopyError(SandboxError):
    """A COPY or ADD cannot be done, in docker's own words where it has some."""


@dataclass(frozen=True)
class Entry:
    kind: Literal["file", "folder", "link"]
    mode: int = 0o755
    source: Path | None = None  # a file of the context
    data: bytes = b""  # or a file out of the Dockerfile
    sha256: str = ""
    target: str = ""  # a link's


FOLDER = Entry("folder")


def file_of(data: bytes, mode: int = 0o644) -> Entry:
    return Entry("file", mode, None, data, hashlib.sha256(data).hexdigest())


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Tree:
    """A file system as a mapping of absolute paths with slashes; `/` itself is always there."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(entries or {"/": FOLDER})

    def copy(self) -> Tree:
        return Tree(self.entries)

    def get(self, path: str) -> Entry | None:
        return self.entries.get(path)

    def below(self, path: str) -> Iterator[tuple[str, Entry]]:
        """Return what a folder holds, at any depth, without the folder itself; sorted."""
        prefix = path.rstrip("/") + "/"
        for each in sorted(self.entries):
            if each.startswith(prefix) and each != "/":
                yield each, self.entries[each]

    def resolve(self, path: str, *, outside: str | None = None) -> str:
        """Follow the links on the way to `path`, and the last one; never out of this tree.

        With `outside` a link that is absolute or leads out raises CopyError with that text: a build
        context has no root. Without it the tree's own root is the root, as in a container.
        """
        todo = [name for name in path.split("/") if name]
        at: list[str] = []
        followed = 0
        while todo:
            name = todo.pop(0)
            if name == ".":
                continue
            if name == "..":
                if not at and outside:
                    raise CopyError(outside)
                at = at[:-1]
                continue
            entry = self.get("/" + "/".join([*at, name]))
            if entry is None or entry.kind != "link":
                at.append(name)
                continue
            followed += 1
            if followed > _LINKS:
                raise CopyError(f"{path}: too many levels of symbolic links")
            if entry.target.startswith("/"):
                if outside:
                    raise CopyError(outside)
                at = []
            todo = [part for part in entry.target.split("/") if part] + todo
        return "/" + "/".join(at)

    def make_folder(self, path: str) -> str:
        """Make a folder with the ones above it, through links; returns where it really is."""
        place = self.resolve(path)
        names = [name for name in place.split("/") if name]
        for count in range(1, len(names) + 1):
            above = "/" + "/".join(names[:count])
            entry = self.entries.setdefault(above, FOLDER)
            if entry.kind != "folder":
                raise CopyError(f"cannot make the folder {path}: {above} is a file")
        return place

    def put(self, path: str, entry: Entry) -> None:
        """Put a file, link or folder at `path`; a folder is merged into the one that is there."""
        folder = self.make_folder(posixpath.dirname(path))
        place = posixpath.join(folder, posixpath.basename(path))
        present = self.get(place)
        if entry.kind == "folder":
            if present is not None and present.kind == "link":
                self.make_folder(place)
            elif present is not None and present.kind == "file":
                raise CopyError(f"cannot copy to non-directory: {path}")
            else:
                self.entries[place] = entry
            return
        if present is not None and present.kind == "folder":
            raise CopyError(f"cannot copy a file over the directory {path}")
        self.entries[place] = entry

    def listing(self) -> list[list[object]]:
        """Every path with kind, mode and content: equal listings are equal files."""
        return [
            [path, each.kind, each.mode, each.sha256 or each.target]
            for path, each in sorted(self.entries.items())
        ]

    def write(self, root: Path) -> None:
        """Write everything into the existing folder `root`.

        Raises CopyError where a file of the context changed after it was read.
        """
        folders = []
        for path, entry in sorted(self.entries.items()):
            place = root / path.lstrip("/")
            if entry.kind == "folder":
                place.mkdir(exist_ok=True)
                folders.append((place, entry.mode))
            elif entry.kind == "link":
                place.symlink_to(entry.target)
            else:
                _write_file(place, entry)
        for place, mode in reversed(folders):
            place.chmod(mode)

    def claims(self) -> tuple[str, ...]:
        """Return the topmost paths that are this image's own and not a base image's folder; sorted."""
        own: list[str] = []
        for path in sorted(self.entries):
            if _SYSTEM.fullmatch(path) or (own and path.startswith(own[-1] + "/")):
                continue
            own.append(path)
        return tuple(own)

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match Go's filepath.Match: wildcards never cross a slash."""
        wanted = [
            re.compile(fnmatch.translate(part.replace("[^", "[!"))) for part in pattern.strip("/").split("/")
        ]
        found = []
        for path in sorted(self.entries):
            names = path.strip("/").split("/")
            if len(names) == len(wanted) and all(
                want.match(name) for want, name in zip(wanted, names, strict=True)
            ):
                found.append(path)
        return found


def read_context(context: Path, ignore: Ignore, own: Path) -> Tree:
    """Read the build context's names, without what `ignore` leaves out; contents are read when used.

    `own` is the sandbox's folder: an image never holds the images. Sockets and the like are left out, as
    docker leaves them.
    """
    tree = Tree()
    _read_folder(tree, context.resolve(), "", ignore, own.resolve())
    return tree


def _read_folder(tree: Tree, context: Path, folder: str, ignore: Ignore, own: Path) -> None:
    try:
        found = sorted(os.scandir(context / folder), key=lambda each: each.name)
    except OSError as error:
        raise CopyError(f"the build context cannot be read: {error.strerror}: {error.filename}") from error
    for each in found:
        path = f"{folder}/{each.name}".lstrip("/")
        out = ignore(path)
        if each.is_dir(follow_symlinks=False):
            if Path(each.path) == own:
                continue
            if not out:
                tree.put("/" + path, FOLDER)
            if not out or ignore.keeps_below(path):
                _read_folder(tree, context, path, ignore, own)
        elif out:
            continue
        elif each.is_symlink():
            tree.put("/" + path, Entry("link", 0o777, target=str(Path(each.path).readlink())))
        elif each.is_file():
            tree.put("/" + path, Entry("file", _mode(each.stat().st_mode), Path(each.path)))


def _mode(mode: int) -> int:
    """Git keeps only whether a file may be run: a checkout's umask must not change the digest."""
    return 0o755 if mode & stat.S_IXUSR else 0o644


def _write_file(place: Path, entry: Entry) -> None:
    if entry.source is None:
        place.write_bytes(entry.data)
    else:
        digest = hashlib.sha256()
        # Not followed: what was a file when the context was read may be a link by now.
        descriptor = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as source, place.open("wb") as target:  # noqa: PTH123 - Path cannot open a descriptor
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise CopyError(f"{entry.source} changed while the image was built: build again.")
    place.chmod(entry.mode)
