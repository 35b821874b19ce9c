"""Find host names and stack exports of other environments that the test environment uses."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import Keys, containers, where
from copilot_testenv.copilot import aliases
from copilot_testenv.core.protection import folded


def host_names(project: Project) -> Iterator[Finding]:
    """Find the test environment's host names that come from the base or belong to another environment too."""
    test = project.settings.test_env
    for document in project.services.values():
        blocks = document.get("environments")
        if not isinstance(blocks, dict) or not isinstance(blocks.get(test), dict):
            continue
        for alias in aliases.of(document.data, test):
            line = document.line(*alias.keys)
            if alias.inherited:
                what = f"{test} has the host name {alias.name} of the base, which is another environment's"
                instead = aliases.instead(alias, test)
            elif other := _other(project, alias.name):
                what = f"{test} has the host name {alias.name}, which {other} has too"
                instead = f"write a name that only {test} has, or none"
            else:
                continue
            yield Finding(document.path, line, "alias", "error", what, instead)


def exports(project: Project) -> Iterator[Finding]:
    """Find variables and secrets of the test environment that import another environment's exports."""
    settings = project.settings
    others = {*project.names, *settings.protected_envs} - {settings.test_env}
    for document, environment, template in project.templates():
        if environment != settings.test_env:
            continue
        for each in containers(template):
            for section, given in (("variables", each.variables), ("secrets", each.secrets)):
                for name, value in given.items():
                    export = value.get("Fn::ImportValue") if isinstance(value, dict) else None
                    if not isinstance(export, str):
                        continue
                    if other := _owner(settings.app, export, others):
                        yield _finding(document, environment, (*each.keys, section, name), export, other)


def _finding(document: Document, environment: str, keys: Keys, export: str, other: str) -> Finding:
    own = (
        f"${{COPILOT_APPLICATION_NAME}}-${{COPILOT_ENVIRONMENT_NAME}}-{export.split(other, 1)[1].lstrip('-')}"
    )
    what = f"{keys[-1]} is the export {export} of {other} (in {environment})"
    instead = f"write `from_cfn: {own}`, or a value of {environment}'s own"
    return Finding(document.path, where(document, environment, *keys), "export", "error", what, instead)


def _owner(app: str, export: str, others: set[str]) -> str:
    """Return the other environment whose stack has this export; empty if there is none."""
    low = export.casefold()
    return next((name for name in sorted(others) if low.startswith(f"{app}-{folded(name)}-")), "")


def _other(project: Project, name: str) -> str:
    """Return the first "service in environment" with this host name or a wildcard that matches it."""
    for service, document in project.services.items():
        for environment in project.names:
            if environment == project.settings.test_env:
                continue
            if any(aliases.clash(name, alias.name) for alias in aliases.of(document.data, environment)):
                return f"{service} in {environment}"
    return ""


RULES = (exports,)
WRITTEN = (host_names,)
