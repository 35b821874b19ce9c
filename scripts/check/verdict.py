"""Copilot's own verdict on each service and environment."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.check import containers
from scripts.check.finding import Finding
from scripts.check.project import Project
from scripts.rendering import Refusal


def refused(project: Project) -> Iterator[Finding]:
    """What Copilot will not package, unless a rule tells it with its line.

    A reason that holds in several environments is told once.
    """
    told: dict[tuple[str, str], list[str]] = {}
    for (service, environment), found in project.rendered.items():
        if isinstance(found, Refusal) and not containers.tells(found):
            told.setdefault((service, found.why), []).append(environment)
    for (service, why), names in told.items():
        manifest = project.services[service]
        line = manifest.line("environments", names[0]) if len(names) == 1 else 1
        yield _finding(manifest.path, line, why, names)
    for name, found in project.rendered_environments.items():
        if isinstance(found, Refusal):
            written = project.environments.get(name)
            yield _finding(written.path if written else "copilot/environments", 1, found.why, [name])


def _finding(path: str, line: int, why: str, names: list[str]) -> Finding:
    what = f"Copilot does not deploy this to {', '.join(names)}"
    return Finding(path, line, "copilot", "error", what, f"mend what Copilot names: {why}")


RULES = (refused,)
