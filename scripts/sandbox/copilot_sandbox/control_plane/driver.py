"""Runs operations on stacks: in the caller's thread until one has to wait, then in a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Literal, cast

from .resources import Settling
from .stacks import Stack

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0  # for the threads to end
_POLL = 0.05  # seconds between two calls of the agent
_PATIENCE = 3 * 3600.0
"""Seconds after which a service that is not stable fails its stack, as in CloudFormation.

Source: https://repost.aws/knowledge-center/cloudformation-ecs-service-stabilize
"""

# The value sent to an operation after a wait: its resource is stable or has failed, or the user cancelled.
Outcome = tuple[Literal["COMPLETED", "FAILED", "CANCELLED"], str]
Operation = Generator[Settling, Outcome, None]


class Driver:
    """Runs operations.

    An operation is a generator that runs under the control plane's lock and yields when it has to wait. An
    operation that never waits has ended when `begin` returns. Others continue in a thread that takes the lock
    only between waits.
    """

    def __init__(self, lock: threading.RLock, wake: Callable[[], None]) -> None:
        self._lock = lock
        self._wake = wake
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def stop(self) -> None:
        """End the threads; stacks keep their state. Call it without the lock."""
        self._stopping.set()
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def begin(self, stack: Stack, operation: Operation) -> None:
        stack.cancelled = False
        waiting = self._resume(stack, operation, None)
        if waiting is not None:
            thread = threading.Thread(
                target=self._drive, args=(stack, operation, waiting), name=f"stack {stack.name}", daemon=True
            )
            self._threads = [other for other in self._threads if other.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _resume(self, stack: Stack, operation: Operation, outcome: Outcome | None) -> Settling | None:
        try:
            return next(operation) if outcome is None else operation.send(outcome)
        except StopIteration:
            return None
        except Exception as error:
            # An error here must leave a stack that reports it, not one that is in progress for ever.
            log.exception("the operation on stack %s failed unexpectedly", stack.name)
            failed = stack.status.removesuffix("_IN_PROGRESS") + "_FAILED"
            stack.set_status(failed, f"The sandbox's CloudFormation failed: {error!r}; see its log")
            return None

    def _drive(self, stack: Stack, operation: Operation, waiting: Settling | None) -> None:
        while waiting is not None:
            outcome = self._await(stack, waiting)
            if outcome is None:
                return
            with self._lock:
                if stack.cancelled:  # while it was settling
                    stack.cancelled, outcome = False, ("CANCELLED", "")
                waiting = self._resume(stack, operation, outcome)

    def _await(self, stack: Stack, settling: Settling) -> Outcome | None:
        """Poll until the resource is stable, without the lock, which the agent may need. None: stopping."""
        end = time.monotonic() + _PATIENCE
        self._wake()
        while not self._stopping.wait(_POLL):
            if stack.cancelled:
                return "CANCELLED", ""
            try:
                state, reason = settling()
            except Exception as error:
                log.exception("the task agent failed")
                return "FAILED", f"The sandbox's task agent failed: {error!r}; see its log"
            if state in ("COMPLETED", "FAILED"):
                return cast("Outcome", (state, reason))
            if time.monotonic() > end:
                return "FAILED", "Exceeded attempts to wait"
        return None
