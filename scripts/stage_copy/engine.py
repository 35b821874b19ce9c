"""Fills an empty database with what the source holds at one moment, all of it or an error.

One snapshot serves every connection to the source: the catalogue, pg_dump's schema, each stream of rows. Rows
flow first through the largest tables; as soon as a table has all of its rows its indexes are built, while
the rows of others still flow. Foreign keys are added unchecked, all at once, and then checked side by side.
What is left of the schema (triggers, rules, policies, views' contents) pg_restore adds at the end.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from . import catalogue, masking, schema, verify
from .crew import Crew, Worker
from .database import no_timeouts, reason
from .model import Moved
from .problems import Failed, Misconfigured
from .rows import Piece, Pump, split
from .scratch import scratch

if TYPE_CHECKING:
    from pathlib import Path

    from .database import Connection, Database
    from .model import Progress, Table
    from .options import Options

_PIECE = 2048 * 128  # pages of 8 KiB, so 2 GiB; a larger table is moved in pieces, which cannot be frozen
_FIRST = 1 << 62  # the weight of a job that should not wait
_SETVALS = 500  # in one statement
_SMALL = 8 << 20  # bytes; the indexes of a smaller table are built in one go
# Values mean the same on both ends. https://www.postgresql.org/docs/current/app-pgdump.html
_SESSION = (
    "SET search_path = ''; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 1; "
    "SET lc_monetary = 'C'; SET row_security = off; SET lock_timeout = '60s'"
)
# Nothing is lost by a late commit record: the copy takes the target's place by a commit that is waited for.
_FILLING = (
    "SET synchronous_commit = off; SET maintenance_work_mem = '{memory}MB'; SET check_function_bodies = off; "
    "SET xmloption = content; SET max_parallel_maintenance_workers = 0"
)


def fill(source: Database, target: Database, options: Options, progress: Progress) -> Moved:
    """Copy `source` into the new, empty database `target`.

    Raises Failed, or Misconfigured where the options do not fit the source's tables; the target is then to be
    thrown away.
    """
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(scratch())
            return _Fill(source, target, options, progress, stack, folder).run()
    except psycopg.Error as error:
        raise Failed(f'the copy of "{source.name}" failed: {reason(error)}') from None


@dataclass
class _Snapshot:
    name: str
    at: str
    encoding: str


class _Fill:
    def __init__(
        self,
        source: Database,
        target: Database,
        options: Options,
        progress: Progress,
        stack: ExitStack,
        folder: Path,
    ) -> None:
        self._source, self._target, self._options, self._progress = source, target, options, progress
        self._stack, self._folder = stack, folder
        self._seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def run(self) -> Moved:
        reader = self._stack.enter_context(closing(self._source.connect()))
        self._snapshot = self._take_snapshot(reader)
        filler = self._stack.enter_context(closing(self._open_target()))
        left = catalogue.extensions_to_leave(reader, filler)
        for name in left:
            self._progress.say(f'extension "{name}" stays behind: the role of the target may not create it')
        tables = catalogue.tables(reader, left)
        self._lock(reader, tables)
        masking.check(tables, self._options)
        selections = {table.oid: masking.select(table, self._options) for table in tables}
        references = catalogue.references(reader, tables)
        require_whole(tables, selections, references)

        self._progress.phase("schema")
        archive = schema.Archive(self._source, self._snapshot.name, self._folder)
        archive.restore(archive.entries("pre-data", left), self._target)
        self._done("schema")

        later = archive.entries("post-data", left)
        jobs = _Later(archive, later, catalogue.built(reader, tables), references, tables)
        crew = Crew(self._options.jobs, lambda: Worker(self._open_source, self._open_target))
        self._stack.callback(crew.close)
        copied = [table for table in tables if not selections[table.oid].excluded]
        streams = _Streams(crew, jobs, selections, catalogue.text_only(reader, copied), self._options)
        rows = self._move(reader, filler, crew, streams, tables, copied)

        self._progress.phase("the rest of the schema")
        archive.restore([entry for entry in later if entry.number not in jobs.numbers], self._target)
        verify.require_same_validity(reader, filler)
        self._done("the rest of the schema")
        if self._options.verify:
            self._progress.phase("verification", total=sum(table.size for table in copied))
            verify.compare(crew, copied, selections, self._progress)
            self._done("verification")
        return Moved(self._snapshot.at, rows, streams.bytes, self._seconds)

    def _move(
        self,
        reader: Connection,
        filler: Connection,
        crew: Crew,
        streams: _Streams,
        tables: list[Table],
        copied: list[Table],
    ) -> Mapping[str, int]:
        """Rows, indexes and foreign keys, large objects and sequences; the rows of each table."""
        self._progress.phase("rows", total=sum(table.size for table in copied))
        streams.start(tables, self._progress)
        if catalogue.has_large_objects(reader):
            name = self._snapshot.name
            crew.add(_FIRST, lambda _: schema.copy_large_objects(self._source, name, self._target))
        state = catalogue.sequences(reader)
        crew.run()
        self._seconds["rows"] = streams.rows_done - self._began - sum(self._seconds.values())
        _set_sequences(filler, state)
        self._done("indexes and foreign keys")
        return {table.qualified: streams.rows[table.oid] for table in copied}

    def _done(self, phase: str) -> None:
        self._seconds[phase] = time.monotonic() - self._began - sum(self._seconds.values())

    def _take_snapshot(self, reader: Connection) -> _Snapshot:
        _prepare(reader)
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        row = reader.execute(
            "SELECT pg_export_snapshot(), "
            "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"'), "
            "current_setting('server_encoding')"
        ).fetchone()
        assert row  # noqa: S101  a SELECT without FROM has one row
        reader.execute(sql.SQL("SET client_encoding = {}").format(sql.Literal(row[2])))
        return _Snapshot(*row)

    def _lock(self, reader: Connection, tables: Iterable[Table]) -> None:
        """As pg_dump does: nobody is to change these tables' shape; writers do not notice."""
        names = [sql.Identifier(table.schema, table.name) for table in tables]
        if names:
            reader.execute(
                sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(sql.SQL(", ONLY ").join(names))
            )

    def _open_source(self) -> Connection:
        connection = self._source.connect()
        _prepare(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self._snapshot.name)))
        connection.execute(sql.SQL("SET client_encoding = {}").format(sql.Literal(self._snapshot.encoding)))
        masking.prepare(connection, self._options)
        return connection

    def _open_target(self) -> Connection:
        connection = self._target.connect()
        _prepare(connection)
        connection.execute(_FILLING.format(memory=self._options.memory).encode())
        connection.execute(sql.SQL("SET client_encoding = {}").format(sql.Literal(self._snapshot.encoding)))
        return connection


class _Later:
    """What follows the rows of each table: its constraints one by one, its indexes, its foreign keys.

    That is of the schema's later section what reads the tables; only ordinary tables', since those of
    partitioned tables are but put together of their partitions' and need these to be there.
    """

    def __init__(
        self,
        archive: schema.Archive,
        later: Iterable[schema.Entry],
        built: Iterable[catalogue.Built],
        references: Iterable[catalogue.Reference],
        tables: Iterable[Table],
    ) -> None:
        ours = {table.oid for table in tables}
        owners = {number: one.table for one in built for number in (one.index, one.constraint)}
        named = {one.oid: one for one in references if one.referenced in ours}
        building = [entry for entry in later if entry.is_one_of(owners, owners)]
        adding = [entry for entry in later if entry.is_one_of((), named)]
        texts = archive.statements([*building, *adding])
        self.numbers = {entry.number for entry in (*building, *adding)}
        self.constraints: dict[int, list[str]] = defaultdict(list)
        self.indexes: dict[int, list[str]] = defaultdict(list)
        self.keys = [(named[entry.oid], texts[entry.number]) for entry in adding]
        for entry in building:
            kept = self.indexes if entry.kind.startswith("INDEX ") else self.constraints
            kept[owners[entry.oid]].append(texts[entry.number])


class _Streams:
    """The jobs of the rows, of the indexes that follow them, and of the foreign keys that follow these."""

    def __init__(
        self,
        crew: Crew,
        later: _Later,
        selections: Mapping[int, masking.Selection],
        text: frozenset[int],
        options: Options,
    ) -> None:
        self._crew, self._later, self._options = crew, later, options
        self._selections, self._text = selections, text
        self._keys = list(later.keys)  # still to be added
        self._under_way: list[catalogue.Reference] = []  # being added
        self._added: list[catalogue.Reference] = []  # still to be checked
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._open: Counter[int] = Counter()  # jobs of each table that its foreign keys wait for
        self._moving_rows = 0  # pieces that are under way or wait
        self._weights: dict[int, int] = {}
        self._tables: dict[int, Table] = {}
        self._pumps: dict[Worker, Pump] = {}
        self.rows: Counter[int] = Counter()
        self.bytes = 0
        self.rows_done = time.monotonic()

    def start(self, tables: Iterable[Table], progress: Progress) -> None:
        """Add the jobs of the rows; the others follow as they can."""
        self._progress = progress
        self._tables = {table.oid: table for table in tables}
        self._weights = {table.oid: table.size for table in tables}
        for reference, _ in self._keys:  # a large table's check waits for what it refers to
            size = self._tables[reference.table].size
            self._weights[reference.referenced] = max(self._weights[reference.referenced], size)
        for table in tables:
            excluded = self._selections[table.oid].excluded
            pieces = [] if excluded else split(table, _PIECE)
            self._moving_rows += len(pieces)
            self._open[table.oid] = len(pieces) or 1
            for piece in pieces:
                self._crew.add(self._weights[table.oid], self._moving(piece))
            if not pieces:
                self._crew.add(self._weights[table.oid], self._nothing_moves(table))

    def _nothing_moves(self, table: Table) -> Callable[[Worker], None]:
        return lambda _: self._arrived(table)

    def _moving(self, piece: Piece) -> Callable[[Worker], None]:
        def move(worker: Worker) -> None:
            pump = self._pumps.get(worker)
            if pump is None:
                pump = self._pumps[worker] = Pump(worker.source, worker.target, self._crew.stopped)
            told = 0

            def tell(size: int) -> None:
                nonlocal told
                step = min(size, piece.weight - told)  # a table's size is an estimate of what COPY sends
                told += step
                self._progress.advance(amount=step)

            table = piece.table
            selection, text = self._selections[table.oid], table.oid in self._text
            try:
                rows, size = pump.copy(piece, selection, text=text, tell=tell)
            except psycopg.Error as error:
                raise Failed(f"the rows of {table.qualified} could not be copied: {reason(error)}") from None
            self._progress.advance(amount=piece.weight - told, rows=rows)
            with self._lock:
                self.rows[table.oid] += rows
                self.bytes += size
                self._moving_rows -= 1
                if not self._moving_rows:
                    self.rows_done = time.monotonic()
                    self._progress.phase("indexes and foreign keys")
            self._arrived(table)

        return move

    def _arrived(self, table: Table) -> None:
        """A piece is there; after the last one the indexes are built."""
        if not self._closed(table):
            return
        constraints, indexes = self._later.constraints[table.oid], self._later.indexes[table.oid]
        one_by_one = indexes if table.size >= _SMALL else []
        with self._lock:
            self._open[table.oid] = 1 + len(one_by_one)
        weight = self._weights[table.oid]

        def build(worker: Worker) -> None:
            _run(worker, constraints if one_by_one else [*constraints, *indexes])
            for index in one_by_one:
                self._crew.add(weight, self._building(table, [index]))
            self._built(table)

        self._crew.add(weight, build)

    def _building(self, table: Table, statements: list[str]) -> Callable[[Worker], None]:
        def build(worker: Worker) -> None:
            _run(worker, statements)
            self._built(table)

        return build

    def _built(self, table: Table) -> None:
        """An index is there; after the last one, the foreign keys whose two tables are built follow.

        They are added unchecked, which takes no time, one after the other, since two at once could wait for
        each other's tables. A table's keys are checked when none is to be added to it any more: adding one
        would wait for the check.
        """
        if not self._closed(table):
            return
        with self._lock:
            due = [
                (reference, statement)
                for reference, statement in self._keys
                if table.oid in (reference.table, reference.referenced)
                and not self._open[reference.table]
                and not self._open[reference.referenced]
            ]
            for pair in due:
                self._keys.remove(pair)
                self._under_way.append(pair[0])
        if due:
            self._crew.add(_FIRST, self._adding_keys(due))

    def _adding_keys(self, due: list[tuple[catalogue.Reference, str]]) -> Callable[[Worker], None]:
        def add(worker: Worker) -> None:
            with self._adding:
                _run(worker, [_unchecked(text) if key.valid else text for key, text in due])
            with self._lock:
                for key, _ in due:
                    self._under_way.remove(key)
                    self._added.append(key)
                to_add = [*self._under_way, *(key for key, _ in self._keys)]
                waiting = {oid for key in to_add for oid in (key.table, key.referenced)}
                ready = {key.table for key in self._added} - waiting
                checks = [key for key in self._added if key.table in ready]
                self._added = [key for key in self._added if key.table not in ready]
            for oid in ready:
                self._crew.add(
                    self._weights[oid],
                    self._checking(self._tables[oid], [k for k in checks if k.table == oid]),
                )

        return add

    def _checking(self, table: Table, keys: list[catalogue.Reference]) -> Callable[[Worker], None]:
        def check(worker: Worker) -> None:
            for key in keys:
                if key.valid:
                    worker.target.execute(
                        sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                            sql.Identifier(table.schema, table.name), sql.Identifier(key.name)
                        )
                    )

        return check

    def _closed(self, table: Table) -> bool:
        """Count one job of the table as done; whether it was the last."""
        with self._lock:
            self._open[table.oid] -= 1
            return not self._open[table.oid]


def _run(worker: Worker, statements: list[str]) -> None:
    if statements:
        worker.target.execute("".join(statements).encode("utf-8", "surrogateescape"))


def _prepare(connection: Connection) -> None:
    connection.execute(f"{no_timeouts(connection.info.server_version)}; {_SESSION}".encode())


def require_whole(
    tables: Iterable[Table],
    selections: Mapping[int, masking.Selection],
    references: Iterable[catalogue.Reference],
) -> None:
    """Raises Misconfigured where rows that are copied refer to rows that stay behind."""
    names = {table.oid: table.qualified for table in tables}
    for reference in references:
        referenced = selections.get(reference.referenced)
        referring = selections[reference.table]
        if referenced is None or not referenced.excluded or referring.excluded or not reference.valid:
            continue
        if not any(column in referring.nulled for column in reference.columns):
            columns = ", ".join(reference.columns)
            raise Misconfigured(
                f'STAGE_COPY["exclude_data"] leaves the rows of {names[reference.referenced]} behind, but '
                f"{names[reference.table]} ({columns}) refers to them: exclude {names[reference.table]} as "
                f'well, or mask that column with "null"'
            )


def _set_sequences(filler: Connection, state: Iterable[catalogue.Sequence]) -> None:
    calls = [
        sql.SQL("setval({}, {}, {})").format(
            sql.Literal(sql.Identifier(sequence.schema, sequence.name).as_string(filler)),
            sql.Literal(sequence.value),
            sql.Literal(sequence.called),
        )
        for sequence in state
    ]
    for start in range(0, len(calls), _SETVALS):
        filler.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(calls[start : start + _SETVALS])))


def _unchecked(statement: str) -> str:
    """The statement that adds a foreign key, with its check left for later."""
    return statement.rstrip().removesuffix(";") + " NOT VALID;\n"
