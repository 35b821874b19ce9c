"""Show the last lines of a deployment's containers: `invoke logs`."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed, Interrupted, UsageError
from copilot_testenv.core.process import catching_signals
from copilot_testenv.session import Session, Target

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack


def logs(session: Session, *, name: str, container: str, limit: str, follow: bool) -> None:
    """Print the last lines of the service's containers.

    Raises Failed where the container is not deployed and has no lines; after a roll-back it still has lines.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}|10000", limit):
        raise UsageError(f"--limit {limit} is not a number of lines from 1 to 10000.")
    session.announce()
    target = session.enter(start=False)
    if target:
        session, target = session.slot_of(target, name)
    stack = target.aws.stack(session.settings.stack_name) if target else None
    if not target or not stack or not (stack.live or stack.changing):
        raise Failed("Nothing is deployed, so there are no logs: `invoke deploy-test --branch B`.")
    missing = _missing_container(session, target, stack, container)
    if missing and follow:
        raise missing
    shown = 0

    def show(line: str) -> None:
        nonlocal shown
        shown += 1
        session.report.data(display.block(line))

    with catching_signals(math.inf, lambda _: None) as stop:
        result = session.shell.stream(
            target.copilot.service_logs(container, int(limit), follow=follow), show, stop.signal_due
        )
    if stop.interrupted:
        raise Interrupted("Interrupted.")
    if not result.ok:
        raise Failed(f"Copilot could not show the logs (exit code {result.returncode}): see the lines above.")
    if missing and not shown:
        raise missing


def _missing_container(session: Session, target: Target, stack: Stack, container: str) -> Failed | None:
    """Return an error where the deployed task definition does not have the container, else None."""
    arn = target.aws.resource(stack.name, "TaskDefinition") if container else None
    if not arn:  # no container was named, or the stack has no task definition yet
        return None
    names = sorted(defined.name for defined in target.aws.task_definition(arn).containers)
    if container in names:
        return None
    return Failed(
        f"{session.settings.service} has no container {container!r}: it has {', '.join(names)}. "
        "Name one of them, or leave out --container."
    )
