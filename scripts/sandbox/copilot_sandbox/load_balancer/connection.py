"""A connection that speaks HTTP/1.1: h11 on a stream, as strict as a load balancer has to be."""

from __future__ import annotations

import asyncio
import contextlib
import re

import h11

# Quotas of application load balancers: a request line and one header 16 KiB, all headers 64 KiB.
# Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
LINE_LIMIT = 16 * 1024
HEAD_LIMIT = 64 * 1024
FRAMING_LIMIT = 1024  # a chunk's size with its extensions
BLOCK = 64 * 1024
# h11 mends line ends of another kind, folded lines and lists of lengths; the next server might read them
# differently, and take a part of one request for another one.
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\n[ \t]|\ncontent-length:[^\r\n]*,", re.IGNORECASE)

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class StrictConnection(h11.Connection):
    """h11's reader and writer, which refuses what two servers might read differently."""

    def next_event(self) -> Event:
        before, _ = self.trailing_data
        event = super().next_event()
        taken = before[: len(before) - len(self.trailing_data[0])]
        if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
            _check_head(taken, {name for name, _ in event.headers}, event.http_version)
        elif not isinstance(event, h11.EndOfMessage):
            size = len(event.data) if isinstance(event, h11.Data) else 0
            if len(taken) - size > FRAMING_LIMIT:
                raise h11.RemoteProtocolError("a chunk's size is too long")
        return event


def _check_head(head: bytes, names: set[bytes], version: bytes) -> None:
    if len(head) > HEAD_LIMIT or any(len(line) > LINE_LIMIT for line in head.split(b"\r\n")):
        raise h11.RemoteProtocolError("the head is too big", error_status_hint=431)
    if version not in {b"1.0", b"1.1"}:
        raise h11.RemoteProtocolError("it is of another version")
    if _AMBIGUOUS.search(head) or names >= {b"content-length", b"transfer-encoding"}:
        raise h11.RemoteProtocolError("the head can be read in two ways")


class Peer:
    """A client or a target, event by event.

    `idle_timeout` is how many seconds it may say nothing.
    """

    def __init__(
        self,
        our_role: type[h11.CLIENT | h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        idle_timeout: float,
    ) -> None:
        self.http = StrictConnection(our_role, HEAD_LIMIT)
        self.reader = reader
        self.writer = writer
        self.idle_timeout = idle_timeout

    async def next_event(self, *, patient: bool = False) -> Event:
        """Raise TimeoutError, unless it is `patient`, and RemoteProtocolError where the peer breaks HTTP."""
        timeout = None if patient else self.idle_timeout
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await asyncio.wait_for(self.reader.read(BLOCK), timeout))
        return event

    async def send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()


async def relay(source: Peer, sink: Peer) -> None:
    """Pass a body on as it comes. Trailers are dropped: no one here needs them, and they carry surprises."""
    while isinstance(event := await source.next_event(), h11.Data):
        await sink.send(event)
    await sink.send(h11.EndOfMessage())


async def tunnel(one: Peer, other: Peer) -> None:
    """Pass bytes on in both directions until one end closes."""

    async def pass_on(source: Peer, sink: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            block = source.http.trailing_data[0]  # may have come with the head
            while block or (block := await source.reader.read(BLOCK)):
                sink.writer.write(block)
                await sink.writer.drain()
                block = b""

    running = [asyncio.create_task(pass_on(*way)) for way in ((one, other), (other, one))]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()


def values(message: h11.Request | h11.Response, name: bytes) -> list[bytes]:
    return [value for each, value in message.headers if each == name]


def listed(message: h11.Request | h11.Response, name: bytes) -> set[bytes]:
    """Return the members of comma-separated header values, in lower case."""
    parts = (part.strip().lower() for value in values(message, name) for part in value.split(b","))
    return set(parts) - {b""}
