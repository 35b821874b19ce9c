"""Rules that keep throw-away data in the test environment, and that find errors in how it is reset there."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.check import running
from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, Severity, in_environments
from copilot_testenv.check.project import Project
from copilot_testenv.check.running import Step
from copilot_testenv.check.task import containers, properties, value, where
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core import documents
from copilot_testenv.state import last_copy

_SOURCE = "STAGE_DATABASE_URL"  # the settings build DATABASES["stage"] from it
_TARGET = "DATABASE_URL"
_REDIS = frozenset({"redis", "valkey", "redis-stack", "redis-stack-server", "keydb", "dragonfly"})


def wiped(project: Project) -> Iterator[Finding]:
    """Find commands that reset or replace a database at a task's start outside the test environment."""
    yield from in_environments(_wiped(project))


def redis(project: Project) -> Iterator[Finding]:
    """Find Redis sidecars outside the test environment: each task would have its own Redis there."""
    yield from in_environments(_redis(project))


def overlapping(project: Project) -> Iterator[tuple[Document, str]]:
    """Yield the manifests whose test environment lacks `rolling: recreate`, with that environment's name."""
    for document, environment, template in project.templates() if project.has_test_profile else ():
        if (
            environment == project.settings.test_env
            and _database_steps(project, document, environment, template)
            and not _recreates(template)
        ):
            yield document, environment


def restarted(project: Project) -> Iterator[Finding]:
    """Find test services that reset a database at start with several tasks, or while the old task runs."""
    for document, environment, template in project.templates():
        if environment != project.settings.test_env:
            continue
        found = _database_steps(project, document, environment, template)
        reset = next((what for _, _, what in found if what != running.COPYING), "")
        if reset:
            yield from _crowded(document, environment, template, reset)
        if found and not _recreates(template):
            severity: Severity = "error" if reset else "warning"
            why = (
                f"and {reset} fails, or takes the database from under it"
                if reset
                else "and its database is replaced and migrated under it"
            )
            line = where(document, environment, "deployment", "rolling")
            what = f"the old task still runs while the new one starts, {why} (in {environment})"
            instead = f"write `deployment: {{rolling: recreate}}` under `environments.{environment}`"
            yield Finding(document.path, line, "rolling", severity, what, instead)


def grace(project: Project) -> Iterator[Finding]:
    """Find grace periods that are too short: ECS stops a task as unhealthy that still copies at their end."""
    settings = project.settings
    longest = last_copy.seconds(settings)
    for document, environment, template in project.templates():
        period = properties(template, "Service").get("HealthCheckGracePeriodSeconds")
        if (
            environment != settings.test_env
            or document is not project.services.get(settings.base)
            or not isinstance(period, int)
            or not _database_steps(project, document, environment, template)
        ):
            continue
        if longest is None:
            project.notes.append("No copy was measured on this machine, so grace periods were not judged.")
            return
        if period >= longest:
            continue
        line = where(document, environment, "http", "healthcheck", "grace_period")
        what = (
            f"the grace period of {period} s is shorter than the last copy of staging's data, which took "
            f"{longest:g} s (in {environment})"
        )
        instead = f"write a `grace_period` under `http.healthcheck` well above it, as in `{_roomy(longest)}s`"
        yield Finding(document.path, line, "grace-period", "error", what, instead)


def source(project: Project) -> Iterator[Finding]:
    """Find test containers that copy staging's database, and lack its address or copy from their own."""
    for document, environment, template in project.templates():
        if environment != project.settings.test_env:
            continue
        copying = {
            name
            for name, _, what in _database_steps(project, document, environment, template)
            if what == running.COPYING
        }
        for each in containers(template):
            if each.name not in copying:
                continue
            given = {**each.variables, **each.secrets}
            in_file = value(document, environment, *each.keys, "env_file")
            line = where(document, environment, *each.keys, "secrets")
            if _SOURCE not in given and not in_file:
                what = f"{each.name} copies staging's database and has no {_SOURCE} (in {environment})"
                example = documents.page("stack.md")
                instead = f"write the secret {_SOURCE} for it and for the service, as {example} has it"
                yield Finding(document.path, line, "copy-source", "warning", what, instead)
            elif _SOURCE in given and given[_SOURCE] == given.get(_TARGET):
                what = f"{each.name} has one address as {_SOURCE} and as {_TARGET} (in {environment})"
                instead = f"give {_SOURCE} the address of staging's database, by a role that can only read"
                yield Finding(document.path, line, "copy-source", "error", what, instead)


def _wiped(project: Project) -> Iterator[tuple[str, Finding]]:
    for document, environment, template in project.templates():
        if environment == project.settings.test_env:
            continue
        for container, step, name in _database_steps(project, document, environment, template):
            what = f"{container} runs `{name}` whenever a task starts, outside of {project.settings.test_env}"
            instead = f"move it to the command under `environments.{project.settings.test_env}`"
            yield environment, Finding(step.path, step.line, "reset", "error", what, instead)


def _redis(project: Project) -> Iterator[tuple[str, Finding]]:
    test = project.settings.test_env
    for document, environment, template in project.templates():
        for each in containers(template) if environment != test else ():
            if not each.main and (each.repository in _REDIS or each.name in _REDIS):
                line = where(document, environment, *each.keys)
                what = f"{each.name} is a Redis of each task's own, and loses all when the task ends"
                instead = (
                    f"move it to `environments.{test}.sidecars`; elsewhere name a server for all tasks, "
                    "such as ElastiCache"
                )
                yield environment, Finding(document.path, line, "redis", "error", what, instead)


def _crowded(document: Document, environment: str, template: Template, reset: str) -> Iterator[Finding]:
    """Find a service with more than one task: each new task resets the database that the others use."""
    scales = any(
        each.get("Type") == "AWS::ApplicationAutoScaling::ScalableTarget"
        for each in template.resources.values()
    )
    instead = f"write `count: 1`, or `count: {{spot: 1}}`, under `environments.{environment}`"
    line = where(document, environment, "count")
    if scales:
        what = f"autoscaling may start tasks at any time, and each runs {reset}"
        yield Finding(document.path, line, "count", "error", f"{what} (in {environment})", instead)
        return
    count = template.parameters.get("TaskCount", "")
    if count.isdecimal() and int(count) > 1:
        what = f"{count} tasks are started, and each runs {reset}"
        yield Finding(document.path, line, "count", "error", f"{what} (in {environment})", instead)


def _recreates(template: Template) -> bool:
    """Return True if the old tasks end before new tasks start; a job has no old tasks."""
    deployment = properties(template, "Service").get("DeploymentConfiguration")
    return not isinstance(deployment, dict) or deployment.get("MaximumPercent") == 100  # noqa: PLR2004 - per cent


def _database_steps(
    project: Project, document: Document, environment: str, template: Template
) -> list[tuple[str, Step, str]]:
    """Return (container, step, name of the command) for each step that resets or copies a database."""
    steps: list[tuple[str, Step, str]] = []
    for each in containers(template):
        before = None
        for step in running.steps(project.root, document, environment, each):
            name = running.resets(step.simple, before) or running.copies(step.simple)
            before = step.simple
            if name:
                steps.append((each.name, step, name))
    return steps


def _roomy(seconds: float) -> int:
    """Return twice that time, rounded up to whole minutes, in seconds."""
    return (int(seconds * 2) // 60 + 1) * 60


RULES = (wiped, redis, restarted, source, grace)
