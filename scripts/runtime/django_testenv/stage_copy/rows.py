"""Move rows in one process: COPY out of the source, COPY into the target, message by message.

Rows pass unchanged, in COPY's binary format where both ends support it. They are parsed only if a rule calls
Python. A row that is too large for one message passes in pieces.
"""

from __future__ import annotations

import select
from binascii import unhexlify
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

import psycopg
from psycopg import pq

from . import reasons
from .calling import CallError
from .problems import Failed
from .statements import PIECE, Call, Piece, Step, steps

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection

_BATCH = 1 << 16  # bytes in one message to the target: a row may be cut anywhere
_LARGE = 1 << 20  # bytes of a value that are written at once
_WAIT = 500  # milliseconds between two checks whether the copy was stopped
# COPY's binary format of a row with a piece: the number of columns, each with its length before it. Bytes:
_SIGNATURE, _TRAILER = 19, 2  # before the first row, after the last one
_IS_FIRST, _VALUE = 6, 11  # where the two columns begin
# COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html
_NULL, _HEXADECIMAL = b"\\N", b"\\\\x"
_ESCAPED = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}  # the backslash first

Tell = Callable[[int], None]


class _RuleFailed(Exception):
    """A rule's Python function failed, at this column and row of the piece, with this kind of error."""

    def __init__(self, column: str, row: int, kind: str) -> None:
        super().__init__()
        self.column, self.row, self.kind = column, row, kind


class _Passed(NamedTuple):
    """The rows that a COPY sent, and the rows and bytes that arrived."""

    sent: int
    arrived: int
    moved: int


class Pump:
    """Copies pieces from one connection to another, one after the other."""

    def __init__(self, source: Connection, target: Connection, stopped: Callable[[], bool]) -> None:
        self._source, self._target = source.pgconn, target.pgconn
        self._encoding = source.info.parameter_status("server_encoding") or "UTF8"
        self._stopped = stopped
        self._row = 0  # of the piece, counted only if rules call Python
        self._source_context, self._target_context = source, target

    def copy(
        self, piece: Piece, selection: Selection, *, text: bool, tell: Tell, then: bytes = b""
    ) -> tuple[int, int]:
        """Copy a piece. Return the numbers of rows and of bytes that arrived.

        The SQL `then` follows in the same transaction of the target.

        Raises psycopg.Error for a server's error, Failed if the two ends count different numbers of rows.
        """
        failure = None
        try:
            passed = self.pass_on(self._steps(piece, selection, text, then), tell)
        except _RuleFailed as error:
            failure = (error.column, error.row, error.kind)
        if failure:  # not raised above: the error would keep the row as its context
            raise _failed(piece, *failure)
        return _arrived(piece, passed)

    def copy_together(self, pieces: Iterable[tuple[Piece, Selection, bool, bytes]]) -> list[tuple[int, int]]:
        """Copy pieces without calls in one transaction, as `copy` does; return what it would of each.

        Raises psycopg.Error, which may be that of any piece.
        """
        wanted = [
            (piece, self._steps(piece, selection, text, then)) for piece, selection, text, then in pieces
        ]
        passed = iter(self.pass_on([step for _, some in wanted for step in some], lambda _: None))
        return [_arrived(piece, list(islice(passed, len(some)))) for piece, some in wanted]

    def _steps(self, piece: Piece, selection: Selection, text: bool, then: bytes) -> list[Step]:  # noqa: FBT001  as `copy` gets it
        wanted = steps(piece, selection, self._encoding, text=text)
        return [*wanted[:-1], replace(wanted[-1], then=then)]

    def pass_on(self, wanted: Sequence[Step], tell: Tell) -> list[_Passed]:
        """Pass what COPYs send to others."""
        for connection, statements in (
            (self._source, [step.out.as_bytes(self._source_context) for step in wanted]),
            (
                self._target,
                [part for step in wanted for part in (step.into.as_bytes(self._target_context), step.then)],
            ),
        ):
            connection.send_query(b"; ".join(statements))  # all before the first answer: each takes a trip
            self._flush(connection)
        passed = []
        for step in wanted:
            _reach(self._source, pq.ExecStatus.COPY_OUT)
            _reach(self._target, pq.ExecStatus.COPY_IN)
            self._row = 0
            moved = self._send(step, tell)
            self._target.put_copy_end()
            self._flush(self._target)
            messages = _rows(self._source)
            sent = self._row if step.calls or step.in_pieces else messages
            passed.append(_Passed(sent, _rows(self._target), moved))
        _end(self._source)
        _end(self._target)
        return passed

    def _send(self, step: Step, tell: Tell) -> int:
        """Read all rows of the source and write them in batches. Return the number of bytes written."""
        moved = 0
        with closing(self._made(step)) as batches:
            for batch in batches:
                self._put_all(batch)
                size = sum(map(len, batch))
                tell(size)
                moved += size
        return moved

    def _made(self, step: Step) -> Generator[Sequence[bytes | memoryview], None, None]:
        """Return what the target takes."""
        if step.calls:
            return self._with_calls(self._batches(), step.calls)
        return self._joined(self._batches()) if step.in_pieces else self._batches()

    def _joined(self, batches: Iterable[list[memoryview]]) -> Generator[list[memoryview], None, None]:
        """Yield the rows whose pieces are in the messages."""
        start = _SIGNATURE
        for batch in batches:
            parts = [batch[0][:start]]
            for message in batch:
                if len(message) == start + _TRAILER:
                    parts.append(message[start:])
                else:
                    self._row += message[start + _IS_FIRST]
                    parts.append(message[start + _VALUE :])
                start = 0
            yield parts

    def _batches(self) -> Generator[list[memoryview], None, None]:
        """Yield what the source sends: each part is a row, or a piece of one."""
        source, get = self._source, self._source.get_copy_data
        waiting = select.poll()
        waiting.register(source.socket, select.POLLIN)
        batch: list[memoryview] = []
        held = 0
        while True:
            size, row = get(1)
            if size > 0:
                batch.append(row)
                held += size
                if held >= _BATCH:
                    yield batch
                    batch, held = [], 0
            elif size == 0:
                self._require_not_stopped()
                if waiting.poll(_WAIT):
                    source.consume_input()
            else:
                if batch:
                    yield batch
                if size < -1:
                    _rows(source)
                    raise psycopg.OperationalError("the source broke off")
                return

    def _put_all(self, batch: Sequence[bytes | memoryview]) -> None:
        """Write a batch; of what is large one part after the other, for libpq keeps a copy of each."""
        if max(map(len, batch)) <= _LARGE:
            self._put(b"".join(batch))
            return
        for data in batch:
            for start in range(0, len(data), _LARGE):
                self._put(data[start : start + _LARGE])

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._target.put_copy_data(data)
            self._flush(self._target)
        except psycopg.Error:
            _rows(self._target)  # the server ended the COPY; this raises its own error
            raise

    def _flush(self, connection: pq.abc.PGconn) -> None:
        """Write until the server has received everything; read from it meanwhile, as it may send an error."""
        waiting = None
        while connection.flush() == 1:
            if waiting is None:
                waiting = select.poll()
                waiting.register(connection.socket, select.POLLIN | select.POLLOUT)
            self._require_not_stopped()
            for _, event in waiting.poll(_WAIT):
                if event & select.POLLIN:
                    connection.consume_input()

    def _require_not_stopped(self) -> None:
        if self._stopped():
            raise Failed("the copy was stopped")

    def _with_calls(
        self, batches: Iterable[list[memoryview]], calls: Mapping[str, Call]
    ) -> Generator[list[bytes | memoryview], None, None]:
        """Yield batches of rows in COPY's text format, with what the functions return. Raise _RuleFailed."""
        batch: list[bytes | memoryview] = []
        held = 0
        for part in self._called(chain.from_iterable(batches), calls):
            batch.append(part)
            held += len(part)
            if held >= _BATCH:
                yield batch
                batch, held = [], 0
        if batch:
            yield batch

    def _called(
        self, messages: Iterator[memoryview], calls: Mapping[str, Call]
    ) -> Generator[bytes | memoryview, None, None]:
        """Yield the parts of rows."""
        for message in messages:
            self._row += 1
            piece, others = _split(message)
            if others:
                yield others
            for number, (name, call) in enumerate(calls.items()):
                if number:
                    piece, _ = _split(self._following(messages))
                if number or others:
                    yield b"\t"
                value = None if piece.value is None else self._pieces(piece, messages)
                try:
                    with closing(call(value)) as result:  # type: ignore[type-var]
                        yield from (_NULL if part is None else _escape(part) for part in result)
                except CallError as error:
                    raise _RuleFailed(name, self._row, error.kind) from None
            yield b"\n"

    def _pieces(self, first: _Piece, messages: Iterator[memoryview]) -> Iterator[bytes]:
        """Yield the first piece of a value and those that follow it."""
        piece = first
        yield piece.value or b""
        while not piece.is_last:
            piece, _ = _split(self._following(messages))
            yield piece.value or b""

    def _following(self, messages: Iterator[memoryview]) -> memoryview:
        """Return the next message of a row; raise psycopg.Error if the source sends no more."""
        message = next(messages, None)
        if message is None:
            _rows(self._source)  # this raises the server's own error
            raise psycopg.OperationalError("the source broke off")
        return message


def _arrived(piece: Piece, passed: Iterable[_Passed]) -> tuple[int, int]:
    """Return the rows and bytes of a piece. Raise Failed if the ends count different numbers of rows."""
    sent, arrived, moved = (sum(numbers) for numbers in zip(*passed))
    if sent != arrived:
        raise Failed(f"{piece.table.qualified}: the source sent {sent} rows, the target took {arrived}")
    return arrived, moved


def _failed(piece: Piece, column: str, row: int, kind: str) -> Failed:
    part = " of those that were chosen" if piece.places else f" of its part from page {piece.first} on"
    where = "" if piece.whole else part
    return Failed(
        f"the rule of {piece.table.qualified}.{column} failed at row {row}{where}: its function raised "
        f"{kind}, whose words are not shown, since they may quote the value"
    )


class _Piece(NamedTuple):
    """A piece of a value: None for null."""

    value: bytes | None
    is_last: bool


def _split(message: memoryview) -> tuple[_Piece, memoryview]:
    """Return the piece in a message, and the other columns in it, without the end of the line."""
    start = bytes(message[: 2 * PIECE + 16])
    last, _, rest = start.partition(b"\t")
    digits = rest.rstrip(b"\n").partition(b"\t")[0]
    value = None if digits == _NULL else unhexlify(digits[len(_HEXADECIMAL) :])
    return _Piece(value, last == b"t"), message[len(last) + len(digits) + 2 : -1]


def _escape(value: bytes) -> bytes:
    for special, escaped in _ESCAPED.items():
        value = value.replace(special, escaped)
    return value


def _reach(connection: pq.abc.PGconn, expected: pq.ExecStatus) -> None:
    """Wait until a COPY begins; raise psycopg.Error if it, or a statement before it, fails."""
    while True:
        result = _result(connection)
        if result is None:
            raise psycopg.OperationalError("the server has begun no COPY")
        if result.status == expected:
            return
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise reasons.of_result(result)


def _rows(connection: pq.abc.PGconn) -> int:
    """Return the number of rows that a finished COPY reports; raise psycopg.Error if it failed."""
    result = _result(connection)
    if result is None:
        raise psycopg.OperationalError("the server has ended no COPY")
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise reasons.of_result(result)
    return -1 if result.command_tuples is None else result.command_tuples


def _end(connection: pq.abc.PGconn) -> None:
    """Wait for the end of the statements; raise psycopg.Error if the last ones fail, as a commit may."""
    while result := _result(connection):
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise reasons.of_result(result)


def _result(connection: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """Return the next result. Other threads run meanwhile, which libpq's own waiting does not allow."""
    while connection.is_busy():
        waiting = select.poll()  # not before: of a connection that is lost there is no socket
        waiting.register(connection.socket, select.POLLIN)
        waiting.poll()
        connection.consume_input()
    return connection.get_result()
