"""HTTP/1.1 connections: h11 on a stream, as strict as a load balancer has to be."""

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
# h11 accepts other line ends, folded lines and lists of lengths. The next server might read them differently,
# and take a part of one request for another request.
_AMBIGUOUS = re.compile(rb"(?<!\r)\n|\n[ \t]|\ncontent-length:[^\r\n]*,", re.IGNORECASE)

Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class StrictConnection(h11.Connection):
    """h11's reader and writer. It refuses input that two servers might read differently."""

    def next_event(self) -> Event:
        before, _ = self.trailing_data
        event = super().next_event()
        consumed = before[: len(before) - len(self.trailing_data[0])]
        if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
            _check_head(consumed, {name for name, _ in event.headers}, event.http_version)
        elif not isinstance(event, h11.EndOfMessage):
            size = len(event.data) if isinstance(event, h11.Data) else 0
            if len(consumed) - size > FRAMING_LIMIT:
                raise h11.RemoteProtocolError("a chunk's size is too long")
        return event


def _check_head(head: bytes, names: set[bytes], version: bytes) -> None:
    if len(head) > HEAD_LIMIT or any(len(line) > LINE_LIMIT for line in head.split(b"\r\n")):
        raise h11.RemoteProtocolError("the head is too big", error_status_hint=431)
    if version not in {b"1.0", b"1.1"}:
        raise h11.RemoteProtocolError("the HTTP version is not supported")
    if _AMBIGUOUS.search(head) or names >= {b"content-length", b"transfer-encoding"}:
        raise h11.RemoteProtocolError("the head is ambiguous")


class Peer:
    """A client or a target, event by event.

    `idle_timeout` is the number of seconds for which it may be silent.
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

    async def next_event(self, *, without_timeout: bool = False) -> Event:
        """Return the peer's next event. Raises TimeoutError, and RemoteProtocolError if it breaks HTTP."""
        timeout = None if without_timeout else self.idle_timeout
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(await asyncio.wait_for(self.reader.read(BLOCK), timeout))
        return event

    async def send(self, *events: h11.Event) -> None:
        for event in events:
            self.writer.write(self.http.send(event) or b"")
        await self.writer.drain()


async def relay(source: Peer, sink: Peer) -> None:
    """Forward a body as it comes. Trailers are dropped: nothing here needs them, and they can be harmful."""
    while isinstance(event := await source.next_event(), h11.Data):
        await sink.send(event)
    await sink.send(h11.EndOfMessage())


async def tunnel(one: Peer, other: Peer) -> None:
    """Forward bytes in both directions until one end closes."""

    async def pass_on(source: Peer, sink: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            block = source.http.trailing_data[0]  # bytes that may have come with the head
            while block or (block := await source.reader.read(BLOCK)):
                sink.writer.write(block)
                await sink.writer.drain()
                block = b""

    running = [asyncio.create_task(pass_on(*direction)) for direction in ((one, other), (other, one))]
    try:
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in running:
            task.cancel()


def values(message: h11.Request | h11.Response, name: bytes) -> list[bytes]:
    return [value for key, value in message.headers if key == name]


def list_members(message: h11.Request | h11.Response, name: bytes) -> set[bytes]:
    """Return the members of comma-separated header values, in lower case."""
    parts = (part.strip().lower() for value in values(message, name) for part in value.split(b","))
    return set(parts) - {b""}
