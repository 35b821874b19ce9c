"""An image's files before they are written: the entry at each path, and its source."""

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

_LINKS = 40  # Linux follows this many links before ELOOP
_CHUNK = 1 << 20
# Folders of base images. A container's own folders are below these.
_SYSTEM = re.compile(
    r"/|/(bin|boot|dev|etc|home|lib|lib64|opt|proc|root|run|sbin|sys|tmp|usr|var)"
    r"|/usr/(bin|lib|local|sbin|share|src)|/usr/local/(bin|etc|lib|share)|/var/(cache|lib|log|run|tmp)"
)


class CopyError(SandboxError):
    """A COPY or ADD is not possible; the message is docker's own, if there is one."""


@dataclass(frozen=True)
class Entry:
    kind: Literal["file", "folder", "link"]
    mode: int = 0o755
    source: Path | None = None  # a file of the context
    data: bytes = b""  # or the content of a file from the Dockerfile
    sha256: str = ""
    target: str = ""  # of a link

    def text(self) -> str:
        """Return a file's text. Raises UnicodeDecodeError if it is none."""
        return (self.source.read_bytes() if self.source else self.data).decode("utf-8-sig")


FOLDER = Entry("folder")


def file_of(data: bytes, mode: int = 0o644) -> Entry:
    return Entry("file", mode, None, data, hashlib.sha256(data).hexdigest())


def is_system_folder(path: str) -> bool:
    """Return True for a folder that a base image has."""
    return _SYSTEM.fullmatch(path) is not None


def hash_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Tree:
    """A file system as a mapping of absolute paths with slashes. `/` itself always exists."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(entries or {"/": FOLDER})

    def copy(self) -> Tree:
        return Tree(self.entries)

    def get(self, path: str) -> Entry | None:
        return self.entries.get(path)

    def below(self, path: str) -> Iterator[tuple[str, Entry]]:
        """Yield the content of a folder, at any depth, sorted, without the folder itself."""
        prefix = path.rstrip("/") + "/"
        for inner_path in sorted(self.entries):
            if inner_path.startswith(prefix) and inner_path != "/":
                yield inner_path, self.entries[inner_path]

    def resolve(self, path: str, *, outside: str | None = None) -> str:
        """Follow the links in `path`, including the last part. The result is always in this tree.

        With `outside`, an absolute link or one that leaves the tree raises CopyError with that text, because
        a build context has no root. Without it, the tree's root is the root, as in a container.
        """
        pending = [name for name in path.split("/") if name]
        at: list[str] = []
        followed = 0
        while pending:
            name = pending.pop(0)
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
            pending = [part for part in entry.target.split("/") if part] + pending
        return "/" + "/".join(at)

    def make_folder(self, path: str) -> str:
        """Create a folder and its parents, following links. Return its real path."""
        place = self.resolve(path)
        names = [name for name in place.split("/") if name]
        for count in range(1, len(names) + 1):
            above = "/" + "/".join(names[:count])
            entry = self.entries.setdefault(above, FOLDER)
            if entry.kind != "folder":
                raise CopyError(f"cannot make the folder {path}: {above} is a file")
        return place

    def put(self, path: str, entry: Entry) -> None:
        """Put a file, link or folder at `path`. A folder is merged with an existing one."""
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
        """Return every path with kind, mode and content. Equal listings mean equal files."""
        return [
            [path, entry.kind, entry.mode, entry.sha256 or entry.target]
            for path, entry in sorted(self.entries.items())
        ]

    def write(self, root: Path) -> None:
        """Write all entries into the existing folder `root`.

        Raises CopyError if a file of the context has changed after it was read.
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

    def own_paths(self) -> tuple[str, ...]:
        """Return the topmost paths of the image itself, without a base image's folders; sorted."""
        own: list[str] = []
        for path in sorted(self.entries):
            if _SYSTEM.fullmatch(path) or (own and path.startswith(own[-1] + "/")):
                continue
            own.append(path)
        return tuple(own)

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match a pattern of Go's filepath.Match: wildcards never match a slash."""
        patterns = [
            re.compile(fnmatch.translate(part.replace("[^", "[!"))) for part in pattern.strip("/").split("/")
        ]
        matches = []
        for path in sorted(self.entries):
            names = path.strip("/").split("/")
            if len(names) == len(patterns) and all(
                part_pattern.match(name) for part_pattern, name in zip(patterns, names, strict=True)
            ):
                matches.append(path)
        return matches


def read_context(context: Path, ignore: Ignore, own: Path) -> Tree:
    """Read the build context's names without those that `ignore` excludes. Contents are read when used.

    `own` is the sandbox's folder, which is excluded, because an image must not contain the images. As
    with docker, sockets and the like are excluded.
    """
    tree = Tree()
    _read_folder(tree, context.resolve(), "", ignore, own.resolve())
    return tree


def _read_folder(tree: Tree, context: Path, folder: str, ignore: Ignore, own: Path) -> None:
    try:
        items = sorted(os.scandir(context / folder), key=lambda item: item.name)
    except OSError as error:
        raise CopyError(f"the build context cannot be read: {error.strerror}: {error.filename}") from error
    for item in items:
        path = f"{folder}/{item.name}".lstrip("/")
        ignored = ignore(path)
        if item.is_dir(follow_symlinks=False):
            if Path(item.path) == own:
                continue
            if not ignored:
                tree.put("/" + path, FOLDER)
            if not ignored or ignore.keeps_below(path):
                _read_folder(tree, context, path, ignore, own)
        elif ignored:
            continue
        elif item.is_symlink():
            tree.put("/" + path, Entry("link", 0o777, target=str(Path(item.path).readlink())))
        elif item.is_file():
            tree.put("/" + path, Entry("file", _mode(item.stat().st_mode), Path(item.path)))


def _mode(mode: int) -> int:
    """Return 755 or 644. Git keeps no more of a mode, and a checkout's umask must not change the digest."""
    return 0o755 if mode & stat.S_IXUSR else 0o644


def _write_file(place: Path, entry: Entry) -> None:
    if entry.source is None:
        place.write_bytes(entry.data)
    else:
        digest = hashlib.sha256()
        # O_NOFOLLOW: a file of the context may have been replaced by a link since it was read.
        descriptor = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as source, place.open("wb") as target:  # noqa: PTH123 - Path cannot open a descriptor
            while chunk := source.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise CopyError(f"{entry.source} changed while the image was built: build again.")
    place.chmod(entry.mode)
