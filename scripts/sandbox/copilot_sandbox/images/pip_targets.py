"""`pip install --target FOLDER`: packages outside of the environment, at a path of the image.

The packages are in the environment's folder, below `targets/`, so clones share them with the environment. The
image's FOLDER has links to them, so a variable or a command that names FOLDER finds them as in Docker.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


def target_of(words: Iterable[str], folder: str) -> str:
    """Return the image's folder in a pip command's --target or -t; empty if there is none.

    A relative path starts from `folder`.
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


def folder_name(path: str) -> str:
    """Return the name of the folder below `targets/` for a path of the image."""
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def is_interpreter_path(path: str) -> bool:
    """Return True for a folder that the image's Python searches by itself; here that is the environment."""
    return re.fullmatch(r"/usr/.*/(?:site|dist)-packages", path) is not None


def folder_of(venv: Path, name: str) -> Path:
    return venv / "targets" / name


def copied_targets(targets: Mapping[str, str], source: str, destination: str) -> dict[str, str]:
    """Return the targets that COPY takes from another stage: the packages' names by their new paths.

    `source` and `destination` are absolute. As COPY does, this copies a folder's content.
    """
    copied = {}
    for path, name in targets.items():
        if path == source or path.startswith(f"{source.rstrip('/')}/"):
            copied[posixpath.normpath(destination + path[len(source.rstrip("/")) :])] = name
        elif source.startswith(f"{path}/"):
            copied[destination.rstrip("/")] = f"{name}{source[len(path) :]}"
    return copied


def link(root: Path, path: str, packages: Path) -> None:
    """Fill `path` below `root` with links to the content of `packages`. The image's own files remain.

    Links of an earlier build are replaced, because the environments may have moved since.
    """
    _link_into(packages, root / path.lstrip("/"))


def _link_into(packages: Path, place: Path) -> None:
    if packages.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        _replace_link(place, packages)
        return
    place.mkdir(parents=True, exist_ok=True)
    for item in sorted(packages.iterdir()) if packages.is_dir() else []:
        present = place / item.name
        if present.is_dir() and not present.is_symlink() and item.is_dir():
            _link_into(item, present)
        else:
            _replace_link(present, item)


def _replace_link(place: Path, packages: Path) -> None:
    if place.is_symlink():
        place.unlink()
    if not place.exists():
        place.symlink_to(packages)
