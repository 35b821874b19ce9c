"""Collects the output of a task's containers and sends it to the agent in batches."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from copilot_sandbox.agent import wire

LOG_DELAY = 0.1  # seconds for which lines are collected before they are sent
LOG_BACKLOG = 1 << 20  # bytes of unsent log at which containers have to wait


class Condition:
    """Lets coroutines wait until a test is true. After each `notify` they test it again."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait_for(self, test: Callable[[], bool]) -> None:
        while not test():
            await self._event.wait()


class Log:
    """Collects the containers' lines and sends them in batches. A container that writes too fast waits."""

    def __init__(self, send: Callable[[wire.Event], None], drain: Callable[[], Any]) -> None:
        self._send = send
        self._drain = drain
        self._lines: dict[str, list[tuple[int, str]]] = {}
        self._size = 0
        self._condition = Condition()

    async def write(self, container: str, line: str, size: int) -> None:
        await self._condition.wait_for(lambda: self._size < LOG_BACKLOG)
        self._lines.setdefault(container, []).append((int(time.time() * 1000), line))
        self._size += size
        self._condition.notify()

    def flush(self) -> None:
        lines, self._lines, self._size = self._lines, {}, 0
        for container, batch in lines.items():
            self._send({"event": "log", "container": container, "lines": batch})
        self._condition.notify()

    async def run(self) -> None:
        while True:
            await self._condition.wait_for(lambda: bool(self._lines))
            await asyncio.sleep(LOG_DELAY)
            # The socket's buffer has to drain before more is added to it.
            await self._drain()
            self.flush()
