"""Run cfn-lint on the templates that Copilot renders; its findings are cached per user, by digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata

from copilot_testenv.check.finding import Finding, Severity
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import template_lint
from copilot_testenv.copilot.template_lint import LintFinding
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core import cache
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.files import write

_SEVERITIES: dict[str, Severity] = {"error": "error", "warning": "warning"}  # hints of cfn-lint are left out
_RUNTIMES = {"E2531", "W2531"}  # Lambda runtimes: overrides.runtime reports them and says how to correct them


def linted(project: Project) -> Iterator[Finding]:
    """Yield cfn-lint's findings, except in Copilot's own part; each is reported once for all environments.

    Raises SettingsError where cfn-lint is not installed.
    """
    texts: dict[str, str] = {}
    owners: dict[str, str] = {}
    for owner, environment, template in project.stacks():
        if not isinstance(template, Template):
            continue
        texts[f"{owner} {environment}"], owners[f"{owner} {environment}"] = template.text, owner
        if template.addons:
            texts[f"{owner} {environment} addons"] = template.addons
            owners[f"{owner} {environment} addons"] = owner
    reported = set()
    for found in _lint(texts):
        severity = _SEVERITIES.get(found.severity)
        if found.copilots_own or severity is None or found.rule in _RUNTIMES:
            continue
        owner = owners[found.template]
        path, line = _place(project, owner, found, addons=found.template.endswith(" addons"))
        what = f"cfn-lint {found.rule} at {found.path or 'the template'}: {' '.join(found.message.split())}"
        if (path, line, what) not in reported:
            reported.add((path, line, what))
            yield Finding(
                path,
                line,
                "cfn-lint",
                severity,
                what,
                "correct it in the manifest, the override patches or the addons that it comes from",
            )


def _place(project: Project, owner: str, found: LintFinding, *, addons: bool) -> tuple[str, int]:
    """Return the file and line of the resource in the addons, else the patches, else the manifest."""
    if addons:
        folder = project.root / "copilot" / owner
        key = re.escape(found.path.split("/")[1]) if "/" in found.path else ""
        for file in sorted((folder / "addons").glob("*.y*ml")):
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            for number, line in enumerate(lines, 1):
                if key and re.match(rf"\s+['\"]?{key}['\"]?\s*:", line):
                    return file.relative_to(project.root).as_posix(), number
        return f"copilot/{owner}/addons", 1
    return project.source(owner), 1


def _lint(texts: Mapping[str, str]) -> Iterator[LintFinding]:
    """Yield cfn-lint's findings, from the cache where neither the template nor cfn-lint has changed."""
    linter = hashlib.sha256(_version().encode())
    names: dict[str, str] = {}
    for name, text in texts.items():
        digest = linter.copy()
        digest.update(text.encode())
        names[name] = f"{digest.hexdigest()}.json"
    try:
        kept = cache.folder("lint")
    except OSError:  # there is no cache then
        yield from template_lint.lint(texts)
        return
    new: dict[str, str] = {}
    for name, file in names.items():
        try:
            cache.use(kept / file)
            for item in json.loads((kept / file).read_text(encoding="utf-8")):
                yield LintFinding(**{**item, "template": name})
        except (OSError, ValueError, TypeError, RecursionError):
            new[name] = texts[name]
    if not new:
        return
    found = template_lint.lint(new)
    yield from found
    with suppress(UserError):  # without the cache, the next run lints again
        for name in new:
            text = json.dumps([asdict(one) for one in found if one.template == name])
            write(kept / names[name], text, kept)


def _version() -> str:
    try:
        return metadata.version("cfn-lint")
    except metadata.PackageNotFoundError:
        return ""  # template_lint says that it is not installed


RULES = (linted,)
