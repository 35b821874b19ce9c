"""Reads the lock file of each package manager into requirements; see `locks`."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from copilot_sandbox.images import locks
from copilot_sandbox.images.lock_graphs import PYPI, PoetryLock, UvLock, name_of
from copilot_sandbox.images.locks import (
    Found,
    LockError,
    Wanted,
    allows,
    canonicalize_name,
    hashes_of,
    holds,
    items,
    place,
    requires_python,
    specifier,
    table,
)


class Reader:
    """The texts of a project's files, and what a command wants of them."""

    def __init__(self, files: dict[str, str], wanted: Wanted, request: dict[str, Any]) -> None:
        self.files = files
        self.wanted = wanted
        self.request = request
        self.found = Found()
        self.project = tomllib.loads(files["pyproject.toml"]) if "pyproject.toml" in files else {}
        self.main = table(self.project.get("project"))
        self.tool = table(self.project.get("tool"))

    def read(self, tool: str) -> tuple[Found, str, bool]:
        """Return requirements, the constraint on Python that does not hold, and True for a real package."""
        readers = {"poetry": self._poetry, "pipenv": self._pipenv, "uv": self._uv, "pdm": self._pdm}
        project = self._project() if tool == "project" else readers[tool]()
        python = self.main.get("requires-python") or table(self._poetry_table().get("dependencies")).get(
            "python"
        )
        return self.found, requires_python(python), project

    # Without a lock file

    def _project(self) -> bool:
        """Read the dependencies of pyproject.toml's [project], of its extras and its dependency groups."""
        extras = table(self.main.get("optional-dependencies"))
        wanted = set(extras) if self.wanted.all_extras else self.wanted.extras
        self.found.loose += [] if self.wanted.only else items(self.main.get("dependencies"))
        for name in sorted(wanted):
            self.found.loose += items(extras.get(name))
        for name in sorted(self.wanted.groups):
            self.found.loose += self._group(name, 0)
        return "build-system" in self.project

    def _group(self, name: str, depth: int) -> list[str]:
        """Return a dependency group (PEP 735) with those that it includes."""
        groups = table(self.project.get("dependency-groups"))
        groups = {canonicalize_name(key): value for key, value in groups.items()}
        lines: list[str] = []
        for each in items(groups.get(canonicalize_name(name))):
            if isinstance(each, str):
                lines.append(each)
            elif depth < 10:  # noqa: PLR2004 - more than in any real file
                lines += self._group(str(table(each).get("include-group", "")), depth + 1)
        return lines

    # poetry

    def _poetry_table(self) -> dict[str, Any]:
        return table(self.tool.get("poetry"))

    def _poetry_groups(self) -> dict[str, tuple[dict[str, Any], bool]]:
        """Return each group's dependencies, and True if it is optional."""
        poetry = self._poetry_table()
        groups = {
            name: (table(table(group).get("dependencies")), bool(table(group).get("optional")))
            for name, group in table(poetry.get("group")).items()
        }
        if "dev-dependencies" in poetry:
            groups.setdefault("dev", (table(poetry["dev-dependencies"]), False))
        for name in table(self.project.get("dependency-groups")):
            known, optional = groups.get(name, ({}, False))
            groups[name] = ({**_named(self._group(name, 0)), **known}, optional)
        return groups

    def _poetry(self) -> bool:
        poetry, groups = self._poetry_table(), self._poetry_groups()
        usual = {name for name, (_, optional) in groups.items() if not optional}
        chosen = usual if self.request["default_groups"] and not self.wanted.only else set()
        chosen = (chosen | self.wanted.groups) - set(self.request["without"])
        main = {**_named(items(self.main.get("dependencies"))), **table(poetry.get("dependencies"))}
        extras = {**table(poetry.get("extras")), **table(self.main.get("optional-dependencies"))}
        wanted = set(extras) if self.wanted.all_extras else self.wanted.extras
        named: set[str] = {
            canonicalize_name(name_of(each)) for extra in wanted for each in items(extras.get(extra))
        }
        roots = [] if self.wanted.only and "main" not in chosen else [main]
        if "main" in self.request["without"]:
            roots = []
        roots += [groups[name][0] for name in sorted(chosen - {"main"}) if name in groups]
        if roots[:1] == [main]:
            extra_lines = [
                line
                for extra in wanted
                for line in items(table(self.main.get("optional-dependencies")).get(extra))
            ]
            roots.append(_named(extra_lines))
        if "poetry.lock" in self.files:
            lock = tomllib.loads(self.files["poetry.lock"])
            PoetryLock(lock, self.found).walk(roots, named)
        else:
            self.found.loose += [line for root in roots for line in _loose(root, named)]
        return poetry.get("package-mode", True) is not False

    # Pipenv

    def _pipenv(self) -> bool:
        names = (["default"] if not self.wanted.only else []) + sorted(self.wanted.groups)
        names = ["develop" if name == "dev" else name for name in names]
        if "Pipfile.lock" not in self.files:
            pipfile = tomllib.loads(self.files["Pipfile"])
            for name in names:
                key = {"default": "packages", "develop": "dev-packages"}.get(name, name)
                self.found.loose += _loose(table(pipfile.get(key)), set())
            return False
        lock = json.loads(self.files["Pipfile.lock"])
        for source in items(table(lock.get("_meta")).get("sources")):
            self._index(table(source).get("url"))
        for group in names:
            for name, package in table(lock.get(group)).items():
                self._pipenv_package(name, table(package))
        return False

    def _pipenv_package(self, name: str, package: dict[str, Any]) -> None:
        if not holds(package.get("markers")):
            return
        extras = f"[{','.join(sorted(package['extras']))}]" if package.get("extras") else ""
        source = {**package, "url": package.get("file"), "path": package.get("path")}
        if not place(self.found, name + extras, source):
            version = str(package.get("version", "*"))
            if version.startswith("=="):
                self.found.pin(
                    name + extras,
                    version[2:].lstrip("="),
                    [str(each) for each in items(package.get("hashes"))],
                )
            else:
                self.found.loose.append(name + extras + ("" if version == "*" else version))

    def _index(self, url: object) -> None:
        if (
            isinstance(url, str)
            and re.match(r"https?://\S+$", url)
            and not PYPI.match(url)
            and "$" not in url
        ):
            self.found.indexes.add(url)

    # pdm

    def _pdm(self) -> bool:
        if "pdm.lock" not in self.files:
            return self._project()
        wanted = ({"default"} if not self.wanted.only else set()) | self.wanted.groups | self.wanted.extras
        for package in items(tomllib.loads(self.files["pdm.lock"]).get("package")):
            groups = set(items(package.get("groups", ["default"])))
            if not (groups & wanted or self.wanted.all_extras):
                continue
            if not holds(package.get("marker")) or not allows(package.get("requires_python"), locks.PYTHON):
                continue
            source = {**package, "rev": package.get("revision")}
            if not place(self.found, package["name"], source):
                self.found.pin(package["name"], package["version"], hashes_of(package.get("files")))
        return "build-system" in self.project

    # uv

    def _uv(self) -> bool:
        if "uv.lock" not in self.files:
            self._default_groups()
            return self._project()
        lock = tomllib.loads(self.files["uv.lock"])
        self._default_groups()
        roots = self._uv_roots(items(lock.get("package")))
        UvLock(lock, self.found, self.wanted).walk(roots)
        return (
            any("editable" in table(root.get("source")) for root in roots) and not self.request["any_member"]
        )

    def _default_groups(self) -> None:
        if not self.request["default_groups"]:
            return
        default = table(self.tool.get("uv")).get("default-groups", ["dev"])
        if default == "all":
            default = list(table(self.project.get("dependency-groups")))
        self.wanted.groups |= set(items(default)) - set(self.request["without"])

    def _uv_roots(self, packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        name = canonicalize_name(self.request["package"] or str(self.main.get("name", "")))
        local = [each for each in packages if {"editable", "virtual"} & set(table(each.get("source")))]
        roots = [each for each in local if canonicalize_name(each["name"]) == name]
        if self.request["any_member"] or not roots:
            roots = local
        if not roots:
            raise LockError("uv.lock has no package of this project")
        return roots


def _named(lines: list[Any]) -> dict[str, Any]:
    """Return requirement lines (PEP 508) by name, in poetry's form."""
    named: dict[str, Any] = {}
    for line in lines:
        text, _, marker = str(line).partition(";")
        match = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?\s*\(?([^)@]*)", text)
        if match:
            extras = [each.strip() for each in (match[2] or "").split(",") if each.strip()]
            value = {
                "version": match[3].strip() or "*",
                "extras": extras,
                "markers": marker.strip(),
                "line": str(line),
            }
            named.setdefault(match[1], []).append(value)
    return named


def _loose(dependencies: dict[str, Any], extras: set[str]) -> list[str]:
    """Return dependencies in poetry's or Pipenv's form as requirement lines; optional ones if in `extras`."""
    lines = []
    for name, values in dependencies.items():
        for value in items(values):
            one = value if isinstance(value, dict) else {"version": value}
            if name == "python" or (one.get("optional") and canonicalize_name(name) not in extras):
                continue
            if not holds(one.get("markers")) or not allows(one.get("python"), locks.PYTHON):
                continue
            if "line" in one:
                lines.append(one["line"])
                continue
            wanted = f"[{','.join(one['extras'])}]" if one.get("extras") else ""
            found = Found()
            if place(found, name + wanted, {**one, "url": one.get("url") or one.get("file")}):
                lines += [*found.direct, *(f"./{path}" for path in found.paths)]
            else:
                lines.append(f"{name}{wanted}{specifier(str(one.get('version', '*')))}")
    return lines
