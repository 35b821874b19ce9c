"""Report what Copilot itself refuses of each service and environment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from copilot_testenv.check import containers, location, templates
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import patches
from copilot_testenv.copilot.templates import Refusal
from copilot_testenv.core.errors import SettingsError

_LACKING = "StandInLacks"  # in copilot_sandbox.stand_in: what Copilot asked for has no answer there
_PATCH = re.compile(r'unable to apply the "\w+" patch at index (\d+)')


def refused(project: Project) -> Iterator[Finding]:
    """Find stacks that Copilot refuses to package, unless another rule reports the reason with its line.

    A reason that holds in several environments is reported once.
    """
    environments: dict[tuple[str, str], list[str]] = {}
    for owner, environment, found in project.stacks():
        if isinstance(found, Refusal) and _LACKING in found.why:
            project.notes.append(f"{owner} was not judged in {environment}: Copilot asked AWS for more.")
        elif isinstance(found, Refusal) and not containers.is_reported(found):
            reason = _without_environment(found.why, environment)
            environments.setdefault((owner, reason), []).append(environment)
    for (owner, why), names in environments.items():
        manifest = project.services.get(owner) or project.environments.get(names[0])
        line = location.of_verdict(manifest, names, why) if manifest else 1
        place = (manifest.path if manifest else "copilot/environments", line)
        yield _finding(project, owner, place, why, names)


def _without_environment(why: str, environment: str) -> str:
    """Return Copilot's reason without the name of the environment that Copilot packaged for."""
    patch = _PATCH.search(why)
    if patch:
        return why[patch.start() :]
    name = re.escape(environment)
    why = re.sub(rf' (?:against|to) environment "?{name}"?(?=[:,])', "", why)
    return re.sub(rf'\b(env|environment) "?{name}"?(?![\w-])', r"the \1", why)


def _finding(project: Project, owner: str, place: tuple[str, int], why: str, names: list[str]) -> Finding:
    """Return the finding at the patch that does not apply, else at `place` in the manifest."""
    what, instead = (
        f"Copilot does not deploy this to {', '.join(names)}",
        f"correct what Copilot names: {why}",
    )
    match = _PATCH.search(why)
    if match:
        where = f"copilot/{owner}/{patches.FILE.as_posix()}"
        try:
            patch = patches.read(patches.text_of(project.root / where, where), where)[int(match[1])]
        except (SettingsError, IndexError):
            return Finding(where, 1, "patch", "error", what, instead)
        what = f"the patch at {patch.path} misses in {', '.join(names)}, so Copilot does not deploy"
        instead = (
            "`invoke check --fix` removes it"
            if patch.function
            else f"remove it, or correct its path ({why[match.end() :].strip(': ')})"
        )
        line = _line_with(project.root / where, [patch.path], patch.begin)
        return Finding(where, line, "patch", "error", what, instead)
    manifest = project.services.get(owner)
    if manifest and ("taskdef_overrides" in why or "task definition overrides" in why):
        line = place[1] if "taskdef_overrides" in why else _of_override(manifest, why)
        place = (manifest.path, line)
    elif elsewhere := _in_addons(project, owner, why) or _in_overrides(project, owner, why):
        instead = f"correct what Copilot names: {why.replace(f'{project.root}/', '')}"
        return Finding(*elsewhere[:2], elsewhere[2], "error", what, instead)
    return Finding(*place, "copilot", "error", what, instead)


def _in_addons(project: Project, owner: str, why: str) -> tuple[str, int, str] | None:
    """Return file, line and rule of what Copilot refuses of addons; None where it is about something else."""
    if "addons" not in why or not (project.root / "copilot" / owner / "addons").is_dir():
        return None
    named = re.search(r'"(\w+)"', why[why.index("addons") :])
    place = templates.addons_place(project.root, owner, named[1] if named else "")
    if place[1] == 1:
        place = templates.addons_place(project.root, owner, "Parameters")
    return *place, "copilot"


def _in_overrides(project: Project, owner: str, why: str) -> tuple[str, int, str] | None:
    """Return file, line and rule of what Copilot refuses of overrides; None where it is something else."""
    if "overrides" not in why and "override template" not in why:
        return None
    overrides = Path(f"copilot/{owner}/overrides")
    file = project.root / "copilot" / owner / patches.FILE
    if not file.is_file():
        return overrides.as_posix(), 1, "patch"
    line = _line_of_patch(file, re.findall(r'"([^"]+)"', why))
    return (overrides / patches.FILE.name).as_posix(), line, "patch"


def _of_override(manifest: Document, why: str) -> int:
    """Return the line of the item of `taskdef_overrides` whose path Copilot names, else of the list."""
    listed = manifest.get("taskdef_overrides")
    parts = set(re.findall(r"[\w.\[\]-]+", why))
    for number, item in enumerate(listed if isinstance(listed, list) else ()):
        path = str(item.get("path", "")) if isinstance(item, dict) else ""
        if not path:
            return manifest.line("taskdef_overrides", number)
        if parts & {path, *path.split(".")}:
            return manifest.line("taskdef_overrides", number, "path")
    return manifest.line("taskdef_overrides")


def _line_of_patch(file: Path, quoted: list[str]) -> int:
    """Return the line at which a file of patches is no YAML, or has a patch without an operation."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        read = patches.read(text, file.name)
    except SettingsError as error:
        return location.of_yaml(file, str(error))
    unnamed = [patch.begin + 1 for patch in read if patch.operation == "None" or patch.path == "None"]
    return unnamed[0] if unnamed else _line_with(file, quoted)


def _line_with(file: Path, words: list[str], begin: int = 0) -> int:
    """Return the line after `begin` that has one of these words as a value; the first where none has."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for word in words:
        value = re.compile(rf":\s*['\"]?{re.escape(word)}['\"]?\s*(#.*)?$")
        if found := [number for number, line in enumerate(lines, 1) if number > begin and value.search(line)]:
            return found[0]
    return begin + 1


RULES = (refused,)
