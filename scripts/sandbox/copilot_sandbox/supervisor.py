"""Notices the end of each part of the sandbox's server, and starts it again or ends the server."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from copilot_sandbox.errors import Failed

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
# A part that ends more often than that is not started again: what ends it would end it for ever.
AGAIN_TIMES, AGAIN_SECONDS = 8, 60.0


@dataclass
class Part:
    """Something that must live for as long as the server does.

    `again` starts it anew and raises an Exception where it cannot; it is None where what the part knew is
    lost with it. `lost` is what a person should know afterwards.
    """

    name: str
    lives: Callable[[], bool]
    again: Callable[[], None] | None = None
    lost: str = ""
    ends: deque[float] = field(default_factory=lambda: deque(maxlen=AGAIN_TIMES))


class Supervisor:
    """Looks after the parts; `tell` gets a line for a person about each that was started again."""

    def __init__(self, parts: Sequence[Part], tell: Callable[[str], None]) -> None:
        self._parts = parts
        self._tell = tell

    def look(self) -> None:
        """Start again what has ended. Raises Failed where something cannot be."""
        for part in self._parts:
            if not part.lives():
                self._mend(part)

    def _mend(self, part: Part) -> None:
        begun = time.monotonic()
        if part.again is None:
            raise Failed(f"{part.name} ended, and cannot go on by itself")
        if len(part.ends) == AGAIN_TIMES and begun - part.ends[0] < AGAIN_SECONDS:
            raise Failed(f"{part.name} ended {AGAIN_TIMES + 1} times within a minute")
        part.ends.append(begun)
        log.warning("%s ended: starting it again", part.name)
        try:
            part.again()
        except Exception as error:
            raise Failed(f"{part.name} ended and could not be started again: {error}") from error
        took = time.monotonic() - begun
        self._tell(f"{part.name} had ended and was started again ({took:.1f} s){part.lost}")
