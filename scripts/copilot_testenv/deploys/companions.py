"""Find containers of a branch's other services (a worker, say) that have ended while the page is served."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from copilot_testenv.copilot.manifest import mapping
from copilot_testenv.core.errors import UserError
from copilot_testenv.deploys.container_log import cause, lines_of_ended, quoted
from copilot_testenv.state import live

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from copilot_testenv.aws.stack import Container, Stack, Task
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target

STEADY_SECONDS = 3.0  # a program that cannot start has ended by then
Ended = tuple["Task", "Container"]


def missing(settings: Settings, manifest: Mapping[str, object], branch: str) -> Iterator[str]:
    """Yield a line for each of the setting `services` that the branch's manifest has no sidecar for."""
    there = {*mapping(manifest, "sidecars")}
    there |= {*mapping(manifest, "environments", settings.test_env, "sidecars")}
    for name in settings.companions:
        if name not in there:
            yield (
                f"{branch} has no sidecar {name} in {settings.test_env}, so nothing does its work there: "
                f"`invoke sidecar-config --from-service {name} --env {settings.test_env}` makes one."
            )


def ended(session: Session, target: Target, stack: Stack, tasks: list[Task], *, wait: bool) -> list[Ended]:
    """Return the containers of the setting `services` that have ended in these tasks; empty: all run.

    With `wait`, look until one has ended, for STEADY_SECONDS; not where the tasks have none of them.
    """
    names = session.settings.companions
    if not names or not any(container.name in names for task in tasks for container in task.containers):
        return []
    end = time.monotonic() + STEADY_SECONDS
    while True:
        found = stopped(session.settings, tasks)
        if found or not wait or time.monotonic() > end:
            return found
        time.sleep(0.2 if session.settings.target == "sandbox" else 1)
        tasks = live.running(target, stack)


def stopped(settings: Settings, tasks: list[Task]) -> list[Ended]:
    """Return the containers of the setting `services` that are stopped in these tasks."""
    return [
        (task, container)
        for task in tasks
        for container in task.containers
        if container.name in settings.companions and container.status == "STOPPED"
    ]


def how(container: Container) -> str:
    """Return how a container has ended: its exit code, else ECS's reason."""
    if container.exit_code is None:
        return f"({container.reason})" if container.reason else ""
    return f"with exit code {container.exit_code}"


def wrong(session: Session, target: Target, url: str | None, found: list[Ended]) -> str:
    """Return what has ended, why, and its last lines."""
    task, container = found[0]
    try:
        lines = lines_of_ended(target.aws, session.settings, container.name, task)
    except UserError as error:
        lines = [f"(its log cannot be read: {error})"]
    why = f": {reason}" if (reason := cause(lines)) else ""
    others = f" So has {', '.join(each.name for _, each in found[1:])}." if found[1:] else ""
    text = (
        f"the container `{container.name}` has ended {how(container)}{why}.{others} {url} answers, but "
        "nothing does what it queues: correct that and deploy again. Its last lines:"
    )
    return "\n".join([text, *quoted(lines)])
