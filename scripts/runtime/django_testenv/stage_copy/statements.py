"""Write the statements that move the rows of a piece: COPY out of the source, COPY into the target.

No message between the servers holds a large value, for libpq would hold each three times. The source sends
in pieces: the rows of which it can send no more at once, and values that rules call Python for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Optional

from psycopg import sql

if TYPE_CHECKING:
    from .masking import Selection
    from .model import Column, Table

PIECE = 1 << 16  # bytes of a value
_FROZEN = 1 << 20  # bytes; a smaller table is not worth the new files that a TRUNCATE makes

# A row is large if its values may have more than _LARGE bytes. Without reading them, the server knows the
# size of texts and bytea, and of other values the size as they are stored, which may be compressed _DENSE
# times. No row is large in a table whose TOAST has less than _TOAST bytes.
_LARGE = 4 << 20
_DENSE = 64  # pglz can reach 87, lz4 255: then a row has up to 6 or 16 MB
_TOAST = _LARGE // _DENSE
_OF_BYTES = re.compile(r"text|bytea|character( varying)?(\(\d+\))?")

# The setting says whether the COPY of the other rows has met a large one: most tables are read only once.
_FOUND = "stage_copy.large"
_IS_NOT_LARGE = f"({{small}} OR set_config('{_FOUND}', 'on', false) IS NULL)"
_IS_LARGE = f"current_setting('{_FOUND}', true) = 'on' AND NOT {{small}}"

# The source sends a message for each piece of each value, in their order: is it the value's last, the piece
# in hexadecimal digits, with a row's first piece the other columns. `format` writes a value as COPY does.
_PIECES = """
SELECT {number} AS "copy column", n AS "copy piece", n = last AS "copy last",
    substr(value, n * {size} + 1, {size}) AS "copy value"
FROM (SELECT CASE num_nulls({value}) WHEN 0 THEN convert_to(format('%s', {value}), {encoding}) END AS value
    OFFSET 0) whole,
LATERAL (SELECT greatest(coalesce(octet_length(value), 0) - 1, 0) / {size} AS last OFFSET 0) pieces,
LATERAL generate_series(0, last) n
"""
# In COPY's binary format the source writes the row itself, and a message has: is it the row's first piece,
# the piece. `record_send` writes a column's length and value as that format has them, after eight bytes.
_BEGINNING = 'SELECT true AS "copy first", int2send({count}::int2) AS "copy value"'
_COLUMN = """
SELECT false, substr(value, n * {size} + 1, {size})
FROM (SELECT substr(record_send(ROW({value})), 9) AS value OFFSET 0) whole,
LATERAL generate_series(0, (octet_length(value) - 1) / {size}) n
"""

# Takes and returns a text of many megabytes piece by piece; None is null.
Call = Callable[[Optional[Iterable[bytes]]], Iterator[Optional[bytes]]]


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

    @property
    def is_frozen(self) -> bool:
        table = self.table
        return self.whole and not (table.root or table.extension) and table.size >= _FROZEN


def split(table: Table, pages: int) -> list[Piece]:
    """Cut a table into pieces of `pages`; the last piece also has the pages that were added since."""
    if table.pages < 2 * pages or table.extension:
        return [Piece(table)]
    starts = list(range(0, table.pages - pages // 2, pages))
    return [Piece(table, first, last) for first, last in zip(starts, [*starts[1:], None])]


@dataclass(frozen=True)
class Step:
    """A COPY out of the source and one into the target, with the statements before them.

    The source sends what the target takes, unless functions are called, or the rows are in pieces.
    """

    out: sql.Composable
    into: sql.Composable
    calls: Mapping[str, Call] = field(default_factory=dict)
    in_pieces: bool = False
    then: bytes = b""  # SQL for the target that follows in the same transaction


def steps(piece: Piece, selection: Selection, encoding: str, *, text: bool) -> list[Step]:
    """Return the steps that move the rows of a piece; they are sent together, as one transaction.

    Values pass in the source's `encoding`, in COPY's text format if `text` is true.
    """
    writer = _Writer(piece, selection, encoding)
    growing = writer.growing()
    if not growing:
        return [writer.step(selection.calls, text=text)]
    calls = {
        column.name: selection.calls.get(column.name, _unchanged)
        for column in writer.columns
        if column in growing or column.name in selection.calls
    }
    if selection.calls:
        return [writer.step(calls)]
    size = sql.SQL(" + ").join(map(writer.size, growing))
    small = sql.SQL("{} <= {}").format(size, sql.Literal(_LARGE))
    first = writer.step({}, text=text, condition=sql.SQL(_IS_NOT_LARGE).format(small=small))
    is_large = sql.SQL(_IS_LARGE).format(small=small)
    if text:
        second = writer.step(calls, condition=is_large, again=True)
    else:
        second = writer.step({}, in_pieces=True, condition=is_large, again=True)
    return [first, second]


class _Writer:
    """Writes the steps for the rows of a piece."""

    def __init__(self, piece: Piece, selection: Selection, encoding: str) -> None:
        self._piece, self._selection, self._encoding = piece, selection, encoding
        self._table = sql.Identifier(piece.table.schema, piece.table.name)
        self.columns = [column for column in piece.table.columns if not column.generated]

    def growing(self) -> list[Column]:
        """Return the columns that a large value may be in; none if the table has no large row."""
        table = self._piece.table
        if table.toast < _TOAST or table.condition:  # there are few rows of a condition's, and small ones
            return []
        return [column for column in self.columns if column.toastable]

    def size(self, column: Column) -> sql.Composed:
        """Return SQL for the number of bytes that a value may have; no value is read from TOAST for it."""
        of_bytes = _OF_BYTES.fullmatch(column.type)
        function = "octet_length({})::int8" if of_bytes else f"{_DENSE} * pg_column_size({{}})::int8"
        return sql.SQL(f"coalesce({function}, 0)").format(self._raw(column.name))

    def step(
        self,
        calls: Mapping[str, Call],
        *,
        text: bool = False,
        in_pieces: bool = False,
        condition: sql.Composable | None = None,
        again: bool = False,
    ) -> Step:
        """Return the step for the rows that fulfil a condition; `again`: after another step's rows."""
        names = [column.name for column in self.columns]
        names.sort(key=lambda name: name in calls)  # those last
        # Functions of the project take text.
        encoding = "UTF8" if calls and self._encoding != "SQL_ASCII" else self._encoding
        form = sql.SQL("{}, ENCODING {}").format(
            sql.SQL("TEXT" if text or calls else "BINARY"), sql.Literal(encoding)
        )
        values: Sequence[sql.Composable] = [self._value(name) for name in names]
        rows: sql.Composable = self._table
        before = ""
        if calls:
            values, rows = self._with_calls(names, len(calls), encoding)
        elif in_pieces:
            values, rows = self._rows_in_pieces(names)
        if calls or in_pieces:  # or pieces of several rows would be mixed
            before = "SET max_parallel_workers_per_gather = 0; "
        elif condition:
            before = f"SET {_FOUND} = ''; "
        out = sql.SQL("COPY (SELECT {} FROM ONLY {}{}) TO STDOUT (FORMAT {})").format(
            sql.SQL(", ").join(values), rows, self._where(condition), form
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        into = sql.SQL("COPY {}{} FROM STDIN (FORMAT {}{})").format(
            sql.Identifier(*self._piece.table.entrance),
            sql.SQL(" ({})").format(columns) if names else sql.SQL(""),
            form,
            sql.SQL(", FREEZE" if self._piece.is_frozen else ""),
        )
        if not again:
            into = self._emptying() + into
        return Step(sql.SQL(before) + out, into, calls, in_pieces)

    def _raw(self, name: str) -> sql.Composed:
        return sql.SQL("{}.{}").format(self._table, sql.Identifier(name))

    def _value(self, name: str) -> sql.Composable:
        return self._selection.expressions.get(name, self._raw(name))

    def _where(self, condition: sql.Composable | None) -> sql.Composed:
        piece = self._piece
        if piece.table.condition:  # an extension's own words, as pg_dump uses them, from the catalogue
            return sql.SQL(" {}").format(sql.SQL(piece.table.condition))
        limits = [sql.SQL("ctid >= {}").format(sql.Literal(f"({piece.first},0)"))] if piece.first else []
        if piece.last is not None:
            limits.append(sql.SQL("ctid < {}").format(sql.Literal(f"({piece.last},0)")))
        if piece.places:
            limits.append(sql.SQL("ctid = ANY ({}::tid[])").format(sql.Literal(piece.places)))
        every = [*limits, *([condition] if condition else [])]
        return sql.SQL(" WHERE {}" if every else "{}").format(sql.SQL(" AND ").join(every))

    def _emptying(self) -> sql.Composable:
        if self._piece.table.condition or self._piece.table.root:
            return sql.SQL("")  # rows stay that the extension has just made, or that came through the root
        if self._piece.is_frozen:  # Postgres freezes only what no other transaction can have seen
            return sql.SQL("TRUNCATE ONLY {}; ").format(self._table)
        if self._piece.whole and self._piece.table.extension:  # it may have made rows to which others refer
            return sql.SQL("DELETE FROM ONLY {}; ").format(self._table)
        return sql.SQL("")

    def _with_calls(
        self, names: list[str], count: int, encoding: str
    ) -> tuple[list[sql.Composable], sql.Composable]:
        """Return what to select, and from where, if the last columns come in pieces."""
        others, called = names[: len(names) - count], names[len(names) - count :]
        pieces = [
            sql.SQL(_PIECES).format(
                number=sql.Literal(number),
                size=sql.Literal(PIECE),
                value=self._value(name),
                encoding=sql.Literal(encoding),
            )
            for number, name in enumerate(called)
        ]
        is_first = sql.SQL("""CASE WHEN "copy column" = 0 AND "copy piece" = 0 THEN {} END""")
        first = [is_first.format(self._value(name)) for name in others]
        return [sql.SQL('"copy last"'), sql.SQL('"copy value"'), *first], self._rows_with(pieces)

    def _rows_in_pieces(self, names: list[str]) -> tuple[list[sql.Composable], sql.Composable]:
        """Return what to select, and from where, if whole rows come in pieces."""
        pieces = [sql.SQL(_BEGINNING).format(count=sql.Literal(len(names)))]
        pieces += [
            sql.SQL(_COLUMN).format(size=sql.Literal(PIECE), value=self._value(name)) for name in names
        ]
        return [sql.SQL('"copy first"'), sql.SQL('"copy value"')], self._rows_with(pieces)

    def _rows_with(self, pieces: list[sql.Composed]) -> sql.Composed:
        return sql.SQL('{}, LATERAL ({}) "copy pieces"').format(
            self._table, sql.SQL(" UNION ALL ").join(pieces)
        )


def _unchanged(value: Iterable[bytes] | None) -> Iterator[bytes | None]:
    """Return a value as it is: it is called for what only passes in pieces."""
    yield from [None] if value is None else value
