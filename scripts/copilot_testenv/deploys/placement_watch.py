"""Tell why ECS places no task of a deploy: only its service's events say so, and Copilot waits in silence."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from copilot_testenv.copilot.capacity import SPOT_FIRST
from copilot_testenv.core.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime

    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Task
    from copilot_testenv.session import Session

ASK_SECONDS = 10.0  # between two questions to ECS
SPOT_FIRST_SECONDS = 60.0  # the same where the deploy goes on without Spot then
HOPELESS_SECONDS = 180.0
"""ECS may place no task for so long after it has said so. It tries again by itself, mostly in vain."""
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
_UNPLACED = re.compile(r"was unable to place a task|failed to launch a task|unable to assume the .*role")
_NO_CAPACITY = "Capacity is unavailable"
_CURES = {
    _NO_CAPACITY: (
        "AWS has no room for such a task now; on Spot that happens, and may last for hours. Try again later, "
        "or deploy without Spot: set TEST_CAPACITY=spot-first, or write `count: 1` in the block of "
        "the test environment."
    ),
    "number of vCPUs|tasks you can run concurrently": (
        "The account's quota of Fargate is used up: tear deployments down, or ask AWS for more. `invoke "
        "check --account` shows the quota and what is in use."
    ),
    "CPU configuration is above|MEMORY configuration is above": (
        "Make `cpu` and `memory` of the test environment smaller, or ask AWS for a higher quota."
    ),
    "unable to assume": "The service-linked role of ECS is missing: aws iam create-service-linked-role "
    "--aws-service-name ecs.amazonaws.com.",
}


@dataclass
class PlacementWatch:
    """Ask ECS for its events while no task of this deploy exists; tell the reason once.

    `since` is AWS's time before the deploy. `hopeless` is the reason, once waiting on is no use.
    """

    session: Session
    aws: Aws
    say: Callable[[str], None]
    since: datetime
    reason: str = ""
    hopeless: str = ""
    _asked: float = 0.0
    _said: set[str] = field(default_factory=set)
    _began: float = 0.0

    @property
    def lacks_capacity(self) -> bool:
        """True if AWS has no room for the tasks; the account's quota is another matter."""
        return _NO_CAPACITY in self.reason

    def look(self, tasks: list[Task]) -> None:
        """Look at this deploy's tasks; an error of AWS is no reason, and is never raised."""
        now = time.monotonic()
        if any(task.status != "STOPPED" for task in tasks):
            self.reason = self.hopeless = ""
        elif now - self._asked >= ASK_SECONDS:
            self._asked = now
            self._ask(now)

    def _ask(self, now: float) -> None:
        try:
            service = self.aws.service(self.session.settings.stack_name)
            events = self.aws.service_events(*service, self.since) if service else []
        except UserError:
            return
        found = [event for event in events if _UNPLACED.search(event)]
        if not found:
            return
        if not self.reason:
            self._began = now
        self.reason = found[-1]
        first = self.lacks_capacity and self.session.settings.capacity == SPOT_FIRST
        if now - self._began >= (SPOT_FIRST_SECONDS if first else HOPELESS_SECONDS):
            self.hopeless = self.reason
        if self.reason not in self._said:
            self._said.add(self.reason)
            cure = placement_cure(self.reason)
            self.say(f"  ECS places no task: {self.reason}" + (f"\n    {cure}" if cure else ""))


def placement_cure(reason: str) -> str:
    """Return what to do where ECS places no task for this reason; empty where it is not known."""
    return next((cure for words, cure in _CURES.items() if re.search(words, reason)), "")
