"""The targets of the load balancer's target groups, with their health and their open requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_sandbox.agent.health import Problem
from copilot_sandbox.model import TargetGroup, TargetReport, TargetState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BEGUN, _DRAINS = "Initial health checks in progress", "Target deregistration is in progress"
INITIAL = Problem(_BEGUN, _BEGUN, "Elb.InitialHealthChecking")
DRAINING = Problem(_DRAINS, _DRAINS, "Target.DeregistrationInProgress")


@dataclass
class Target:
    group: TargetGroup
    address: str
    port: int
    state: TargetState = "initial"
    problem: Problem | None = INITIAL
    in_flight: int = 0


class Targets:
    """The targets of all groups; safe to use from any thread."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._targets: list[Target] = []
        self._turn = 0

    def register(self, group: TargetGroup, address: str, port: int) -> Target:
        target = Target(group, address, port)
        with self._lock:
            self._targets.append(target)
        self._on_change()
        return target

    def drain(self, address: str) -> None:
        """Send no new request to this address."""
        with self._lock:
            for target in self._targets:
                if target.address == address:
                    target.state, target.problem = "draining", DRAINING
        self._on_change()

    def remove(self, address: str) -> None:
        with self._lock:
            self._targets = [target for target in self._targets if target.address != address]
        self._on_change()

    def judge(self, target: Target, state: TargetState, problem: Problem | None) -> None:
        """Set the result of a health check, unless the target is draining."""
        with self._lock:
            if target.state == "draining" or (target.state, target.problem) == (state, problem):
                return
            target.state, target.problem = state, problem
        self._on_change()

    def pick(self, groups: Iterable[str]) -> Target | None:
        """Return the next healthy target in turn; the caller returns it with `release`."""
        wanted = set(groups)
        with self._lock:
            healthy = [
                target for target in self._targets if target.group.arn in wanted and target.state == "healthy"
            ]
            if not healthy:
                return None
            self._turn += 1
            target = healthy[self._turn % len(healthy)]
            target.in_flight += 1
            return target

    def release(self, target: Target) -> None:
        with self._lock:
            target.in_flight -= 1
            drained = target.state == "draining" and target.in_flight == 0
        if drained:
            self._on_change()

    def idle(self, address: str) -> bool:
        with self._lock:
            return not any(target.in_flight for target in self._targets if target.address == address)

    def at(self, address: str) -> list[Target]:
        with self._lock:
            return [target for target in self._targets if target.address == address]

    def holds(self, target: Target) -> bool:
        """Return True while this target needs health checks."""
        with self._lock:
            return target.state != "draining" and any(each is target for each in self._targets)

    def reports(self) -> dict[str, list[TargetReport]]:
        """Return all targets by their group's ARN."""
        reports: dict[str, list[TargetReport]] = {}
        with self._lock:
            for target in self._targets:
                group = target.group.arn
                problem = INITIAL if target.state == "initial" else target.problem  # nothing is decided yet
                told = (problem.reason, problem.code) if problem else ()
                report = TargetReport(group, target.address, target.port, target.state, *told)
                reports.setdefault(group, []).append(report)
        return reports
