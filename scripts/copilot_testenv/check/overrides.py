"""Rules on patches, and on Lambda runtimes in the rendered templates."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from copilot_testenv.check.document import entries, line_of
from copilot_testenv.check.finding import Finding, Severity
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import properties
from copilot_testenv.check.templates import addons_place
from copilot_testenv.copilot import manifest, patches, runtimes
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import SettingsError

# Copilot writes it where a count is a range. Source: partials/cf/autoscaling.yml of aws/copilot-cli 1.34
_OF_SCALING = "DynamicDesiredCountFunction"
_KEYS, _OPERATIONS = ("op", "path", "value"), ("add", "remove", "replace")
_POSITION = re.compile(r"/Resources/(\w+)/Properties/ContainerDefinitions/(\d+)(?:/.*)?")


def runtime(project: Project) -> Iterator[Finding]:
    """Find Lambda functions, Copilot's own and those of addons, on a runtime that AWS no longer supports.

    Copilot's own on one runtime are one finding, because they have one cause. It is an error from the day on
    which AWS makes no new function on it.
    """
    causes: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for owner, templates in _by_owner(project).items():
        for function, name in _functions(template.body for template in templates.values()):
            if not runtimes.why_outdated(name, project.today):
                continue
            without = tuple(
                each for each, found in templates.items() if function not in runtimes.functions(found.body)
            )
            causes.setdefault((name, without), []).append((owner, function))
        for addons in {template.addons for template in templates.values() if template.addons}:
            for function, name in _functions([Template(addons, {}).body]):
                if why := runtimes.why_outdated(name, project.today):
                    what = f"the addons' Lambda function {function} runs on {name}: {why}"
                    instead = f"write `Runtime: {runtimes.target()}`, or a later one of its language"
                    place = addons_place(project.root, owner, function)
                    yield Finding(*place, "runtime", _severity(project, name), what, instead)
    for (name, without), functions in causes.items():
        owners = list(dict.fromkeys(owner for owner, _ in functions))
        what = _many(functions, owners, name) + runtimes.why_outdated(name, project.today)
        if without:
            lack = f"{' and '.join(without)} lack{'s' if len(without) == 1 else ''}"
            instead = f"{_equal(functions, without)}: {lack} them, and one list of patches is for all"
        else:
            instead = "`invoke check --fix` writes the patches that raise them"
        severity = "warning" if without else _severity(project, name)
        yield Finding(project.source(owners[0]), 1, "runtime", severity, what, instead)


def _equal(functions: list[tuple[str, str]], without: tuple[str, ...]) -> str:
    """Return what gives each environment the same functions, after which patches can raise them."""
    if {function for _, function in functions} == {_OF_SCALING}:
        spot = "`range: {min: 1, max: 1, spot_from: 1}` on Spot"
        return (
            f"write `count: {{range: 1-1, cpu_percentage: 70}}` under `environments.{without[0]}`, which "
            f"is one task too ({spot}), then `invoke check --fix`"
        )
    return (
        "make the settings equal that cause the difference (imported certificates, autoscaling, aliases), "
        "then `invoke check --fix`, or use a CDK override"
    )


def _many(functions: list[tuple[str, str]], owners: list[str], name: str) -> str:
    if len(functions) == 1:
        return f"the Lambda function {functions[0][1]} of {owners[0]} runs on {name}: "
    return f"{len(functions)} Lambda functions of Copilot's own (in {', '.join(owners)}) run on {name}: "


def _severity(project: Project, name: str) -> Severity:
    return "error" if runtimes.is_refused(name, project.today) else "warning"


def forms(project: Project) -> Iterator[Finding]:
    """Find patches without an operation, a path or a value; Copilot stops at the first.

    Source: internal/pkg/override/patch.go of aws/copilot-cli 1.34
    """
    for owner in (*project.services, patches.ENVIRONMENTS):
        where = f"copilot/{owner}/{patches.FILE.as_posix()}"
        if not _read(project, where):
            continue
        root = yaml.compose(patches.text_of(project.root / where, where), Loader=manifest.LOADER)
        for item in root.value if isinstance(root, yaml.SequenceNode) else ():
            keys = {name: (line_of(key), value) for name, key, value in entries(item)}
            for name, what, instead in _wrong(keys):
                line = keys[name][0] if name in keys else line_of(item)
                yield Finding(where, line, "patch", "error", what, instead)


def _wrong(keys: Mapping[str, tuple[int, yaml.Node]]) -> Iterator[tuple[str, str, str]]:
    """Yield the key that is wrong in a patch, what is wrong, and the cure."""
    texts = {name: str(node.value) for name, (_, node) in keys.items() if isinstance(node, yaml.ScalarNode)}
    operation, path = texts.get("op"), texts.get("path")
    lacks = [name for name in ("op", "path") if name not in keys]
    if operation in {"add", "replace"} and "value" not in keys:
        lacks.append("value")
    for name in lacks:
        near = next(
            iter(difflib.get_close_matches(name, [key.lower() for key in keys if key not in _KEYS], 1)), ""
        )
        written = next((key for key in keys if key.lower() == near), "")
        cure = f"write `{name}` for `{written}`" if written else f"add `{name}`"
        yield written or name, f"the patch lacks `{name}`", cure
    if operation is not None and operation not in _OPERATIONS:
        near = next(iter(difflib.get_close_matches(operation.lower(), _OPERATIONS, 1)), "")
        cure = f"write `op: {near}`" if near else "write one of these"
        yield "op", f"Copilot takes no operation `{operation}`: it takes {', '.join(_OPERATIONS)}", cure
    if path and not path.startswith("/"):
        whole = path if "/" in path else path.replace(".", "/")
        yield "path", f"the path `{path}` does not begin with `/`", f"write `path: /{whole}`"


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


WRITTEN = (forms,)
RULES = (runtime, position)
