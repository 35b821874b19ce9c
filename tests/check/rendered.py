"""A workspace of one service, rendered by the real Copilot, and the lines that a rule should tell."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from copilot_testenv.check import project as projects
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.copilot.templates import Refusal
from copilot_testenv.core.process import Shell
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer

MARK = "# HERE"  # at the end of a line that is to be told
TOP = "name: web\ntype: Load Balanced Web Service\n"
Rule = Callable[[Project], Iterator[Finding]]


def rendered(
    renderer: Renderer,
    settings: Settings,
    manifest: str,
    files: Mapping[str, str] | None = None,
    *,
    environments: Sequence[str] = ("test",),
    shell: Shell | None = None,
) -> Project:
    """The project with this manifest of `web`, below TOP, and these files, as it is in some environments."""
    for path, text in {"copilot/web/manifest.yml": TOP + textwrap.dedent(manifest), **(files or {})}.items():
        file = settings.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    project = projects.read(settings, shell=shell)
    for name in environments:
        project.rendered["web", name] = renderer.service(settings.root, "web", name)
    return replace(project, names=tuple(name for name in project.names if name in environments))


def accepted(project: Project) -> Project:
    """The same; fails where Copilot refuses it, which would hide what a rule does not say."""
    refused = [found.why for found in project.rendered.values() if isinstance(found, Refusal)]
    assert not refused, refused
    return project


def marked(root: Path, *paths: str) -> list[tuple[str, int]]:
    """Where the marks stand."""
    return [
        (path, number)
        for path in paths or ("copilot/web/manifest.yml",)
        for number, line in enumerate((root / path).read_text().splitlines(), 1)
        if line.rstrip().endswith(MARK)
    ]


def places(found: Iterable[Finding]) -> list[tuple[str, int]]:
    return sorted((finding.path, finding.line) for finding in found)
