"""Watch a stack while Copilot deploys it: its containers, its failures, and when it has settled."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.aws.stack import tag_text
from copilot_testenv.core.errors import UserError
from copilot_testenv.core.process import Result
from copilot_testenv.core.terminal import SILENCE_SECONDS
from copilot_testenv.deploys.container_log import cause, is_lasting, last_lines, quoted
from copilot_testenv.deploys.health_watch import HealthWatch
from copilot_testenv.deploys.phases import Phases
from copilot_testenv.deploys.placement_watch import PlacementWatch, placement_cure
from copilot_testenv.deploys.task_advice import advice

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Event, Stack, Task
    from copilot_testenv.session import Session

LONG_AGO = datetime.min.replace(tzinfo=UTC)
# ECS's reasons for tasks that it ends although nothing is wrong with them.
_ENDED = re.compile(r"Scaling activity|[Tt]ask stopped by user|service was deleted")
_ESSENTIAL = re.compile("Essential container")
# ECS's and CloudFormation's reasons that only follow from a container's end.
_FOLLOWS = re.compile(r"^Essential container in task exited|dependency graph: .*STOPPED|Circuit Breaker was")
_UNHEALTHY = re.compile("health checks? in|container health checks")
_BEGUN = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")  # what Copilot can still cancel
_REFUSALS = (2, 3)  # exit codes of copy_stage_db: a wrong setting, a guard
_BY_SIGNAL = 126  # a shell's exit codes for programs that are not there, and for signals, begin here
# Escape sequences of a terminal: colours and cursor movements.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# The sandbox's builder about a step that installed nothing, or not all, and about another Python.
_MISSING = re.compile(r"sandbox: (line \d+|\S+ is Python )")
# Copilot's and the builder's lines of every build; Copilot repeats a build that fails ten times.
_BUILDING = "Building your container image "
_NOISE = re.compile(rf"sandbox: |{_BUILDING}")


@dataclass
class Watcher:
    """Watch the stack while Copilot works.

    It reports each phase and each container that fails, and keeps the log of a failed one at once, because a
    roll-back deletes a new service's log group.
    """

    session: Session
    aws: Aws
    tags: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    failed: dict[str, tuple[Task, str, list[str]]] = field(default_factory=dict)  # with the container's name
    reported: dict[tuple[str, str], str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)
    notes: set[str] = field(default_factory=set)
    cause: str = ""  # of the failure; see `why`
    remembered: bool = False
    lasting: str = ""  # the error of the container that migrates, where each further try has it too
    events: list[Event] = field(default_factory=list)
    events_of_service: list[str] = field(default_factory=list)
    _since: datetime = LONG_AGO  # AWS's clock, not this machine's
    _changed_at: datetime | None = None
    _known: set[str] = field(default_factory=set)
    _ours: bool = False
    _looks_settled: int = 0
    _activity: str = ""  # of this deploy's containers
    _stopped: str = ""  # the end of a task that was told last
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _begun: float = field(default_factory=time.monotonic)
    _said_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Make the watches of the tasks' health and placement, and of the phases."""
        self.health = HealthWatch(self.session, self.aws, self._say, self._since)
        self.placement = PlacementWatch(self.session, self.aws, self._say, self._since)
        self.phases = Phases(self.session, self.aws, self._say)

    def keep(self, line: str) -> None:
        """Keep one of Copilot's lines. Report what the sandbox's builder could not install, once."""
        self.lines.append(line)
        plain = _ESCAPES.sub("", line).strip()
        if plain.startswith(_BUILDING):
            self.phases.tell("building the image")
        if _MISSING.match(plain) and plain not in self.notes:
            self.notes.add(plain)
            self.session.report.say(f"  {plain}")

    def __enter__(self) -> None:
        """Record the stack's present state, and start to watch."""
        name = self.session.settings.stack_name
        stack = self.aws.stack(name)
        if stack:
            self._changed_at = stack.changed_at
            self._since = max((event.at for event in self.aws.events(name, self._since)), default=self._since)
            self._known = {task.id for task in self._tasks()}
            self.health.since = self.placement.since = self._since
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)

    def signal_due(self) -> signal.Signals | None:
        """Return SIGTERM once this deploy's change of the stack has settled and Copilot still waits.

        Return SIGINT, at which Copilot rolls back, where the deploy cannot succeed any more.

        Copilot polls every two to four seconds. It can miss the end of an ECS deployment, and then waits for
        ever; it has nothing else to do by then. Not SIGINT, which makes it roll back. Source:
        internal/pkg/stream/ecs.go and internal/pkg/deploy/cloudformation/cloudformation.go of aws/copilot-cli
        1.34.
        """
        if self._looks_settled:
            return signal.SIGTERM if self._looks_settled > 1 else None
        if self.lasting:
            return signal.SIGINT
        hopeless = self.placement.hopeless or self.health.hopeless
        if not hopeless:
            return None
        if not self.remembered:
            self.remember_unfinished()
            what = "no task of it starts" if self.placement.hopeless else "it does not become healthy"
            self._say(f"  the deploy is ended: {what}: {hopeless}")
        return signal.SIGINT

    def why(self, result: Result | None = None) -> str:
        """Return why the deploy failed, as far as it is known: a container, the task, ECS, CloudFormation.

        Keep the first of these lines as `cause`.
        """
        self._over.set()
        if self._thread:
            self._thread.join(timeout=30)
        with suppress(UserError):  # without AWS, report what is known until now
            self._look()
        parts: list[str] = []
        reason = self.health.hopeless or self.health.reason
        events = self.events_of_service or self.health.events()
        if self.placement.reason:
            parts.append(f"ECS placed no task: {self.placement.reason}")
            if cure := placement_cure(self.placement.reason):
                parts.append(cure)
        elif self.failed:
            parts += _of_task(*self._last_failed(), events, self.health.port)
        elif self.unfinished or (self.remembered and reason):
            because = f": {reason}" if reason else ""
            parts.append(
                f"The container `{self.session.settings.service}` was not healthy{because}. Its last lines:"
            )
            parts += quoted(self.unfinished)
            if cure := advice([reason], self.unfinished, self.health.port):
                parts.append(cure)
        parts += [f"ECS: {event}" for event in events if event != self.placement.reason]
        first = next(
            (e for e in self.events if e.status.endswith("_FAILED") and "cancelled" not in e.reason), None
        )
        if first and not (any(name for _, name, _ in self.failed.values()) and _FOLLOWS.search(first.reason)):
            parts.append(
                f"The first failed CloudFormation event: {first.resource} {first.status}: {first.reason}"
            )
            if cure := advice([first.reason], ()):
                parts.append(cure)
        self.cause = next(iter(parts), "").partition("\n")[0].removesuffix(" Its last lines:")
        if not parts and result:
            last = _plain(self.lines)[-25:]
            self.cause = next(reversed(last), "")
            parts += ["The last lines of the deploy:", *quoted(last, none="it wrote none")]
        return "".join(f"\n{part}" for part in parts)

    def _last_failed(self) -> tuple[Task, str, list[str]]:
        """Return the last task that failed; the one before whose same container has lines, if it has none."""
        last = list(self.failed.values())[-1]
        same = [each for each in self.failed.values() if each[1] == last[1] and each[2]]
        return same[-1] if same and last[1] else last

    def remember_unfinished(self) -> None:
        """Keep the service's last lines and ECS's events before a roll-back deletes them."""
        self.remembered = True
        service = self.session.settings.service
        with suppress(UserError):
            for task in self._tasks():
                if task.id not in self._known and task.status == "RUNNING":
                    self.unfinished = self._last_lines(service, task) or self.unfinished
        self.events_of_service = self.health.events()

    def _watch(self) -> None:
        pause = 0.5 if self.session.settings.target == "sandbox" else 5.0
        reported = ""
        # Two checks in a row decide that the stack has settled; in the sandbox there is no pause between
        # them.
        while not self._over.wait(0.02 if self._looks_settled and pause < 1 else pause):
            try:
                self._look()
                reported = ""
            except Exception as error:  # noqa: BLE001 - without the watch nothing ends a hopeless deploy
                failure = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                if failure != reported:
                    reported = failure
                    self._say(f"(The deploy could not be checked just now: {failure})")
            self._end_silence()

    def _say(self, line: str) -> None:
        self._said_at = time.monotonic()
        self.session.report.say(line)

    def _end_silence(self) -> None:
        """Say what the deploy waits for where nothing was said for SILENCE_SECONDS."""
        now = time.monotonic()
        if self._looks_settled:  # from here on, settling.wait_until_served says what it waits for
            self._said_at = now
        elif now - self._said_at >= SILENCE_SECONDS:
            last = next(iter(_plain(self.lines)[-1:]), "Copilot is at work")
            waits_for = (
                self.placement.reason or self.health.reason or self._activity or f"Copilot: {last[:100]}"
            )
            logged = f"; it last wrote: {self.phases.last_line[:200]}" if self.phases.last_line else ""
            self._say(f"  still waiting ({now - self._begun:.0f} s): {waits_for}{logged}")

    def knew(self, task: Task) -> bool:
        """Return True if the task ran before this deploy."""
        return task.id in self._known

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
        tasks = [task for task in self._tasks() if task.id not in self._known]
        for task in tasks if not self.lasting else ():
            self._report(task)
        if stack and stack.status in _BEGUN and not self.lasting:
            self._judge_failures()
        if self.lasting:  # what ECS starts until the roll-back has begun says nothing more
            tasks = []
        self._activity = ", ".join(
            f"{container.name} is {container.status}"
            for task in tasks
            if task.status != "STOPPED"
            for container in task.containers
        )
        if not settled:
            self.placement.look(tasks)
            self.phases.look(stack, tasks)
            self.health.look(tasks)

    def _report(self, task: Task) -> None:
        """Report a container that failed or has a stand-in, and keep the log of a task that has failed."""
        for container in task.containers:
            state = f"ended with exit code {container.exit_code}" if container.exit_code else container.status
            if container.status == "RUNNING" and container.reason:  # only the sandbox gives a reason here
                state = container.reason
            if self.reported.get((task.id, container.name)) == state:
                continue
            self.reported[task.id, container.name] = state
            if state != container.status and (container == task.failed_container or not container.exit_code):
                self._say(f"  {container.name}: {state}")
        _, name, lines = self.failed.get(task.id, (task, None, []))
        # CloudWatch shows lines some seconds after they were written: look again while there are none.
        if task.status != "STOPPED" or lines or name == "" or _ENDED.search(task.stopped_reason):
            return
        name = name or self._blamed(task)
        if name or task.stopped_reason:
            self.failed[task.id] = task, name, self._last_lines(name, task) if name else []
        ended = _end(task, name, self.failed[task.id][2]) if task.stopped_reason else ""
        if ended and ended != self._stopped:
            self._stopped = ended
            self._say(f"  {ended}")

    def _judge_failures(self) -> None:
        """Note where the container that migrates has failed in a way that no further try of ECS changes.

        ECS's circuit breaker waits for three failed tasks, each of which copies and migrates again.
        """
        for task, name, lines in self.failed.values():
            code = next((each.exit_code for each in task.containers if each.name == name), None)
            if not code or name != self.phases.container_that_copies(task):
                continue
            error = cause(lines)
            refused = code in _REFUSALS and error.startswith("CommandError")
            if refused or (code < _BY_SIGNAL and is_lasting(error)):
                self.lasting = error
                self._say("  the deploy is ended: each further try of ECS would fail in the same way")
                return

    def _blamed(self, task: Task) -> str:
        """Return the name of the container that probably ended the task; empty where none did."""
        if _UNHEALTHY.search(task.stopped_reason):  # ECS has stopped all containers: their codes say nothing
            sick = [each.name for each in task.containers if each.health == "UNHEALTHY"]
            return sick[0] if sick else self.session.settings.service
        found = task.failed_container
        if _ESSENTIAL.search(task.stopped_reason) and not (found and found.failed):
            with suppress(UserError):  # one that ended well ends the task too, if it is essential
                parts = self.aws.task_definition(task.task_definition).containers
                essential = {part.name for part in parts if part.essential}
                ended = [each.name for each in task.containers if each.exit_code == 0]
                return next((name for name in ended if name in essential), found.name if found else "")
        return found.name if found else ""

    def _last_lines(self, container: str, task: Task) -> list[str]:
        return last_lines(self.aws, self.session.settings, container, task)

    def _tasks(self) -> list[Task]:
        service = self.aws.service(self.session.settings.stack_name)
        return self.aws.tasks(*service) if service else []


def _of_task(task: Task, name: str, lines: list[str], events: list[str], port: int) -> list[str]:
    """Return why a task has failed: its container's end and last lines, ECS's reason, and what to do.

    `events` are ECS's: they have the codes with which a page fails its health checks, and the stopped reason
    has not. `port` is the one that the load balancer asks, 0 where it is not known.
    """
    parts: list[str] = []
    unhealthy = _UNHEALTHY.search(task.stopped_reason)
    container = next((each for each in task.containers if each.name == name), None)
    code = container.exit_code if container else None
    reason = container.reason if container else ""
    if unhealthy:
        parts += [f"The container `{name}` ran and was not healthy. Its last lines:", *quoted(lines)]
    elif reason.startswith("Cannot"):  # its exit code is then one that ECS has made up
        parts.append(f"The container `{name}` did not run: {reason}")
    elif name:
        because = f" ({reason})" if reason else ""
        ended = f"ended with exit code {code}{because}" if code is not None else reason or task.stopped_reason
        why = f": {found}\n" if (found := cause(lines)) else ". "
        parts += [f"The container `{name}` {ended}{why}Its last lines:", *quoted(lines)]
    if task.stopped_reason and task.stopped_reason != reason and not _is_told(task, name):
        parts.append(f"The task stopped: {task.stopped_reason}")
    reasons = [
        task.stopped_reason,
        *(each.reason for each in task.containers),
        *(events if unhealthy else ()),
    ]
    if cure := advice(reasons, lines, port if unhealthy else 0):
        parts.append(cure)
    return parts


def _is_told(task: Task, name: str) -> bool:
    """Return True if ECS's reason says no more than that the named container has ended."""
    return bool(name) and _FOLLOWS.search(task.stopped_reason) is not None


def _end(task: Task, name: str, lines: list[str]) -> str:
    """Return in one line why a task has stopped."""
    if not _is_told(task, name):
        return f"a task of it stopped: {task.stopped_reason}"
    if found := cause(lines):
        return f"{name}: {found}"
    return f"a task of it stopped: {name} has ended"


def _plain(lines: list[str]) -> list[str]:
    """Return Copilot's lines, each once, without escapes, empty lines and the builder's notes."""
    plain = dict.fromkeys(_ESCAPES.sub("", line).strip() for line in lines)
    return [line for line in plain if line and not _NOISE.match(line)]
