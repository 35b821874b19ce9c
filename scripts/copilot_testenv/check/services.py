"""Compare the sidecars that are made of a branch's other services with those services' manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import service_sidecar
from copilot_testenv.copilot.manifest import mapping
from copilot_testenv.core.errors import UserError

_LOCAL = re.compile(r"(?:^|[@/])(?:localhost|127\.0\.0\.1)(?:$|[:/])")
_SHOWN = 4  # differing keys that a finding names


def in_step(project: Project) -> Iterator[Finding]:
    """Find services of the setting `services` that no branch has in test, or has as they were earlier."""
    document = project.services.get(project.settings.base)
    if document:
        for own in project.settings.others:
            yield from _own(project, document, own.base)
        for name in project.settings.companions:
            yield from _judged(project, document, name)


def _own(project: Project, document: Document, name: str) -> Iterator[Finding]:
    """Find a service of `own_services` that cannot be deployed beside the web service."""
    environment, found = project.settings.test_env, project.services.get(name)
    if found is None:
        known = ", ".join(each for each in project.services if each != project.settings.base)
        what = f"`own_services` of the settings names {name}, and the workspace has no such service"
        yield _finding(
            document,
            ("environments", environment),
            what,
            f"write some of {known}" if known else "leave it out there",
        )
    elif found.get("type") not in service_sidecar.OWN_KINDS:
        what = f"`own_services` of the settings names {name}, which is a {found.get('type')}"
        kinds = " or a ".join(service_sidecar.OWN_KINDS)
        yield _finding(found, ("type",), what, f"name a {kinds} there, or leave it out")
    elif name in mapping(document.data, "environments", environment, "sidecars"):
        what = f"{name} is deployed to {environment} (`own_services` of the settings), and is a sidecar too"
        again = (
            f"run `invoke sidecar-config --remove {name} --env {environment}`, or leave it out of the setting"
        )
        yield _finding(document, ("environments", environment, "sidecars", name), what, again)
    elif not mapping(found.data, "environments"):  # blocks.missing finds a missing one among others
        what = f"{name} is deployed to {environment} (`own_services` of the settings) and has no block for it"
        yield _finding(
            found, ("environments",), what, f"write `environments.{environment}`, `{{}}` if nothing differs"
        )
    else:
        yield from _without_server(project, found, name)


def _without_server(project: Project, document: Document, name: str) -> Iterator[Finding]:
    """Find variables that name localhost in a task that has one container: the servers are in web's task."""
    at: tuple[str, ...] = ("environments", project.settings.test_env)
    if mapping(document.data, "sidecars") or mapping(document.data, *at, "sidecars"):
        return
    of_block = mapping(document.data, *at, "variables")
    for key, value in {**mapping(document.data, "variables"), **of_block}.items():
        if isinstance(value, str) and _LOCAL.search(value):
            what = f"{key} names localhost, and the task of {name} has no such server"
            host = (
                f"{project.settings.base}.${{COPILOT_ENVIRONMENT_NAME}}.${{COPILOT_APPLICATION_NAME}}.local"
            )
            where = (*(at if key in of_block else ()), "variables", str(key))
            yield _finding(document, where, what, f"write {host} for a sidecar of the web service")


def _judged(project: Project, document: Document, name: str) -> Iterator[Finding]:
    environment = project.settings.test_env
    at = ("environments", environment, "sidecars")
    if name in mapping(document.data, "sidecars"):
        return  # of every environment, written by hand
    again = f"run `invoke sidecar-config --from-service {name} --env {environment}`"
    if name not in project.services:
        known = ", ".join(each for each in project.services if each != document.data.get("name"))
        what = f"`services` of the settings names {name}, and the workspace has no such service"
        yield _finding(document, at[:2], what, f"write one of {known}" if known else "leave it out there")
        return
    try:
        own = service_sidecar.read(project.root, name, environment)
        host = service_sidecar.read(project.root, project.settings.base, environment)
        made = service_sidecar.make(project.root, own, host, environment).sidecar
    except UserError as error:
        what, _, instead = str(error).rstrip(".").partition(": ")
        yield _finding(document, at[:2], what, instead or "look at its manifest")
        return
    if name not in mapping(document.data, *at):
        what = f"{name} belongs to a branch (`services` of the settings) and has no sidecar in {environment}"
        yield _finding(document, at, what, again)
        return
    differing = service_sidecar.differences(mapping(host.block, "sidecars", name), made)
    if differing:
        more = ", …" if len(differing) > _SHOWN else ""
        what = (
            f"the sidecar {name} is not what {own.path} says now: {', '.join(differing[:_SHOWN])}{more} "
            f"{'differs' if len(differing) == 1 else 'differ'}"
        )
        yield _finding(document, (*at, name), what, again)


def _finding(document: Document, at: tuple[str, ...], what: str, instead: str) -> Finding:
    return Finding(document.path, document.line(*at), "services", "error", what, instead)


RULES = (in_step,)
