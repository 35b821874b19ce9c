"""Which of our files a project gets as they are, under which names, and what stands in their way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.adoption.changes import Change, Left
from scripts.adoption.project import Project
from scripts.branch import git
from scripts.command import Shell, output_of
from scripts.errors import Refused

_TEMPLATES = "scripts/adoption/templates"
_FOLDER = "scripts"


@dataclass(frozen=True)
class Copy:
    """One of our files and its name in the project.

    Where the project has a file of that name without `ours_if` in it, that is its own: `instead` is the name
    that ours takes then, and `hint` what to do by hand.
    """

    source: str
    path: str
    ours_if: str = ""
    instead: str = ""
    hint: str = ""


_COPIES = (
    Copy(
        "tasks.py",
        "tasks.py",
        ours_if="scripts.menu",
        instead="test_environments.py",
        hint="it is the project's own, so ours are test_environments.py: `from test_environments import *  # "
        "noqa: F403` in yours brings them into the menu",
    ),
    Copy(
        f"{_TEMPLATES}/noxfile.py",
        "noxfile.py",
        ours_if="invoke",
        hint="it is the project's own: a session that runs `invoke check` finds mistakes in the manifests",
    ),
    # The project's own requirements.txt is never ours to name.
    Copy("requirements.txt", "requirements-deploy.txt"),
    Copy("requirements-sandbox.txt", "requirements-sandbox.txt"),
    Copy(
        ".env.example",
        ".env.example",
        ours_if="DEPLOY_TARGET",
        instead=".env.deploy.example",
        hint="it is the project's own, so ours is .env.deploy.example",
    ),
)


def sources(shell: Shell, ours: Path) -> list[str]:
    """The files of scripts/ by Git's list. Raises Refused where this is itself an adopted copy."""
    missing = [copy.source for copy in _COPIES if not (ours / copy.source).is_file()]
    if missing or not (ours / "demo/requirements.txt").is_file():
        raise Refused(
            f"{ours} is itself a project that has taken these tasks over: run it in a clone of their origin."
        )
    words = ("ls-files", "-z", "--", _FOLDER)
    listed = output_of(shell, git(ours, *words), "Listing what is to be copied")
    return [name for name in sorted(filter(None, listed.split("\0"))) if (ours / name).is_file()]


def pins(ours: Path) -> Mapping[str, str]:
    """The versions that the demo's image installs, by package, as they are tested here."""
    text = (ours / "demo/requirements.txt").read_text(encoding="utf-8")
    found = {
        name.lower(): version for name, version in re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text)
    }
    return {"Django": found["django"], "gunicorn": found["gunicorn"], "whitenoise": found["whitenoise"],
            "psycopg[binary]": found["psycopg"]}  # fmt: skip


def plan(project: Project, ours: Path, files: list[str]) -> Iterator[Change | Left]:
    """What is copied, and what is left because something else stands there."""
    for copy in _COPIES:
        yield from _one(project, ours, copy)
    differing = []
    for name in files:
        content, there = (ours / name).read_bytes(), project.bytes(name)
        if there is None:
            yield Change(name, None, content, shown=False)
        elif there != content and name != f"{_FOLDER}/__init__.py":  # any will do
            differing.append(name)
    if differing:
        yield Left(
            f"{_FOLDER}/",
            f"{len(differing)} of its files are not as they are here ({differing[0]}…): where they are an "
            "older state of these, delete them and run this again; where they are your own, rename those.",
        )


def _one(project: Project, ours: Path, copy: Copy) -> Iterator[Change | Left]:
    content, path = (ours / copy.source).read_bytes(), copy.path
    there = project.bytes(path)
    foreign = there is not None and copy.ours_if and copy.ours_if.encode() not in there
    if foreign:
        if not copy.instead:
            yield Left(path, copy.hint)
            return
        path = copy.instead
        there = project.bytes(path)
        if there is None:
            yield Left(copy.path, copy.hint)
    if there is None:
        yield Change(path, None, content, shown=False)
    elif there != content:
        yield Left(path, "it is not as it is here: delete it and run this again for the present one.")
