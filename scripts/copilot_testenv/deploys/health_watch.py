"""Tell why a task that runs is not healthy, while Copilot waits for it without a word."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import UserError
from copilot_testenv.deploys.container_log import last_lines, quoted
from copilot_testenv.deploys.task_advice import advice

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Task
    from copilot_testenv.session import Session

FAILING_SECONDS = 20.0  # a task runs for so long before its failing health checks are told
UNDECIDED_SECONDS = 45.0  # the same where the load balancer has decided nothing yet
HOPELESS_SECONDS = 180.0
"""A target may fail its checks for so long after all that runs before the service has succeeded.

Then nothing more is awaited that could make it healthy: neither a copy of the data nor a migration.
"""
ASK_SECONDS = 10.0  # between two questions to the load balancer
_MOST_EVENTS = 3
# A server that goes on without the project that it could not load.
_BROKEN = re.compile(r"Traceback \(most recent call last\)|no python application found|no app loaded")
_ROUTINE = re.compile(
    r"has (started|stopped) \d+|registered \d+ targets|has begun draining|steady state|"
    r"deployment (completed|failed: tasks failed to start)"
)


@dataclass
class HealthWatch:
    """Ask the load balancer for the health of this deploy's tasks; tell each one that is not healthy once.

    `since` is AWS's time before the deploy. `reason` is the load balancer's latest word against the tasks.
    """

    session: Session
    aws: Aws
    say: Callable[[str], None]
    since: datetime
    reason: str = ""
    port: int = 0  # that the load balancer asks
    hopeless: str = ""  # the reason why waiting on is no use
    _unfit_since: dict[str, float] = field(default_factory=dict)  # of tasks that have prepared all
    _runs_since: dict[str, float] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _asked: float = 0.0

    def look(self, tasks: list[Task]) -> None:
        """Look at this deploy's tasks; an error of AWS is part of what is told, and never raised."""
        now = time.monotonic()
        running = [task for task in tasks if task.status == "RUNNING"]
        for task in running:
            self._runs_since.setdefault(task.id, now)
        slow = [task for task in running if now - self._runs_since[task.id] >= FAILING_SECONDS]
        if not slow:
            self.reason = ""
        elif now - self._asked >= ASK_SECONDS:
            self._asked = now
            self._judge(slow[-1], now)

    def _judge(self, task: Task, now: float) -> None:
        undecided, port, lines = False, 0, list[str]()
        try:
            unfit = [
                each for each in self.aws.targets(self.session.settings.stack_name) if _unfit(each.state)
            ]
            self.reason = next((each.reason for each in unfit), "")
            failing = bool(unfit) and all(each.state == "unhealthy" for each in unfit)
            self._note_failing(task, now, failing=failing)
            undecided = all(each.state == "initial" for each in unfit)
            port = self.port = unfit[0].port if unfit else 0
            lines = last_lines(self.aws, self.session.settings, self.session.settings.service, task)
        except UserError as error:  # a role without the right, for example
            self.reason, undecided = f"its health is not known: {error}", True
        if not self.reason and task.health == "UNHEALTHY":
            self.reason, undecided = (
                "a container's own health check fails (`healthcheck` in the manifest)",
                False,
            )
        if task.id in self._told or not self.reason:
            return
        seconds = now - self._runs_since[task.id]
        if undecided and seconds < UNDECIDED_SECONDS and not any(map(_BROKEN.search, lines)):
            return
        self._told.add(task.id)
        self.say(self._text(task, seconds, port, lines))

    def _note_failing(self, task: Task, now: float, *, failing: bool) -> None:
        """Note since when a task fails its checks although what runs before its service has succeeded."""
        codes = [container.exit_code for container in task.containers if container.status == "STOPPED"]
        if not failing or not codes or any(codes):
            self._unfit_since.pop(task.id, None)
            return
        since = self._unfit_since.setdefault(task.id, now)
        if now - since >= HOPELESS_SECONDS:
            self.hopeless = self.reason

    def _text(self, task: Task, seconds: float, port: int, lines: list[str]) -> str:
        parts = [f"  task {task.id[:8]}: it has run for {seconds:.0f} s and is not healthy: {self.reason}"]
        if cure := advice([self.reason], lines, port):
            parts.append(f"    {cure}")
        parts += [f"    ECS: {event}" for event in self.events()]
        parts.append(f"    The last lines of the container `{self.session.settings.service}`:")
        parts += quoted(lines, "      ")
        limit = f"DEPLOY_TIMEOUT ({self.session.settings.timeout:.0f} s)"
        if task.id in self._unfit_since:
            limit = f"{HOPELESS_SECONDS:.0f} s, because `startup` has ended without an error"
        parts.append(f"    The deploy waits on, up to {limit}; Ctrl-C rolls it back.")
        return "\n".join(parts)

    def events(self) -> list[str]:
        """Return ECS's latest events that are not routine; none where they cannot be read."""
        try:
            service = self.aws.service(self.session.settings.stack_name)
            found = self.aws.service_events(*service, self.since) if service else []
        except UserError:
            return []
        return [event for event in found if not _ROUTINE.search(event)][-_MOST_EVENTS:]


def _unfit(state: str) -> bool:
    """Return True unless the target is healthy, or one that is being taken out."""
    return state not in {"healthy", "draining", "unused"}
