"""Rules on Lambda runtimes in the rendered templates, and on patches that change the wrong container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import properties
from copilot_testenv.copilot import patches, runtimes
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import SettingsError

_POSITION = re.compile(r"/Resources/(\w+)/Properties/ContainerDefinitions/(\d+)(?:/.*)?")


def runtime(project: Project) -> Iterator[Finding]:
    """Find Lambda functions, Copilot's own and those of addons, on a runtime that AWS no longer supports."""
    for owner, templates in _by_owner(project).items():
        for function, name in _functions(template.body for template in templates.values()):
            why = runtimes.why_outdated(name, project.today)
            if why:
                yield Finding(
                    project.source(owner),
                    1,
                    "runtime",
                    "error",
                    f"the Lambda function {function} runs on {name}: {why}",
                    "`invoke check --fix` writes the patch that raises it",
                )
        for addons in {template.addons for template in templates.values() if template.addons}:
            body = Template(addons, {}).body
            for function, name in _functions([body]):
                why = runtimes.why_outdated(name, project.today)
                if why:
                    yield Finding(
                        f"copilot/{owner}/addons",
                        1,
                        "runtime",
                        "error",
                        f"the addons' Lambda function {function} runs on {name}: {why}",
                        f"write `Runtime: {runtimes.target()}`, or a later one of its language",
                    )


def position(project: Project) -> Iterator[Finding]:
    """Find patches that name a container by an index that means different containers in the environments.

    A sidecar that only one environment has shifts the indexes there.
    """
    for service in project.services:
        where = f"copilot/{service}/{patches.FILE.as_posix()}"
        for patch in _read(project, where):
            match = _POSITION.fullmatch(patch.path)
            if not match:
                continue
            hit = {
                environment: names[int(match[2])] if int(match[2]) < len(names) else "none"
                for (of_service, environment), template in project.rendered.items()
                if of_service == service and isinstance(template, Template)
                for names in [_containers(template, match[1])]
            }
            if len(set(hit.values())) > 1:
                yield Finding(
                    where,
                    patch.begin + 1,
                    "position",
                    "error",
                    f"the patch at {patch.path} hits another container in each environment: "
                    + ", ".join(f"{container} in {name}" for name, container in sorted(hit.items())),
                    "write it in the manifest (`taskdef_overrides` or the container's own keys), or give all "
                    "environments the same sidecars",
                )


def _by_owner(project: Project) -> dict[str, dict[str, Template]]:
    templates: dict[str, dict[str, Template]] = {}
    for owner, environment, stack in project.stacks():
        if isinstance(stack, Template):
            templates.setdefault(owner, {})[environment] = stack
    return templates


def _functions(bodies: Any) -> list[tuple[str, str]]:
    return sorted({pair for body in bodies for pair in runtimes.functions(body).items()})


def _containers(template: Template, task: str) -> list[str]:
    listed = properties(template, task).get("ContainerDefinitions")
    return (
        [str(container.get("Name")) for container in listed if isinstance(container, dict)]
        if isinstance(listed, list)
        else []
    )


def _read(project: Project, where: str) -> list[patches.Patch]:
    """Return the patches of a file; empty where it cannot be read, because Copilot reports that."""
    file = project.root / where
    if not file.is_file():
        return []
    try:
        return patches.read(patches.text_of(file, where), where)
    except SettingsError:
        return []


RULES = (runtime, position)
