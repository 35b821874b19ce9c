"""Tell in which phase a deploy is: building, copying staging's data, migrating, starting, rolling back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import UserError
from copilot_testenv.deploys.container_log import last_lines
from copilot_testenv.deploys.copy_db import COPY
from copilot_testenv.state.live import reports_data

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack, Task
    from copilot_testenv.session import Session


@dataclass
class Phases:
    """Say each phase once, with the seconds since the deploy began; again for the task after a failed one."""

    session: Session
    aws: Aws
    say: Callable[[str], None]
    _begun: float = field(default_factory=time.monotonic)
    last_line: str = ""  # of the log of the container that copies or migrates, while it runs
    _told: str = ""
    _task: str = ""  # the id of the task that is told of
    _copying: dict[str, str] = field(default_factory=dict)  # by task definition: the container that copies
    _copied: set[str] = field(default_factory=set)  # ids of tasks whose copy has ended

    def tell(self, phase: str, *, again: bool = False) -> None:
        """Say the phase unless it was the last one that was said, or if a task begins it `again`."""
        if phase and (again or phase != self._told):
            self._told = phase
            more = "ECS tries again: " if again else ""
            self.say(f"  {time.monotonic() - self._begun:3.0f} s  {more}{phase}")

    def look(self, stack: Stack | None, tasks: list[Task]) -> None:
        """Tell the phase of the newest of this deploy's tasks that is not stopped. Raises UserError."""
        if stack and stack.status.endswith("ROLLBACK_IN_PROGRESS"):
            self.tell("rolling back")
            return
        running = [task for task in tasks if task.status != "STOPPED"]
        if not running:
            return
        task = next((each for each in running if each.id == self._task), running[-1])
        again = self._task not in {"", task.id}
        self._task = task.id
        self.tell(self._of(task), again=again)

    def _of(self, task: Task) -> str:
        """Return the phase of a task; empty where one of its containers has failed."""
        states = {container.name: container for container in task.containers}
        service = states.get(self.session.settings.service)
        first = states.get(self.container_that_copies(task))
        self.last_line = ""
        if first and first.exit_code:
            return ""
        if first and first.status == "RUNNING":
            return "migrating" if self._has_copied(task, first.name) else "copying staging's data"
        if service and service.status == "RUNNING":
            return "waiting until it is healthy"
        return "starting the service" if first and first.status == "STOPPED" else "starting the containers"

    def container_that_copies(self, task: Task) -> str:
        """Return the name of the container that copies and migrates before the service; empty: none."""
        if task.task_definition not in self._copying:
            self._copying[task.task_definition] = next(
                (
                    container.name
                    for container in self.aws.task_definition(task.task_definition).containers
                    if any(COPY in word for word in container.command)
                ),
                "",
            )
        return self._copying[task.task_definition]

    def _has_copied(self, task: Task, container: str) -> bool:
        """Return True once the container's log tells of the data: what follows in its chain is `migrate`."""
        with suppress(UserError):  # the log's stream may not be there yet
            lines = last_lines(self.aws, self.session.settings, container, task)
            self.last_line = next((line.strip() for line in reversed(lines) if line.strip()), "")
            if any(map(reports_data, lines)):
                self._copied.add(task.id)
        return task.id in self._copied
