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
        line = _line_with(project.root / where, [patch.path])
        return Finding(where, line if line > 1 else patch.begin + 1, "patch", "error", what, instead)
    manifest = project.services.get(owner)
    if "task definition overrides" in why and manifest:
        line = _of_override(manifest, why)
        return Finding(manifest.path, line, "copilot", "error", what, instead)
    if "addons" in why and (project.root / "copilot" / owner / "addons").is_dir():
        named = re.search(r'"(\w+)"', why[why.index("addons") :])
        place = templates.addons_place(project.root, owner, named[1] if named else "")
        if place[1] == 1:
            place = templates.addons_place(project.root, owner, "Parameters")
        return Finding(*place, "copilot", "error", what, instead)
    if "overrides" in why or "override template" in why:
        overrides = Path(f"copilot/{owner}/overrides")
        file = project.root / "copilot" / owner / patches.FILE
        quoted = re.findall(r'"([^"]+)"', why)
        line = _line_with(file, quoted) if file.is_file() else 1
        place = ((overrides / patches.FILE.name if file.is_file() else overrides).as_posix(), line)
        why = why.replace(f"{project.root}/", "")
        return Finding(*place, "patch", "error", what, f"correct what Copilot names: {why}")
    return Finding(*place, "copilot", "error", what, instead)


def _of_override(manifest: Document, why: str) -> int:
    """Return the line of the item of `taskdef_overrides` whose path Copilot names, else of the list."""
    listed = manifest.get("taskdef_overrides")
    parts = set(re.findall(r"[\w.\[\]-]+", why))
    for number, item in enumerate(listed if isinstance(listed, list) else ()):
        path = str(item.get("path")) if isinstance(item, dict) else ""
        if parts & {path, *path.split(".")}:
            return manifest.line("taskdef_overrides", number, "path")
    return manifest.line("taskdef_overrides")


def _line_with(file: Path, words: list[str]) -> int:
    """Return the line of a patch that has one of these words as a value; 1 where there is none."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for word in words:
        value = re.compile(rf":\s*['\"]?{re.escape(word)}['\"]?\s*(#.*)?$")
        if found := [number for number, line in enumerate(lines, 1) if value.search(line)]:
            return found[0]
    return 1


RULES = (refused,)
