"""Run cfn-lint on what the user wrote into templates: addons, patches and `taskdef_overrides`.

Copilot's own text is not linted: nobody can correct it. The findings are cached per user, by digest.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.check import location
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import manifest, patches, template_lint
from copilot_testenv.copilot.template_lint import LintFinding
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core import cache
from copilot_testenv.core.errors import SettingsError, UserError
from copilot_testenv.core.files import write

# Lists whose items say nothing of each other. (A task must have one essential container, for example.)
_APART = frozenset({"ManagedPolicyArns", "Policies", "Statement", "Tags"})
_PROPERTY = re.compile(r"\b[A-Z][A-Za-z]{5,}\b")
_EVERYWHERE = frozenset({""})  # of a template that a patch may have changed anywhere
# Lambda runtimes: overrides.runtime reports them. Versions of databases: one that exists stays as it is.
_RUNTIMES = {"E2531", "W2531", "E3690", "E3691"}


def linted(project: Project) -> Iterator[Finding]:
    """Yield cfn-lint's errors in what the user wrote; each is reported once for all environments.

    Raises SettingsError where cfn-lint is not installed.
    """
    texts: dict[str, str] = {}
    owners: dict[str, str] = {}
    touched = {owner: _touched(project, owner) for owner in (*project.services, patches.ENVIRONMENTS)}
    for owner, environment, template in project.stacks():
        if not isinstance(template, Template):
            continue
        # All environments have the same patches, so one of them is enough.
        seen = owner == patches.ENVIRONMENTS and owner in owners.values()
        if touched[owner] and not seen:
            text = template.text
            if touched[owner] != _EVERYWHERE:
                text = template_lint.part(_users_items(project, owner, template.body), touched[owner])
            texts[f"{owner} {environment}"], owners[f"{owner} {environment}"] = text, owner
        if template.addons:
            texts[f"{owner} {environment} addons"] = template.addons
            owners[f"{owner} {environment} addons"] = owner
    reported = set()
    for found in _lint(texts):
        owner, of_addons = owners[found.template], found.template.endswith(" addons")
        is_users = of_addons or touched[owner] == _EVERYWHERE or _resource(found) in touched[owner]
        if found.copilots_own or found.severity != "error" or found.rule in _RUNTIMES or not is_users:
            continue
        if of_addons and found.message.startswith("Duplicate found"):
            continue  # keys.repeated reports it
        path, line = _place(project, owner, found, addons=of_addons)
        what = f"cfn-lint {found.rule} at {found.path or 'the template'}: {' '.join(found.message.split())}"
        if (path, line, what) not in reported:
            reported.add((path, line, what))
            yield Finding(
                path,
                line,
                "cfn-lint",
                "error",
                what,
                "correct it in the manifest, the override patches or the addons that it comes from",
            )


def _touched(project: Project, owner: str) -> frozenset[str]:
    """Return the resources that patches or `taskdef_overrides` change, but not runtimes alone."""
    found = {_part(patch.path) for patch in _patches(project, owner) if not patch.function}
    document = project.services.get(owner)
    if document and "taskdef_overrides" in document.text:
        found.add("TaskDefinition")
    return _EVERYWHERE if "" in found else frozenset(found)


def _users_items(project: Project, owner: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the template with only the user's items in the lists of _APART that patches append to.

    A list that other patches change too is left as it is.
    """
    paths = [patch.path for patch in _patches(project, owner) if _part(patch.path)]
    appended = Counter(path.removesuffix("/-") for path in paths if path.endswith("/-"))
    found = copy.deepcopy(body) if appended else body
    for path, count in appended.items():
        holder: Any = found
        *holders, last = path.split("/")[1:]
        for key in holders:
            holder = holder.get(key) if isinstance(holder, dict) else None
        items = holder.get(last) if isinstance(holder, dict) else None
        others = [other for other in paths if f"{other}/".startswith(f"{path}/") and other != f"{path}/-"]
        if isinstance(items, list) and last in _APART and not others:
            holder[last] = items[-count:]
    return found


def _patches(project: Project, owner: str) -> list[patches.Patch]:
    where = f"copilot/{owner}/{patches.FILE.as_posix()}"
    try:
        return patches.read(patches.text_of(project.root / where, where), where)
    except SettingsError:
        return []  # there are none, or Copilot reports them


def _part(path: str) -> str:
    """Return the resource in a patch's path; empty for a path elsewhere."""
    parts = path.split("/")
    return parts[2] if parts[1:2] == ["Resources"] and len(parts) > 2 else ""  # noqa: PLR2004 - and its name


def _resource(found: LintFinding) -> str:
    parts = found.path.split("/")
    return parts[1] if parts[:1] == ["Resources"] and len(parts) > 1 else ""


def _place(project: Project, owner: str, found: LintFinding, *, addons: bool) -> tuple[str, int]:
    """Return the file and line of the resource in the addons, else the patches, else the manifest."""
    if addons:
        named = "/".join(_PROPERTY.findall(found.message))  # of a place, the property that the message names
        return addons_place(project.root, owner, [*found.path.split("/"), ""][1], f"{found.path}/{named}")
    changed = [patch for patch in _patches(project, owner) if _part(patch.path) == _resource(found)]
    if changed:
        at, appended = f"/{found.path}/", Counter[str]()
        places = []
        for each in changed:
            at_end = each.path.endswith("/-")  # see _users_items
            places.append(f"{each.path[:-1]}{appended[each.path]}/" if at_end else f"{each.path}/")
            appended[each.path] += 1
        place, patch = min(zip(places, changed, strict=True), key=lambda pair: not at.startswith(pair[0]))
        where = f"copilot/{owner}/{patches.FILE.as_posix()}"
        lines = patches.text_below(project.root, owner).splitlines()[patch.begin : patch.end]
        values = [number for number, line in enumerate(lines) if re.match(r"[\s-]*value\s*:", line)]
        if not values or not at.startswith(place):
            return where, patch.begin + 1
        return where, patch.begin + _inside(lines, values[0], at.removeprefix(place))
    document = project.services.get(owner)
    return project.source(owner), document.line("taskdef_overrides") if document else 1


def _inside(lines: list[str], first: int, path: str) -> int:
    """Return the line, from 1, of the last key of a path that stands below a patch's `value`."""
    found = first
    for key in filter(None, path.split("/")):
        named = re.compile(rf"[\s\-{{,'\"]*{re.escape(key)}['\"]?\s*:")
        found = next((number for number in range(found, len(lines)) if named.match(lines[number])), found)
    return found + 1


def addons_place(root: Path, owner: str, name: str = "", path: str = "") -> tuple[str, int]:
    """Return the file and line of a resource, output or parameter of this name in the addons.

    `path` are the keys to the place below it, joined by "/", as far as the file has them.
    """
    for file in sorted((root / "copilot" / owner / "addons").glob("*.y*ml")):
        text = file.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if name and re.match(rf"\s*['\"]?{re.escape(name)}['\"]?\s*:", line):
                node = None
                with suppress(yaml.YAMLError, RecursionError):
                    node = yaml.compose(text, Loader=manifest.LOADER)
                below = location.below(node, path.split("/")) if node else number
                return file.relative_to(root).as_posix(), max(number, below)
    return f"copilot/{owner}/addons", 1


def _lint(texts: Mapping[str, str]) -> Iterator[LintFinding]:
    """Yield cfn-lint's findings, from the cache where neither the template nor cfn-lint has changed."""
    if not texts:
        return
    linter = hashlib.sha256(_version().encode())
    names: dict[str, str] = {}
    for name, text in texts.items():
        digest = linter.copy()
        digest.update(text.encode())
        names[name] = f"{digest.hexdigest()}.json"
    texts_of = {file: texts[name] for name, file in names.items()}  # environments often share a text
    found: dict[str, list[LintFinding]] = {}
    kept: Path | None = None
    with suppress(OSError):  # there is no cache then
        kept = cache.folder("lint")
    if kept:
        for file in texts_of:
            with suppress(OSError, ValueError, TypeError, RecursionError):
                cache.use(kept / file)
                items = json.loads((kept / file).read_text(encoding="utf-8"))
                found[file] = [LintFinding(**item) for item in items]
    new = {file: text for file, text in texts_of.items() if file not in found}
    linted_now = template_lint.lint(new) if new else []
    for file in new:
        found[file] = [one for one in linted_now if one.template == file]
        with suppress(UserError):  # without the cache, the next run lints again
            if kept:
                write(kept / file, json.dumps([asdict(one) for one in found[file]]), kept)
    for name, file in names.items():
        yield from (replace(one, template=name) for one in found[file])


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 - takes a moment, and most projects have nothing to lint

    try:
        return metadata.version("cfn-lint")
    except metadata.PackageNotFoundError:
        return ""  # template_lint says that it is not installed


RULES = (linted,)
