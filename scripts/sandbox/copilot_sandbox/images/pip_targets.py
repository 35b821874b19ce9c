"""Paths of the image that are in the environment: of `pip install --target`, and of virtual environments.

The packages of --target FOLDER are in the environment's folder, below `targets/`, so clones share them with
the environment. The image's FOLDER has links to them, so a variable or a command that names it finds them as
in Docker. The path of a virtual environment (`python -m venv /opt/venv`) has links to the environment itself.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from typing import TypeVar

    Value = TypeVar("Value")


ENVIRONMENT = "."  # the environment itself, as a target
# Folders of packages and their programs in a base image, and of `pip install --user`.
_OF_PYTHON = re.compile(
    r"/usr(/local)?(/bin|/lib(/python[\d.]+)?)?|(/root|/home/[^/]+)/\.(local|cache)(/.*)?"
    r"|/usr/.*/(site|dist)-packages(/.*)?|/usr/local/bin/.*"
)


def is_of_python(path: str) -> bool:
    """Return True for a path of packages or their programs in a stage; here the environment has them."""
    return _OF_PYTHON.fullmatch(path) is not None


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
    """Return the folder in the environment for the packages at a path of the image."""
    return f"targets/{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def is_interpreter_path(path: str) -> bool:
    """Return True for a folder that the image's Python searches by itself; here that is the environment."""
    return re.fullmatch(r"/usr/.*/(?:site|dist)-packages", path) is not None


def folder_of(venv: Path, name: str) -> Path:
    return venv / name


def copied_targets(targets: Mapping[str, str], source: str, destination: str) -> dict[str, str]:
    """Return the targets that COPY takes from another stage: the packages' names by their new paths.

    `source` and `destination` are absolute. As COPY does, this copies a folder's content.
    """
    copied = moved(targets, source, destination)
    for path, name in targets.items():
        if source.startswith(f"{path}/"):
            copied[destination.rstrip("/")] = f"{name}{source[len(path) :]}"
    return copied


def moved(places: Mapping[str, Value], source: str, destination: str) -> dict[str, Value]:
    """Return what is at or below `source`, by its path below `destination`."""
    return {
        posixpath.normpath(destination + path[len(source.rstrip("/")) :]): value
        for path, value in places.items()
        if path == source or path.startswith(f"{source.rstrip('/')}/")
    }


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
    """Let a link lead to the packages, unless the image has a file there. Others may do so meanwhile."""
    if place.exists() and not place.is_symlink():
        return
    draft = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    draft.symlink_to(packages)
    draft.replace(place)
