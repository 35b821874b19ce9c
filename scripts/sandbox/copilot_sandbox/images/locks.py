"""Translates lock files to requirements that pip installs: poetry.lock, Pipfile.lock, uv.lock, pdm.lock.

It runs in a process of its own (see `projects`), because `packaging` is not in the builder's. It reads texts,
and neither files nor the network. Every marker is evaluated for the interpreter that the image gets.

Sources: https://github.com/python-poetry/poetry-core, https://github.com/pypa/pipfile,
https://docs.astral.sh/uv/concepts/projects/layout/#the-lockfile and https://pdm-project.org/en/latest/usage/lockfile/
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from dataclasses import dataclass, field
from typing import Any

from packaging.markers import InvalidMarker, Marker, UndefinedEnvironmentName
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

# The version that markers are evaluated for.
PYTHON = ".".join(map(str, sys.version_info[:3]))


class LockError(Exception):
    """The files cannot be translated; the message says why."""


@dataclass
class Wanted:
    """The groups and extras of a command. `only`: without the main group."""

    groups: set[str] = field(default_factory=set)
    extras: set[str] = field(default_factory=set)
    all_extras: bool = False
    only: bool = False


@dataclass
class Found:
    """Requirements by the way in which pip has to install them."""

    pinned: dict[str, list[str]] = field(default_factory=dict)  # `name==version` -> hashes
    direct: set[str] = field(default_factory=set)  # from Git or a URL, which have no hash
    paths: set[str] = field(default_factory=set)  # folders and files of the project
    loose: list[str] = field(default_factory=list)  # without a lock file
    indexes: set[str] = field(default_factory=set)

    def pin(self, name: str, version: str, hashes: list[str]) -> None:
        known = self.pinned.setdefault(f"{name}=={version}", [])
        known += [each for each in hashes if each not in known]


def holds(marker: object, extra: str = "") -> bool:
    """Return True if a marker holds for this interpreter. `extra` is what `extra == …` is compared with."""
    if not isinstance(marker, str) or not marker.strip():
        return True
    try:
        return Marker(marker).evaluate({"extra": extra, **_environment()})
    except (InvalidMarker, UndefinedEnvironmentName) as error:
        raise LockError(f"the marker `{marker[:80]}` is not valid") from error


def _environment() -> dict[str, str]:
    return {"python_full_version": PYTHON, "python_version": ".".join(PYTHON.split(".")[:2])}


def holds_with(marker: object, extras: set[str]) -> bool:
    return any(holds(marker, extra) for extra in ("", *sorted(extras)))


def specifier(constraint: str) -> SpecifierSet:
    """Return poetry's constraint (`^1.2`, `~1.2`, `1.2.*`) as a specifier; any version for what is not one.

    Source: https://python-poetry.org/docs/dependency-specification/#version-constraints
    """
    parts = []
    for part in re.split(r"[,\s]+(?=[\^~<>=!*\d])", constraint.strip()):
        match = re.fullmatch(r"(\^|~|~=|===?|!=|<=?|>=?|)\s*v?([\w.*+!-]*)", part)
        if match is None:
            continue
        operator, version = match.groups()
        if version in ("", "*"):
            continue
        release = [int(each) for each in re.findall(r"\d+", re.split(r"[a-z*+-]", version)[0])] or [0]
        if operator == "^":
            at = next((i for i, each in enumerate(release) if each), len(release) - 1)
            parts += [f">={version}", f"<{'.'.join(map(str, [*release[:at], release[at] + 1]))}"]
        elif operator == "~":
            at = min(1, len(release) - 1)
            parts += [f">={version}", f"<{'.'.join(map(str, [*release[:at], release[at] + 1]))}"]
        else:
            parts.append(f"{operator or '=='}{version}")
    try:
        return SpecifierSet(",".join(parts), prereleases=True)
    except InvalidSpecifier as error:
        raise LockError(f"the constraint `{constraint[:80]}` is not valid") from error


def allows(constraint: object, version: str) -> bool:
    """Return True if one of poetry's alternatives (`^1.2 || ^2.0`) allows a version."""
    if not isinstance(constraint, str) or not constraint.strip():
        return True
    try:
        return any(Version(version) in specifier(each) for each in re.split(r"\|\|?", constraint))
    except InvalidVersion:
        return True


def requires_python(constraint: object) -> str:
    """Return a constraint on Python if this interpreter does not fulfil it, else an empty text."""
    return constraint if isinstance(constraint, str) and not allows(constraint, PYTHON) else ""


def table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def hashes_of(files: object) -> list[str]:
    """Return the hashes of a list of files, or of one."""
    found = [table(each).get("hash") for each in items(files)]
    return [each for each in found if isinstance(each, str) and re.fullmatch(r"sha\d+:[0-9a-f]+", each)]


def place(found: Found, name: str, source: dict[str, Any]) -> bool:
    """Add a package that comes from Git, a URL or the project's own files. Return False for another one."""
    subdirectory = source.get("subdirectory")
    below = f"#subdirectory={subdirectory}" if subdirectory else ""
    if git := source.get("git"):
        address, _, commit = str(git).partition("#")
        commit = commit or source.get("rev") or source.get("ref") or ""
        query = re.search(r"[?&]subdirectory=([^&]+)", address)
        below = f"#subdirectory={query[1]}" if query else below
        address = re.sub(r"\?.*", "", address)
        address = re.sub(r"^git@([^:]+):", r"ssh://git@\1/", address)
        found.direct.add(f"{name} @ git+{address}{f'@{commit}' if commit else ''}{below}")
    elif url := source.get("url"):
        found.direct.add(f"{name} @ {url}{below}")
    elif path := source.get("path"):
        found.paths.add(str(path))
    else:
        return False
    return True


def translate(request: dict[str, Any]) -> dict[str, Any]:
    """Translate a request of `projects`; the answer has the requirements, or `error`."""
    from copilot_sandbox.images import lock_readers  # noqa: PLC0415 - it imports this module

    wanted = Wanted(set(request["groups"]), set(request["extras"]), request["all_extras"], request["only"])
    try:
        reader = lock_readers.Reader(request["files"], wanted, request)
        found, python, project = reader.read(request["tool"])
    except LockError as error:
        return {"error": str(error)}
    except tomllib.TOMLDecodeError as error:
        return {"error": f"a file is no TOML: {error}"}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        return {"error": f"the lock file is damaged ({type(error).__name__}: {str(error)[:80]})"}
    hashed = bool(found.pinned) and all(found.pinned.values())
    return {
        "pinned": [
            " ".join([pin, *(f"--hash={each}" for each in sorted(hashes) if hashed)])
            for pin, hashes in sorted(found.pinned.items())
        ],
        "direct": sorted(found.direct),
        "paths": sorted(found.paths),
        "loose": found.loose,
        "indexes": sorted(found.indexes),
        "python": python,
        "project": project,
    }


def main(python: str) -> None:
    """Translate the request on standard input to an answer on standard output, both JSON.

    `python` is the version that the packages are for.
    """
    globals()["PYTHON"] = python
    json.dump(translate(json.load(sys.stdin)), sys.stdout)


__all__ = ["Found", "LockError", "Wanted", "canonicalize_name", "main", "translate"]
