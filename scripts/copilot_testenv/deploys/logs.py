"""Show the last lines of a deployment's containers: `invoke logs`."""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.core import display, strict_json
from copilot_testenv.core.errors import Failed, Interrupted, UsageError
from copilot_testenv.core.process import catching_signals
from copilot_testenv.core.strict_json import Malformed
from copilot_testenv.deploys import companions, container_log, nothing, slot_services
from copilot_testenv.session import Session, Target
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack, Task

_MOST = 10_000  # lines that Copilot shows at most
_PER_LINE = 20  # lines that are read for each line to show
_TASK_LETTERS = 8  # of a task's id, enough to tell two tasks apart


@dataclass(frozen=True)
class Options:
    """The flags of `logs`."""

    branch: str = ""
    service: str = ""  # of the slot; empty: its web service
    container: str = ""
    limit: str = "100"  # lines
    follow: bool = False
    all_tasks: bool = False  # stopped ones too
    health_checks: bool = False  # show the load balancer's requests too


def logs(session: Session, options: Options) -> None:
    """Print the last lines of the service's containers.

    Raises Failed where the container is not deployed and has no lines; after a roll-back it still has lines.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}|10000", options.limit):
        raise UsageError(f"--limit {options.limit} is not a number of lines from 1 to {_MOST}.")
    session.announce()
    target = session.enter(start=False)
    if target:
        session, target = session.slot_of(target, options.branch)
        session, target = slot_services.chosen(session, target, options.service)
    stack = target.aws.stack(session.settings.stack_name) if target else None
    if not target or not stack or not (stack.live or stack.changing):
        raise nothing.deployed(session, target, ", so there are no logs")
    missing = _missing_container(session, target, stack, options.container)
    if missing and options.follow:
        raise missing
    tasks = live.running(target, stack)
    if options.follow:
        _tell_ended(session, tasks)
    shown = _show(session, target, tasks, options)
    if missing and not shown:
        raise missing
    if not options.follow:
        _tell_ended(session, tasks)


def _tell_ended(session: Session, tasks: list[Task]) -> None:
    """Say which of the branch's other services have ended in the running tasks."""
    for task, container in companions.stopped(session.settings, tasks):
        session.report.say(
            f"{container.name} has ended {companions.how(container)} in the task {task.id[:_TASK_LETTERS]}, "
            "which goes on without it: `deploy-test --force` starts it again."
        )


def _show(session: Session, target: Target, running: list[Task], options: Options) -> int:
    """Print the lines of the log, and return their number. Raises Failed, Interrupted."""
    tasks = [] if options.all_tasks else [task.id for task in running]
    limit = int(options.limit)
    # Health checks are left out here, so more lines are read than are shown.
    read = limit if options.health_checks else min(_MOST, limit * _PER_LINE)
    deployer, follow = session.deployer(target), options.follow
    lines: deque[str] = deque(maxlen=limit)

    def hear(event: str) -> None:
        line = _line(event)
        if line.is_health_check and not options.health_checks:
            return
        lines.append(line.text)
        if options.follow:
            session.report.data(line.text)

    with catching_signals(math.inf, lambda _: None) as stop:
        result = deployer.logs(options.container, read, tasks, hear, stop.signal_due, follow=follow)
    if lines and not options.follow:
        session.report.data("\n".join(lines))
    if stop.interrupted:
        raise Interrupted("Interrupted.")
    if not result.ok:
        raise Failed(f"The logs could not be shown (exit code {result.returncode}): see the lines above.")
    return len(lines)


@dataclass(frozen=True)
class _Line:
    text: str
    is_health_check: bool


def _line(event: str) -> _Line:
    """Return an event of `copilot svc logs --json` as a line with its time, container and task.

    What is no event, such as a line of Copilot's own, is shown as it is.
    """
    try:
        found = strict_json.document(event.encode(), len(event) * 4)
        stream, message = str(found["logStreamName"]), str(found["message"]).rstrip("\n")
        when = datetime.fromtimestamp(int(found["timestamp"]) / 1000, UTC)
    except (Malformed, KeyError, TypeError, ValueError, OverflowError, OSError):
        return _Line(display.block(event), is_health_check=False)
    time = f"{when.astimezone():%H:%M:%S}" if sys.stdout.isatty() else live.iso(when)
    container, _, task = stream.removeprefix("copilot/").partition("/")
    head = display.line(f"{time} {container}/{task[:_TASK_LETTERS]}")
    return _Line(f"{head} {display.block(message)}", container_log.is_health_check(message))


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
