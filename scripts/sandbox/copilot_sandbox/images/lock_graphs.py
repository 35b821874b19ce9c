"""Lock files that are graphs of packages: poetry.lock and uv.lock; see `locks`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from copilot_sandbox.images import locks
from copilot_sandbox.images.locks import (
    LockError,
    allows,
    canonicalize_name,
    hashes_of,
    holds,
    holds_with,
    items,
    place,
    table,
)

if TYPE_CHECKING:
    from copilot_sandbox.images.locks import Found, Wanted

PYPI = re.compile(r"https://pypi\.(org|python\.org)(/|$)")


def name_of(line: object) -> str:
    match = re.match(r"\s*[A-Za-z0-9][\w.-]*", line if isinstance(line, str) else "")
    return match[0].strip() if match else ""


class PoetryLock:
    """A poetry.lock of any version, as a graph: the groups of a package are only in the newest."""

    def __init__(self, lock: dict[str, Any], found: Found) -> None:
        self.packages: dict[str, list[dict[str, Any]]] = {}
        for package in items(lock.get("package")):
            self.packages.setdefault(canonicalize_name(package["name"]), []).append(package)
        self.old_files: dict[str, Any] = {
            canonicalize_name(k): v for k, v in table(table(lock.get("metadata")).get("files")).items()
        }
        self.found = found
        self.seen: set[tuple[str, str, frozenset[str]]] = set()

    def walk(self, roots: list[dict[str, Any]], named: set[str]) -> None:
        """Add what the roots need; `named` are the packages of the wanted extras."""
        pending = [(name, value, True) for root in roots for name, value in root.items()]
        while pending:
            name, values, is_root = pending.pop()
            key = canonicalize_name(name)
            for value in items(values):
                one = value if isinstance(value, dict) else {"version": value}
                optional = one.get("optional") and not (is_root and key in named)
                if key == "python" or optional or not holds_with(one.get("markers"), set()):
                    continue
                if allows(one.get("python"), locks.PYTHON):
                    pending += self._add(key, one, is_root=is_root)

    def _add(self, name: str, wanted: dict[str, Any], *, is_root: bool) -> list[tuple[str, Any, bool]]:
        candidates = self.packages.get(name, [])
        if not candidates and is_root:
            raise LockError(
                f"poetry.lock has no package {name}, which pyproject.toml needs: it is out of date"
            )
        fitting = [
            each for each in candidates if allows(each.get("python-versions"), locks.PYTHON)
        ] or candidates
        if len(fitting) > 1:
            fitting = [each for each in fitting if allows(wanted.get("version"), each["version"])] or fitting
        if len(fitting) > 1:
            fitting = [each for each in fitting if _marked(each)] or fitting
        new: list[tuple[str, Any, bool]] = []
        for package in fitting[:1]:
            extras = frozenset(map(str, items(wanted.get("extras"))))
            key = (name, package["version"], extras)
            if key in self.seen:
                continue
            self.seen.add(key)
            source = table(package.get("source"))
            kind = {"git": "git", "url": "url", "directory": "path", "file": "path"}.get(
                str(source.get("type")), ""
            )
            address = {
                kind: source.get("url"),
                "rev": source.get("resolved_reference") or source.get("reference"),
            }
            if not kind or not place(
                self.found, package["name"], {**address, "subdirectory": source.get("subdirectory")}
            ):
                self.found.pin(
                    package["name"],
                    package["version"],
                    hashes_of(package.get("files") or self.old_files.get(name)),
                )
            if (
                source.get("type") == "legacy"
                and isinstance(source.get("url"), str)
                and not PYPI.match(source["url"])
            ):
                self.found.indexes.add(source["url"])
            of_extras = {
                canonicalize_name(name_of(line)) for extra in extras for line in self._extra(package, extra)
            }
            for dependency, value in table(package.get("dependencies")).items():
                asked = canonicalize_name(dependency) in of_extras
                new += [(dependency, _asked(each, asked=asked), False) for each in items(value)]
        return new

    def _extra(self, package: dict[str, Any], extra: str) -> list[Any]:
        by_name = {canonicalize_name(key): value for key, value in table(package.get("extras")).items()}
        return items(by_name.get(canonicalize_name(extra)))


def _asked(value: object, *, asked: bool) -> object:
    """Return a dependency of a package; one of its wanted extras is not optional, and its marker holds."""
    if not isinstance(value, dict) or not asked:
        return value
    marker = re.sub(r"extra\s*==\s*(['\"])[^'\"]*\1", "python_version >= '0'", str(value.get("markers", "")))
    return {**value, "optional": False, "markers": marker}


def _marked(package: dict[str, Any]) -> bool:
    """Return True if the markers that a newer poetry.lock gives a package hold."""
    markers = package.get("markers")
    return any(holds(each) for each in markers.values()) if isinstance(markers, dict) else holds(markers)


class UvLock:
    """A uv.lock as a graph of packages."""

    def __init__(self, lock: dict[str, Any], found: Found, wanted: Wanted) -> None:
        self.packages: dict[str, list[dict[str, Any]]] = {}
        for package in items(lock.get("package")):
            self.packages.setdefault(canonicalize_name(package["name"]), []).append(package)
        self.found, self.wanted = found, wanted
        self.seen: set[tuple[str, str, str]] = set()

    def walk(self, roots: list[dict[str, Any]]) -> None:
        pending: list[dict[str, Any]] = []
        for root in roots:
            extras, groups = table(root.get("optional-dependencies")), table(root.get("dev-dependencies"))
            pending += [] if self.wanted.only else items(root.get("dependencies"))
            for name in set(extras) if self.wanted.all_extras else self.wanted.extras:
                pending += items(extras.get(name))
            for name in self.wanted.groups:
                pending += items(groups.get(name))
            self.seen.add((canonicalize_name(root["name"]), str(root.get("version", "")), ""))
        while pending:
            pending += self._add(pending.pop())

    def _add(self, edge: dict[str, Any]) -> list[dict[str, Any]]:
        name = canonicalize_name(edge["name"])
        if not holds(edge.get("marker")):
            return []
        fitting = [
            each
            for each in self.packages.get(name, [])
            if edge.get("version") in (None, each.get("version"))
            and edge.get("source") in (None, each.get("source"))
        ]
        if not fitting:
            raise LockError(f"uv.lock has no package {name}, which another one needs")
        package = next(
            (each for each in fitting if any(holds(m) for m in each.get("resolution-markers", [""]))),
            fitting[0],
        )
        new: list[dict[str, Any]] = []
        for extra in ("", *items(edge.get("extra"))):
            key = (name, str(package.get("version", "")), str(extra))
            if key in self.seen:
                continue
            self.seen.add(key)
            if extra:
                new += items(table(package.get("optional-dependencies")).get(extra))
            else:
                self._place(package)
                new += items(package.get("dependencies"))
        return new

    def _place(self, package: dict[str, Any]) -> None:
        source = table(package.get("source"))
        if "virtual" in source:
            return
        path = source.get("directory") or source.get("editable") or source.get("path")
        if place(self.found, package["name"], {**source, "path": path}):
            return
        files = [*items(package.get("sdist")), *items(package.get("wheels"))]
        self.found.pin(package["name"], package["version"], hashes_of(files))
        registry = source.get("registry")
        if isinstance(registry, str) and registry.startswith("http") and not PYPI.match(registry):
            self.found.indexes.add(registry)
