"""Reads one output stream of a container by lines, to the last byte that the container wrote."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import termios
from typing import TYPE_CHECKING

from copilot_sandbox.agent.task_log import Condition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

EVENT_LIMIT = 256 * 1024 - 26  # bytes of one event's message in CloudWatch Logs; an event adds 26 bytes
STRAGGLERS = 1.0  # seconds for the output of processes that outlive their container
CHUNK = 65536  # bytes of one read


class Output:
    """Reads a pipe until its end. `write` gets each line without its end, in pieces of EVENT_LIMIT bytes."""

    def __init__(self, pipe: int, write: Callable[[bytes], Awaitable[None]]) -> None:
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._write = write
        self._received = 0  # bytes that were read
        self._written = 0  # bytes whose lines were written
        self._progress = Condition()
        self._reading = asyncio.create_task(self._read())

    async def finish(self) -> None:
        """Read all that the container has written by now. Wait at most STRAGGLERS for the pipe's end."""
        if not self._reading.done():
            last = self._received + self._unread()
            await self._progress.wait_for(lambda: self._reading.done() or self._written >= last)
        # A process that the container left may hold the pipe for ever.
        await asyncio.wait([self._reading], timeout=STRAGGLERS)
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    def _unread(self) -> int:
        (size,) = struct.unpack("i", fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4)))
        return int(size)

    async def _read(self) -> None:
        pending = b""
        try:
            while chunk := await self._chunk():
                self._received += len(chunk)
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    await self._write(line)
                whole = len(pending) - len(pending) % EVENT_LIMIT
                if whole:
                    await self._write(pending[:whole])
                    pending = pending[whole:]
                self._written = self._received
                self._progress.notify()
        finally:
            os.close(self._pipe)
            if pending:
                await self._write(pending)
            asyncio.get_running_loop().call_soon(self._progress.notify)  # once this task is done

    async def _chunk(self) -> bytes:
        """Return the next bytes; none at the pipe's end."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(BlockingIOError):
                return os.read(self._pipe, CHUNK)
            readable = asyncio.Event()
            loop.add_reader(self._pipe, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._pipe)


def as_in_image(text: str, paths: Mapping[str, str]) -> str:
    """Return a line of a container's log with the image's paths in place of this machine's.

    `paths` are `paths` of wire.ContainerSpec. So a log reads as on AWS, and names no folder of the user.
    """
    for path, name in paths.items():
        if path in text:
            whole, shown = rf"{re.escape(path)}(?![\w.-])", name.replace("\\", r"\\")
            text = re.sub(rf"{whole}(?!/)", shown or "/", text)  # the root is "/" alone, else what follows it
            text = re.sub(whole, shown, text)
    return text
