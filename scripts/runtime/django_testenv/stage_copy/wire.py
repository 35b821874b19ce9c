"""Pass the messages of COPY from one server's socket to the other's without parsing rows.

A row is the same message in both directions, so it is passed unchanged; only the lengths of messages are
read, to find the end. libpq spends a tenth of a whole copy's time on returning each row; on two cores, this
module needs a fifth of that. It needs connections without encryption.
Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-COPY
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from . import reasons
from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection

_CHUNK = 1 << 18  # bytes to read at once; a socket does not hold more
_WAIT = 500  # milliseconds between two checks whether the copy was stopped
_HEADER = struct.Struct(">BI")  # a message's kind and its length, which includes itself but not the kind
_QUERY, _DATA, _DONE, _COMPLETE, _READY, _ERROR = b"Q"[0], b"d"[0], b"c"[0], b"C"[0], b"Z"[0], b"E"[0]
_OUT, _IN = b"H"[0], b"G"[0]  # the server will send rows, or expects rows


def can_carry(connection: Connection) -> bool:
    """Return True if the connection's socket carries the protocol without encryption."""
    if connection.pgconn.ssl_in_use:
        return False
    row = connection.execute("SELECT encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid()").fetchone()
    return row is None or not row[0]


class Wire:
    """One connection's socket, used between two statements of libpq. It is unusable after an error."""

    def __init__(self, connection: Connection, stopped: Callable[[], bool]) -> None:
        self._socket = connection.pgconn.socket
        self._encoding = connection.info.encoding
        self._stopped = stopped
        self._poll = select.poll()
        self._held = b""  # bytes that are read and not parsed yet

    def begin(self, statement: bytes, *, rows_come: bool) -> None:
        """Send a COPY, and the statements before it. Raise psycopg.Error with the server's reason."""
        self.send(_message(_QUERY, statement + b"\0"))
        wanted = _OUT if rows_come else _IN
        while self._next()[0] != wanted:
            pass

    def pass_on_to(self, target: Wire, tell: Callable[[int], None]) -> int:
        """Pass all rows to `target`; return their bytes. Raise psycopg.Error if a server reports an error."""
        skip, moved, chunk = 0, 0, self._held
        while True:
            size, position = len(chunk), skip
            kind = _DATA
            while position + 5 <= size:
                kind, length = _HEADER.unpack_from(chunk, position)
                if kind != _DATA:
                    break
                position += length + 1
            end = min(position, size)
            if end:
                target.send(chunk[:end] if end < size else chunk)
                moved += end
                tell(end)
            skip, self._held = max(0, position - size), chunk[end:]
            if (
                kind != _DATA and self._next()[0] == _DONE
            ):  # anything else is for a client to know, not for us
                return moved
            chunk = self._held if kind != _DATA and self._held else self._held + self._read()

    def rows(self) -> int:
        """Read until the server is ready. Return the number of rows that it counted."""
        rows = -1
        while True:
            kind, body = self._next()
            if kind == _COMPLETE and body.startswith(b"COPY "):
                rows = int(body[5:].rstrip(b"\0"))
            if kind == _READY:
                return rows

    def finish(self) -> None:
        """Tell the server that there are no more rows."""
        self.send(_message(_DONE, b""))

    def send(self, data: bytes) -> None:
        """Write all data. Raise psycopg.Error with the server's reason if it ends the COPY meanwhile."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._socket, left) :]
            except BlockingIOError:
                self._wait(select.POLLIN | select.POLLOUT)
                while self._readable():
                    self._next()
            except OSError:  # a warning may come before the error that says why, or before the end
                while True:
                    self._next()

    def _next(self) -> tuple[int, bytes]:
        """Return the next message's kind and body; raise psycopg.Error if the message is an error."""
        while len(self._held) < _HEADER.size or len(self._held) < 1 + _HEADER.unpack_from(self._held)[1]:
            self._held += self._read()
        kind, length = _HEADER.unpack_from(self._held)
        body, self._held = self._held[_HEADER.size : length + 1], self._held[length + 1 :]
        if kind == _ERROR:
            raise self._error(body)
        return kind, body

    def _error(self, body: bytes) -> psycopg.Error:
        """Return the error in the server's message.

        Source: https://www.postgresql.org/docs/current/protocol-error-fields.html
        """
        fields = {part[:1]: part[1:].decode(self._encoding, "replace") for part in body.split(b"\0") if part}
        names = {"table": fields.get(b"t"), "column": fields.get(b"c"), "constraint": fields.get(b"n")}
        return reasons.of_parts(fields.get(b"C", "XX000"), fields.get(b"M", ""), names, fields.get(b"W", ""))

    def _read(self) -> bytes:
        while True:
            try:
                found = os.read(self._socket, _CHUNK)
            except BlockingIOError:
                self._wait(select.POLLIN)
            except OSError as error:
                raise psycopg.OperationalError(f"the connection was lost: {error}") from None
            else:
                if not found:
                    raise psycopg.OperationalError("the server closed the connection unexpectedly")
                return found

    def _readable(self) -> bool:
        self._poll.register(self._socket, select.POLLIN)
        return bool(self._poll.poll(0))

    def _wait(self, events: int) -> None:
        self._poll.register(self._socket, events)
        while not self._poll.poll(_WAIT):
            if self._stopped():
                raise Failed("the copy was stopped")


def _message(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body) + 4) + body
