"""`pip install --target FOLDER`: packages apart from the environment's, at a path of the image.

They lie in the environment's folder, below `targets/`, which clones share as they share the environment. The
image's FOLDER holds links to them, so that a variable or a command that names FOLDER finds them as in Docker.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def named(words: Iterable[str], folder: str) -> str:
    """Return the image's folder that a pip command names with --target or -t; empty where it names none.

    A relative one is meant from `folder`.
    """
    target = ""
    todo = list(words)
    while todo:
        word = todo.pop(0)
        name, equals, value = word.partition("=")
        if name == "--target" and equals:
            target = value
        elif word in ("--target", "-t") and todo:
            target = todo.pop(0)
        elif word.startswith("-t"):  # pip's -tFOLDER
            target = word[2:].removeprefix("=")
    return posixpath.normpath(posixpath.join("/", folder, target)) if target else ""


def name_of(path: str) -> str:
    """Return what the folder below `targets/` is called for a path of the image."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def is_of_interpreter(path: str) -> bool:
    """Return True for a folder that the image's Python looks in by itself: here that is the environment."""
    return re.fullmatch(r"/usr/.*/(?:site|dist)-packages", path) is not None


def folder_of(venv: Path, name: str) -> Path:
    return venv / "targets" / name


def carried(targets: Mapping[str, str], source: str, destination: str) -> dict[str, str]:
    """Return the targets that COPY takes along from another stage: names by their path in this one.

    `source` and `destination` are absolute; a folder's content is copied, as COPY does.
    """
    copied = {}
    for path, name in targets.items():
        if path == source or path.startswith(f"{source.rstrip('/')}/"):
            copied[posixpath.normpath(destination + path[len(source.rstrip("/")) :])] = name
        elif source.startswith(f"{path}/"):
            copied[destination.rstrip("/")] = f"{name}{source[len(path) :]}"
    return copied


def link(root: Path, path: str, packages: Path) -> None:
    """Let `path` below `root` hold what `packages` holds, by links; what the image has there itself stays.

    Links of an earlier build are renewed: the environments may lie elsewhere by now.
    """
    _link(packages, root / path.lstrip("/"))


def _link(packages: Path, place: Path) -> None:
    if packages.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        _renew(place, packages)
        return
    place.mkdir(parents=True, exist_ok=True)
    for each in sorted(packages.iterdir()) if packages.is_dir() else []:
        present = place / each.name
        if present.is_dir() and not present.is_symlink() and each.is_dir():
            _link(each, present)
        else:
            _renew(present, each)


def _renew(place: Path, packages: Path) -> None:
    if place.is_symlink():
        place.unlink()
    if not place.exists():
        place.symlink_to(packages)
