"""Move rows in one process: COPY out of the source, COPY into the target, message by message.

A piece is a range of a table's pages, so that several connections can share a large table. Its rows pass
unchanged, in COPY's binary format where both ends support it. They are parsed only if a rule calls Python.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

import psycopg
from psycopg import pq, sql

from . import reasons
from .calling import CallError
from .problems import Failed
from .wire import Wire, can_carry

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection
    from .model import Table

_BATCH = 1 << 16  # bytes in one message to the target: a row may be cut anywhere
_LARGE = 1 << 20  # bytes of a value that are written at once
_WAIT = 500  # milliseconds between two checks whether the copy was stopped
_NULL = b"\\N"
# COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LETTERS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_SPECIAL = re.compile(rb"[\\\b\f\n\r\t\v]")
_ESCAPES = {meant: b"\\" + letter for letter, meant in _LETTERS.items()} | {b"\\": b"\\\\"}

Tell = Callable[[int], None]
Call = Callable[[Optional[bytes]], Optional[bytes]]  # takes and returns texts of many megabytes


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

    def __init__(self, column: int, row: int, kind: str) -> None:
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
        self._plain = can_carry(source) and can_carry(target)

    def copy(self, piece: Piece, selection: Selection, *, text: bool, tell: Tell) -> tuple[int, int]:
        """Copy a piece. Return the numbers of rows and of bytes that arrived.

        Raises psycopg.Error for a server's error, Failed if the two ends count different numbers of rows.
        """
        out, into = self._statements(piece, selection, text=text or bool(selection.calls))
        names = [column.name for column in piece.table.columns if not column.generated]
        calls = {names.index(name): call for name, call in selection.calls.items()}
        self._row, failure = 0, None
        try:
            if self._plain and not calls:
                sent, arrived, moved = self._through_sockets(out, into, tell)
            else:
                sent, arrived, moved = self._through_libpq(out, into, calls, tell)
        except _RuleFailed as error:
            failure = (names[error.column], error.row, error.kind)
        if failure:  # not raised above: the error would keep the row as its context
            raise _failed(piece, *failure)
        if piece.whole:
            _execute(self._target, b"COMMIT")
        if sent != arrived:
            raise Failed(f"{piece.table.qualified}: the source sent {sent} rows, the target took {arrived}")
        return arrived, moved

    def _through_sockets(self, out: bytes, into: bytes, tell: Tell) -> tuple[int, int, int]:
        source, target = Wire(self._source_context, self._stopped), Wire(self._target_context, self._stopped)
        source.begin(out, rows_come=True)
        target.begin(into, rows_come=False)
        moved = source.pass_on_to(target, tell)
        target.finish()
        return source.rows(), target.rows(), moved

    def _through_libpq(
        self, out: bytes, into: bytes, calls: Mapping[int, Call], tell: Tell
    ) -> tuple[int, int, int]:
        _begin(self._source, out, pq.ExecStatus.COPY_OUT)
        _begin(self._target, into, pq.ExecStatus.COPY_IN)
        self._target.nonblocking = 1
        try:
            moved = self._pass_on(calls, tell)
            self._target.put_copy_end()
            self._flush()
        finally:
            self._target.nonblocking = 0
        return _rows(self._source), _rows(self._target), moved

    def _statements(self, piece: Piece, selection: Selection, *, text: bool) -> tuple[bytes, bytes]:
        table = sql.Identifier(piece.table.schema, piece.table.name)
        names = [column.name for column in piece.table.columns if not column.generated]
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        wanted = sql.SQL(", ").join(selection.expressions.get(name, sql.Identifier(name)) for name in names)
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
        query = sql.SQL("SELECT {} FROM ONLY {}{}").format(wanted, table, where)
        out = sql.SQL("COPY ({}) TO STDOUT (FORMAT {})").format(query, form)
        into = sql.SQL("COPY {}{} FROM STDIN (FORMAT {}{})").format(
            table,
            sql.SQL(" ({})").format(columns) if names else sql.SQL(""),
            form,
            sql.SQL(", FREEZE" if piece.whole and not piece.table.extension else ""),
        )
        if piece.table.condition:  # the extension's own rows stay, as it has just made them
            into = sql.SQL("BEGIN; ") + into
        elif piece.table.extension:  # all rows are the user's; other tables may refer to it already
            into = sql.SQL("BEGIN; DELETE FROM ONLY {}; ").format(table) + into
        elif piece.whole:  # Postgres freezes only what no other transaction can have seen
            into = sql.SQL("BEGIN; TRUNCATE ONLY {}; ").format(table) + into
        return out.as_bytes(self._source_context), into.as_bytes(self._target_context)

    def _pass_on(self, calls: Mapping[int, Call], tell: Tell) -> int:
        """Read all rows of the source and write them in batches. Return the number of bytes written."""
        source, held, moved = self._source, 0, 0
        batch: list[bytes | memoryview] = []
        get = source.get_copy_data
        waiting = select.poll()
        waiting.register(source.socket, select.POLLIN)
        while True:
            size, row = get(1)
            if size > 0:
                if calls:
                    parts = self._with_calls(_fields(row), calls)
                    row = memoryview(b"")
                    batch += parts
                    size = sum(map(len, parts))
                    del parts
                else:
                    batch.append(row)
                held += size
                if held < _BATCH:
                    continue
            elif size < -1:
                _rows(source)
                raise psycopg.OperationalError("the source broke off")
            if batch and (held >= _BATCH or size < 0):
                self._put_all(batch)
                moved += held
                tell(held)
                batch, held = [], 0
            if size < 0:
                return moved
            if size == 0:
                self._require_not_stopped()
                if waiting.poll(_WAIT):
                    source.consume_input()

    def _put_all(self, batch: list[bytes | memoryview]) -> None:
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
        except psycopg.Error:
            _rows(self._target)  # the server ended the COPY; this raises its own error
            raise
        self._flush()

    def _flush(self) -> None:
        """Write until the target has received everything; read from it meanwhile, as it may send an error."""
        waiting = None
        while self._target.flush() == 1:
            if waiting is None:
                waiting = select.poll()
                waiting.register(self._target.socket, select.POLLIN | select.POLLOUT)
            self._require_not_stopped()
            for _, event in waiting.poll(_WAIT):
                if event & select.POLLIN:
                    self._target.consume_input()

    def _require_not_stopped(self) -> None:
        if self._stopped():
            raise Failed("the copy was stopped")

    def _with_calls(self, fields: list[bytes], calls: Mapping[int, Call]) -> list[bytes]:
        """Return the parts of a row in COPY's text format, with what the functions return.

        A value may be large, so each is kept once. Raise _RuleFailed.
        """
        self._row += 1
        for number, call in calls.items():
            try:
                value = None if fields[number] == _NULL else _unescape(fields[number])
                fields[number] = _NULL
                value = call(value)
                fields[number] = _NULL if value is None else _escape(value)
            except BaseException as error:  # noqa: BLE001 - any error may quote the value
                kind = error.kind if isinstance(error, CallError) else type(error).__name__
                raise _RuleFailed(number, self._row, kind) from None
        parts = [part for field in fields for part in (field, b"\t")]
        parts[-1] = b"\n"
        return parts


def _failed(piece: Piece, column: str, row: int, kind: str) -> Failed:
    part = " of those that were chosen" if piece.places else f" of its part from page {piece.first} on"
    where = "" if piece.whole else part
    return Failed(
        f"the rule of {piece.table.qualified}.{column} failed at row {row}{where}: its function raised "
        f"{kind}, whose words are not shown, since they may quote the value"
    )


def _fields(row: memoryview) -> list[bytes]:
    """Return the fields of a row in COPY's text format."""
    fields = bytes(row).split(b"\t")
    fields[-1] = fields[-1][:-1]  # without the end of the line
    return fields


def _unescape(field: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: _LETTERS.get(found[1], found[1]), field) if b"\\" in field else field


def _escape(value: bytes) -> bytes:
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value) if _SPECIAL.search(value) else value


def _execute(connection: pq.abc.PGconn, statement: bytes) -> None:
    result = connection.exec_(statement)
    if result.status != pq.ExecStatus.COMMAND_OK:
        raise reasons.of_result(result)


def _begin(connection: pq.abc.PGconn, statement: bytes, expected: pq.ExecStatus) -> None:
    result = connection.exec_(statement)
    if result.status != expected:
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
    waiting = select.poll()
    waiting.register(connection.socket, select.POLLIN)
    while connection.is_busy():
        waiting.poll()
        connection.consume_input()
    return connection.get_result()
