"""Watch a stack while Copilot deploys it: its containers, its failures, and when it has settled."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.aws.stack import tag_text
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.process import Result

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Event, Stack, Task
    from copilot_testenv.session import Session

LAST_LINES = 30
LONG_AGO = datetime.min.replace(tzinfo=UTC)
# Escape sequences of a terminal: colours and cursor movements.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Watcher:
    """Watch the stack while Copilot works.

    It reports each container that starts or stops, and keeps the log of a failed one at once, because a
    roll-back deletes a new service's log group.
    """

    session: Session
    aws: Aws
    tags: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    failed: dict[str, tuple[Task, list[str]]] = field(default_factory=dict)
    unstarted: str = ""  # why a task ended before one of its containers ran: a missing secret, for example
    reported: dict[tuple[str, str], str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    remembered: bool = False
    events: list[Event] = field(default_factory=list)
    _since: datetime = LONG_AGO  # AWS's clock, not this machine's
    _changed_at: datetime | None = None
    _known: set[str] = field(default_factory=set)
    _ours: bool = False
    _looks_settled: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def keep(self, line: str) -> None:
        """Keep one of Copilot's lines."""
        self.lines.append(line)

    def __enter__(self) -> None:
        """Record the stack's present state, and start to watch."""
        name = self.session.settings.stack_name
        stack = self.aws.stack(name)
        if stack:
            self._changed_at = stack.changed_at
            self._since = max((event.at for event in self.aws.events(name, self._since)), default=self._since)
            self._known = {task.id for task in self._tasks()}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)

    def signal_due(self) -> signal.Signals | None:
        """Return SIGTERM once this deploy's change of the stack has settled and Copilot still waits.

        Copilot polls every two to four seconds. It can miss the end of an ECS deployment, and then waits for
        ever; it has nothing else to do by then. Not SIGINT, which makes it roll back. Source:
        internal/pkg/stream/ecs.go and internal/pkg/deploy/cloudformation/cloudformation.go of aws/copilot-cli
        1.34.
        """
        return signal.SIGTERM if self._looks_settled > 1 else None

    def why(self, result: Result | None = None) -> str:
        """Return the failed container's last lines and the first failed event, as far as they are known."""
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)
        with suppress(UserError):  # without AWS, report what is known until now
            self._look()
        parts: list[str] = []
        if self.failed:
            task, lines = list(self.failed.values())[-1]
            container = task.failed_container
            name = container.name if container else "?"
            code = container.exit_code if container else None
            ended = f"ended with exit code {code}" if code is not None else (container and container.reason)
            parts.append(f"The container `{name}` {ended or task.stopped_reason}. Its last lines:")
            parts += [f"  {line}" for line in lines] or ["  (it wrote none)"]
            if task.stopped_reason:
                parts.append(f"The task stopped: {task.stopped_reason}")
        elif self.unstarted:
            parts.append(f"A task did not start: {self.unstarted}")
        elif self.unfinished:
            parts.append(f"The container `{self.session.settings.service}` was not healthy. Its last lines:")
            parts += [f"  {line}" for line in self.unfinished]
        first = next(
            (e for e in self.events if e.status.endswith("_FAILED") and "cancelled" not in e.reason), None
        )
        if first:
            parts.append(
                f"The first failed CloudFormation event: {first.resource} {first.status}: {first.reason}"
            )
        if not parts and result:
            parts.append("Copilot's last lines:")
            parts += [f"  {line}" for line in _plain(self.lines)[-25:]]
        return "".join(f"\n{part}" for part in parts)

    def remember_unfinished(self) -> None:
        """Keep the service's last lines before a roll-back deletes them."""
        self.remembered = True
        service = self.session.settings.service
        with suppress(UserError):
            for task in self._tasks():
                if task.id not in self._known and task.status == "RUNNING":
                    self.unfinished = self._last_lines(service, task) or self.unfinished

    def _watch(self) -> None:
        pause = 0.5 if self.session.settings.target == "sandbox" else 5.0
        reported = ""
        # Two checks in a row decide that the stack has settled; in the sandbox there is no pause between
        # them.
        while not self._over.wait(0.02 if self._looks_settled and pause < 1 else pause):
            try:
                self._look()
                reported = ""
            except UserError as error:
                if str(error) != reported:
                    reported = str(error)
                    self.session.report.say(f"(The deploy could not be checked just now: {error})")

    def carried_by(self, stack: Stack) -> bool:
        """Return True if the stack has this deploy's tags, its time among them."""
        return all(stack.tags.get(name) == tag_text(tag) for name, tag in self.tags.items())

    def _look(self) -> None:
        settings = self.session.settings
        stack = self.aws.stack(settings.stack_name)
        # While an old stack is deleted before it is created again, or another run changes it, its tags
        # differ.
        if stack and self.carried_by(stack) and (stack.changing or stack.changed_at != self._changed_at):
            self._ours = True
        settled = self._ours and stack and not stack.status.endswith("_IN_PROGRESS")
        self._looks_settled = self._looks_settled + 1 if settled else 0
        self.events = self.aws.events(settings.stack_name, self._since) or self.events
        for task in self._tasks():
            if task.id in self._known:
                continue
            for container in task.containers:
                state = container.status + (f" ({container.exit_code})" if container.exit_code else "")
                if container.status == "RUNNING" and container.reason:  # only the sandbox gives a reason here
                    state += f": {container.reason}"
                if self.reported.get((task.id, container.name)) != state:
                    self.reported[task.id, container.name] = state
                    self.session.report.say(f"  task {task.id[:8]}: {container.name} {state}")
            failed = task.failed_container
            if task.status == "STOPPED" and not failed and not task.started_at:
                self.unstarted = task.stopped_reason or self.unstarted
            if task.status == "STOPPED" and failed and task.id not in self.failed:
                self.failed[task.id] = (task, self._last_lines(failed.name, task))

    def _last_lines(self, container: str, task: Task) -> list[str]:
        settings = self.session.settings
        group = f"/copilot/{settings.app}-{settings.test_env}-{settings.service}"
        return self.aws.last_lines(group, f"copilot/{container}/{task.id}", LAST_LINES)

    def _tasks(self) -> list[Task]:
        service = self.aws.service(self.session.settings.stack_name)
        return self.aws.tasks(*service) if service else []


def _plain(lines: list[str]) -> list[str]:
    """Return Copilot's lines without escapes, empty lines and the notes of the sandbox's builder."""
    plain = [_ESCAPES.sub("", line).strip() for line in lines]
    return [line for line in plain if line and not line.startswith("sandbox: not done here")]
