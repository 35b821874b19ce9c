"""Notices when a part of the sandbox's server ends, and restarts it or ends the server."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from copilot_sandbox.errors import Failed

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
# A part that ends more often is not restarted, because the cause would probably end it for ever.
AGAIN_TIMES, AGAIN_SECONDS = 8, 60.0


@dataclass
class Part:
    """A part of the server that must run for as long as the server does.

    `restart` raises an Exception on failure; it is None if the part's state is lost with it. `lost` is a
    clause for the user about the effects of the restart.
    """

    name: str
    is_running: Callable[[], bool]
    restart: Callable[[], None] | None = None
    lost: str = ""
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=AGAIN_TIMES))


class Supervisor:
    """Restarts parts that end. `notify` gets a line for the user about each restart."""

    def __init__(self, parts: Sequence[Part], notify: Callable[[str], None]) -> None:
        self._parts = parts
        self._notify = notify

    def check(self) -> None:
        """Restart the parts that have ended. Raises Failed if one cannot be restarted."""
        for part in self._parts:
            if not part.is_running():
                self._restart(part)

    def _restart(self, part: Part) -> None:
        begun = time.monotonic()
        if part.restart is None:
            raise Failed(f"{part.name} ended, and it cannot be restarted because its state is lost")
        if len(part.ends) == AGAIN_TIMES and begun - part.ends[0] < AGAIN_SECONDS:
            raise Failed(f"{part.name} ended {AGAIN_TIMES + 1} times within a minute")
        part.ends.append(begun)
        log.warning("%s ended: restarting it", part.name)
        try:
            part.restart()
        except Exception as error:
            raise Failed(f"{part.name} ended and could not be restarted: {error}") from error
        took = time.monotonic() - begun
        self._notify(f"{part.name} had ended and was restarted ({took:.1f} s){part.lost}")
