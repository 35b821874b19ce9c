"""The load balancer's health checks: send each target its target group's request, and rate the answer."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from copilot_sandbox.agent.targets import Target, Targets
    from copilot_sandbox.model import TargetGroup, TargetState

    Connect = Callable[[str, int, float], socket.socket]

logger = logging.getLogger(__name__)

CLOSED_INTERVAL = 0.05  # seconds between checks while the port is closed; such a check costs nothing
LOOK_AFTER = 3.0  # seconds after which a closed port's reason says which one the task has opened
FRESH_INTERVAL = 0.25  # seconds between checks of a target that has never passed; AWS keeps the interval


class Problem(NamedTuple):
    """A failed health check: the message for people, ELB's words, and True if the target's port was closed.

    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/check-target-health.html
    """

    text: str
    reason: str = "Health checks failed"
    code: str = "Target.FailedHealthChecks"
    closed: bool = False


def matches(matcher: str, code: int) -> bool:
    """Return True if a status code is in a matcher such as "200", "200,301" or "200-299"."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= code <= int(high or low):
            return True
    return False


def check(group: TargetGroup, target: Target, connect: Connect) -> Problem | None:
    """Make one health check. Return None if it passes, else the problem."""
    name = f"health check {group.health_path}"
    connection = http.client.HTTPConnection(target.address, target.port, timeout=group.timeout)
    try:
        connection.sock = connect(target.address, target.port, group.timeout)
        headers = {"User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"}
        connection.request("GET", group.health_path, headers=headers)
        status = connection.getresponse().status
    except TimeoutError:
        return Problem(f"{name} got no answer in {group.timeout:g} s", "Request timed out", "Target.Timeout")
    except ConnectionRefusedError:
        return Problem(f"{name} is refused: nothing listens on port {target.port} yet", closed=True)
    except (OSError, http.client.HTTPException) as error:
        return Problem(f"{name} failed: {error or type(error).__name__}")
    finally:
        connection.close()
    if matches(group.matcher, status):
        return None
    reason = f"Health checks failed with these codes: [{status}]"
    return Problem(f"{name} answers {status}", reason, "Target.ResponseCodeMismatch")


class HealthChecks:
    """Checks each registered target in a thread of its own, until the target is deregistered."""

    def __init__(
        self,
        targets: Targets,
        connect: Connect,
        target_group: Callable[[str], TargetGroup | None],
        listening: Callable[[str, int], str],
    ) -> None:
        self._targets = targets
        self._connect = connect
        self._target_group = target_group
        self._listening = listening
        self._stopped = threading.Event()

    def watch(self, target: Target) -> None:
        name = f"health of {target.address}:{target.port}"
        threading.Thread(target=self._watch, args=(target,), name=name, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self, target: Target) -> None:
        while self._targets.holds(target) and not self._stopped.is_set():
            try:
                self._check_repeatedly(target)
            except Exception:
                # After an unexpected error the target must still be checked.
                logger.exception("a health check of %s failed unexpectedly and starts again", target.address)
                self._stopped.wait(FRESH_INTERVAL)

    def _check_repeatedly(self, target: Target) -> None:
        passed_once = False
        passes = failures = 0
        begun = counted = time.monotonic()
        while self._targets.holds(target) and not self._stopped.is_set():
            group = self._target_group(target.group.arn) or target.group
            problem = check(group, target, self._connect)
            now = time.monotonic()
            if problem and problem.closed and now - begun >= LOOK_AFTER:
                listens = self._listening(target.address, target.port)
                if listens:
                    problem = problem._replace(text=f"{problem.text}; the task listens on {listens}")
            state: TargetState = target.state
            if problem is None:
                passes, failures = passes + 1, 0
                if not passed_once or passes >= group.healthy_threshold:
                    state = "healthy"
                passed_once = True
            else:
                passes = 0
                # The first checks are more frequent than AWS's, so only one failure in each interval counts.
                if passed_once or now - counted >= group.interval:
                    failures, counted = failures + 1, now
                if failures >= group.unhealthy_threshold:
                    state = "unhealthy"
            self._targets.judge(target, state, None if state == "healthy" else problem)
            pause = group.interval
            if not passed_once:
                closed = problem is not None and problem.closed
                pause = min(pause, CLOSED_INTERVAL if closed else FRESH_INTERVAL)
            self._stopped.wait(pause)
