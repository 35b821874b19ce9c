"""Move rows in one process: COPY out of the source, COPY into the target, message by message.

A piece is a range of a table's pages, so that several connections can share a large table. Its rows pass
unchanged, in COPY's binary format where both ends support it. They are parsed only if a rule calls Python.
"""

from __future__ import annotations

import re
import select
from binascii import unhexlify
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, Optional

import psycopg
from psycopg import pq, sql

from . import reasons
from .calling import CallError
from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection
    from .model import Table

_BATCH = 1 << 16  # bytes in one message to the target: a row may be cut anywhere
_LARGE = 1 << 20  # bytes of a value that are written at once
_FROZEN = 1 << 20  # bytes; a smaller table is not worth the new files that a TRUNCATE makes
_WAIT = 500  # milliseconds between two checks whether the copy was stopped
# COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html
_NULL, _HEXADECIMAL = b"\\N", b"\\\\x"
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SPECIAL = re.compile(rb"[\\\b\f\n\r\t\v]")
_ESCAPES = {meant: b"\\" + letter for letter, meant in _LETTERS.items()} | {b"\\": b"\\\\"}

Tell = Callable[[int], None]
# Takes and returns a text of many megabytes piece by piece; None is null.
Call = Callable[[Optional[Iterable[bytes]]], Iterator[Optional[bytes]]]

# Of columns that rules call Python for, the source sends a message for each piece of each value, in their
# order: is it the value's last, the piece in hexadecimal digits, with a row's first piece the other columns.
# So no end of the connection holds a large value: libpq would hold it twice. `format` writes a value as COPY
# does.
_PIECE = 1 << 16  # bytes
_PIECES = """
SELECT {number} AS "copy column", n AS "copy piece", n = last AS "copy last",
    substr(value, n * {size} + 1, {size}) AS "copy value"
FROM (SELECT CASE num_nulls({column}) WHEN 0 THEN convert_to(format('%s', {column}), {encoding}) END AS value
    OFFSET 0) whole,
LATERAL (SELECT greatest(coalesce(octet_length(value), 0) - 1, 0) / {size} AS last OFFSET 0) pieces,
LATERAL generate_series(0, last) n
"""


@dataclass(frozen=True)
class Piece:
    """The pages of a table from `first` up to, but without, `last`; None: up to the end."""

    table: Table
    first: int = 0
    last: int | None = None
    places: str = field(default="", repr=False)  # SQL's text of a list: of a sample, these rows only

    @property
    def whole(self) -> bool:
        return self.first == 0 and self.last is None and not self.places

    @property
    def weight(self) -> int:
        """Return the piece's share of the table's size, in bytes."""
        pages = max(self.table.pages, 1)
        return self.table.size * ((self.last or pages) - self.first) // pages


def split(table: Table, pages: int) -> list[Piece]:
    """Cut a table into pieces of `pages`; the last piece also has the pages that were added since."""
    if table.pages < 2 * pages or table.extension:
        return [Piece(table)]
    starts = list(range(0, table.pages - pages // 2, pages))
    return [Piece(table, first, last) for first, last in zip(starts, [*starts[1:], None])]


class _RuleFailed(Exception):
    """A rule's Python function failed, at this column and row of the piece, with this kind of error."""

    def __init__(self, column: str, row: int, kind: str) -> None:
        super().__init__()
        self.column, self.row, self.kind = column, row, kind


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
        calls = selection.calls
        out, into = self._statements(piece, selection, text=text or bool(calls))
        self._row, failure = 0, None
        if calls:  # or pieces of several rows would be mixed
            out = b"SET max_parallel_workers_per_gather = 0; " + out
        try:
            sent, arrived, moved = self.pass_on(out, into + b"; " + then, calls, tell)
        except _RuleFailed as error:
            failure = (error.column, error.row, error.kind)
        if failure:  # not raised above: the error would keep the row as its context
            raise _failed(piece, *failure)
        if sent != arrived:
            raise Failed(f"{piece.table.qualified}: the source sent {sent} rows, the target took {arrived}")
        return arrived, moved

    def pass_on(self, out: bytes, into: bytes, calls: Mapping[str, Call], tell: Tell) -> tuple[int, int, int]:
        """Pass what a COPY sends to another; return the rows sent, the rows and the bytes that arrived."""
        for connection, statement in ((self._source, out), (self._target, into)):
            connection.send_query(statement)  # both before the first answer: each takes a round trip
            self._flush(connection)
        _reach(self._source, pq.ExecStatus.COPY_OUT)
        _reach(self._target, pq.ExecStatus.COPY_IN)
        moved = self._send(calls, tell)
        self._target.put_copy_end()
        self._flush(self._target)
        sent = _rows(self._source)
        return self._row if calls else sent, _rows(self._target), moved

    def _statements(self, piece: Piece, selection: Selection, *, text: bool) -> tuple[bytes, bytes]:
        table = sql.Identifier(piece.table.schema, piece.table.name)
        names = [column.name for column in piece.table.columns if not column.generated]
        names.sort(key=lambda name: name in selection.calls)  # those last
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        expressions = [selection.expressions.get(name, sql.Identifier(name)) for name in names]
        limits = [sql.SQL("ctid >= {}").format(sql.Literal(f"({piece.first},0)"))] if piece.first else []
        if piece.last is not None:
            limits.append(sql.SQL("ctid < {}").format(sql.Literal(f"({piece.last},0)")))
        if piece.places:
            limits.append(sql.SQL("ctid = ANY ({}::tid[])").format(sql.Literal(piece.places)))
        where = sql.SQL(" WHERE ") + sql.SQL(" AND ").join(limits) if limits else sql.SQL("")
        if piece.table.condition:  # an extension's own words, as pg_dump uses them
            where = sql.SQL(" ") + sql.SQL(piece.table.condition)  # from the catalogue
        # Values pass in the source's encoding; functions of the project take text.
        encoding = "UTF8" if selection.calls and self._encoding != "SQL_ASCII" else self._encoding
        form = sql.SQL("{}, ENCODING {}").format(sql.SQL("TEXT" if text else "BINARY"), sql.Literal(encoding))
        rows: sql.Composable = table
        if selection.calls:
            expressions, rows = self._in_pieces(table, names, expressions, selection, encoding)
        query = sql.SQL("SELECT {} FROM ONLY {}{}").format(sql.SQL(", ").join(expressions), rows, where)
        out = sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(query, form)
        root = piece.table.root
        is_frozen = piece.whole and not (root or piece.table.extension) and piece.table.size >= _FROZEN
        into = sql.SQL("COPY {}{} FROM STDIN (FORMAT {}{})").format(
            sql.Identifier(*piece.table.entrance),
            sql.SQL(" ({})").format(columns) if names else sql.SQL(""),
            form,
            sql.SQL(", FREEZE" if is_frozen else ""),
        )
        # Statements that are sent together are one transaction.
        if piece.table.condition or root:
            pass  # rows stay that the extension has just made, or that came through the root
        elif is_frozen:  # Postgres freezes only what no other transaction can have seen
            into = sql.SQL("TRUNCATE ONLY {}; ").format(table) + into
        elif piece.whole and piece.table.extension:  # it may have made rows to which others refer
            into = sql.SQL("DELETE FROM ONLY {}; ").format(table) + into
        return out.as_bytes(self._source_context), into.as_bytes(self._target_context)

    def _in_pieces(
        self,
        table: sql.Identifier,
        names: list[str],
        expressions: list[sql.Composable],
        selection: Selection,
        encoding: str,
    ) -> tuple[list[sql.Composable], sql.Composable]:
        """Return what to select, and from where, if the last columns come in pieces."""
        called = names[len(names) - len(selection.calls) :]
        pieces = [
            sql.SQL(_PIECES).format(
                number=sql.Literal(number),
                size=sql.Literal(_PIECE),
                column=sql.SQL("{}.{}").format(table, sql.Identifier(name)),
                encoding=sql.Literal(encoding),
            )
            for number, name in enumerate(called)
        ]
        is_first = sql.SQL("""CASE WHEN "copy column" = 0 AND "copy piece" = 0 THEN {} END""")
        others = [is_first.format(expression) for expression in expressions[: len(names) - len(called)]]
        rows = sql.SQL('{}, LATERAL ({}) "copy pieces"').format(table, sql.SQL(" UNION ALL ").join(pieces))
        return [sql.SQL('"copy last"'), sql.SQL('"copy value"'), *others], rows

    def _send(self, calls: Mapping[str, Call], tell: Tell) -> int:
        """Read all rows of the source and write them in batches. Return the number of bytes written."""
        moved = 0
        received = self._batches()
        with closing(self._with_calls(received, calls) if calls else received) as batches:
            for batch in batches:
                self._put_all(batch)
                size = sum(map(len, batch))
                tell(size)
                moved += size
        return moved

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
                    piece, _ = _split(next(messages))
                if number or others:
                    yield b"\t"
                value = None if piece.value is None else _pieces(piece, messages)
                try:
                    with closing(call(value)) as result:  # type: ignore[type-var]
                        yield from (_NULL if part is None else _escape(part) for part in result)
                except CallError as error:
                    raise _RuleFailed(name, self._row, error.kind) from None
            yield b"\n"


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
    start = bytes(message[: 2 * _PIECE + 16])
    last, _, rest = start.partition(b"\t")
    digits = rest.rstrip(b"\n").partition(b"\t")[0]
    value = None if digits == _NULL else unhexlify(digits[len(_HEXADECIMAL) :])
    return _Piece(value, last == b"t"), message[len(last) + len(digits) + 2 : -1]


def _pieces(first: _Piece, messages: Iterator[memoryview]) -> Iterator[bytes]:
    """Yield the first piece of a value and those that follow it."""
    piece = first
    yield piece.value or b""
    while not piece.is_last:
        piece, _ = _split(next(messages))
        yield piece.value or b""


def _escape(value: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value) if _SPECIAL.search(value) else value


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
    rows = -1
    while result := _result(connection):
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise reasons.of_result(result)
        rows = result.command_tuples if result.command_tuples is not None else rows
    return rows


def _result(connection: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """Return the next result. Other threads run meanwhile, which libpq's own waiting does not allow."""
    while connection.is_busy():
        waiting = select.poll()  # not before: of a connection that is lost there is no socket
        waiting.register(connection.socket, select.POLLIN)
        waiting.poll()
        connection.consume_input()
    return connection.get_result()
