"""Run the jobs of a copy: first the rows of each table, then its indexes, then the foreign keys."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from . import catalogue, schema
from .crew import Crew, Worker
from .database import reason
from .orphans import Orphans, unchecked
from .problems import Failed
from .rows import Pump
from .statements import Piece, split

if TYPE_CHECKING:
    from . import masking
    from .model import Progress, Table
    from .sampling import Sample

FIRST = 1 << 62  # the weight of a job that should not wait
_PIECE = 2048 * 128  # pages of 8 KiB, so 2 GiB; a larger table is moved in pieces, without COPY's FREEZE
_KEYS = 50  # foreign keys that one transaction adds, which holds their tables' locks
_SMALL = 8 << 20  # bytes; one job builds all indexes of a smaller table


class PostDataStatements:
    """The SQL of pg_dump's post-data section that reads rows: constraints, indexes and foreign keys by table.

    Only those of ordinary tables are here. Those of partitioned tables are made from their partitions' and
    need these first, so they are added at the end.
    """

    def __init__(
        self,
        entries: Iterable[schema.Entry],
        built: Iterable[catalogue.Built],
        references: Iterable[catalogue.Reference],
        tables: Iterable[Table],
    ) -> None:
        copied = {table.oid for table in tables}
        owners = {number: index.table for index in built for number in (index.index, index.constraint)}
        named = {key.oid: key for key in references if key.referenced in copied}
        entries = list(entries)
        building = [entry for entry in entries if entry.is_one_of(owners, owners)]
        adding = [entry for entry in entries if entry.is_one_of((), named)]
        self.numbers = {entry.number for entry in (*building, *adding)}
        self.constraints: dict[int, list[str]] = defaultdict(list)
        self.indexes: dict[int, list[str]] = defaultdict(list)
        self.keys = [(named[entry.oid], entry.statement) for entry in adding]
        for entry in building:
            statements = self.indexes if entry.type == "INDEX" else self.constraints
            statements[owners[entry.oid]].append(entry.statement)


class Streams:
    """Queues the jobs that move rows, and after these the jobs for indexes and foreign keys."""

    def __init__(
        self,
        crew: Crew,
        post_data: PostDataStatements,
        selections: Mapping[int, masking.Selection],
        text: frozenset[int],
        orphans: Orphans,
        sample: Sample,
    ) -> None:
        self._sample = sample
        self._crew, self._post_data, self._orphans = crew, post_data, orphans
        self._selections, self._text = selections, text
        self._keys = list(post_data.keys)  # foreign keys that are not added yet
        self._under_way: list[catalogue.Reference] = []  # keys that a job is adding now
        self._added: list[catalogue.Reference] = []  # keys that are added and not checked yet
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._open: Counter[int] = Counter()  # unfinished jobs of each table for which its foreign keys wait
        self._moving_rows = 0  # pieces that are not moved yet
        self._weights: dict[int, int] = {}
        self._tables: dict[int, Table] = {}
        self._pumps: dict[Worker, Pump] = {}
        self.rows: Counter[int] = Counter()
        self.bytes = 0
        self.rows_done = time.monotonic()

    def start(self, tables: Iterable[Table], progress: Progress, of_extensions: Iterable[Table]) -> None:
        """Add the jobs that move rows; each adds the jobs that must follow it.

        One job moves the rows of the tables `of_extensions`, in their order: extensions have made their
        foreign keys and triggers already.
        """
        ordered = [table for table in of_extensions if not self._selections[table.oid].excluded]
        self._progress = progress
        self._tables = {table.oid: table for table in tables}
        self._weights = {table.oid: table.size for table in tables}
        for reference, _ in self._keys:  # checking a large table must wait for the tables it refers to
            size = self._tables[reference.table].size
            self._weights[reference.referenced] = max(self._weights[reference.referenced], size)
        for table in tables:
            excluded = self._selections[table.oid].excluded
            pieces = [] if excluded else self._pieces(table)
            self._moving_rows += len(pieces)
            self._open[table.oid] = len(pieces) or 1
            if table.extension and pieces:
                continue
            for piece in pieces:
                self._crew.add(self._weights[table.oid], self._moving(piece))
            if not pieces:
                self._crew.add(self._weights[table.oid], self._nothing_moves(table))
        if ordered:
            self._crew.add(FIRST, self._moving_of_extensions(ordered))

    def _pieces(self, table: Table) -> list[Piece]:
        if table.oid not in self._sample.cut:
            return split(table, _PIECE)
        return [Piece(table)] if self._sample.rows[table.oid] else []

    def _nothing_moves(self, table: Table) -> Callable[[Worker], None]:
        return lambda _: self._arrived(table)

    def _moving_of_extensions(self, tables: list[Table]) -> Callable[[Worker], None]:
        """Move these tables' rows one after the other.

        Nothing is done for a table without rows of the user: often only a superuser may write to it.
        """

        def move(worker: Worker) -> None:
            for table in tables:
                name = sql.Identifier(table.schema, table.name)
                query = sql.SQL("SELECT FROM ONLY {} {} LIMIT 1").format(name, sql.SQL(table.condition))
                if worker.source.execute(query).fetchone() is None:
                    self._moved(table, 0, 0)
                    continue
                try:
                    self._moving(Piece(table))(worker)
                except Failed as error:
                    raise Failed(
                        f'{error}: it belongs to extension "{table.extension}"; its rows stay behind if '
                        f'STAGE_COPY["exclude_data"] names it'
                    ) from None

        return move

    def _moving(self, piece: Piece) -> Callable[[Worker], None]:
        def move(worker: Worker) -> None:
            pump = self._pumps.get(worker)
            if pump is None:
                pump = self._pumps[worker] = Pump(worker.source, worker.target, self._crew.stopped)
            counted = 0

            def tell(size: int) -> None:
                nonlocal counted
                step = min(size, piece.weight - counted)  # a table's size only estimates what COPY sends
                counted += step
                self._progress.advance(amount=step)

            worker.release_locks()
            table = piece.table
            selection, text = self._selections[table.oid], table.oid in self._text
            try:
                moved = [pump.copy(part, selection, text=text, tell=tell) for part in self._parts(piece)]
            except psycopg.Error as error:
                raise Failed(f"the rows of {table.qualified} could not be copied: {reason(error)}") from None
            rows, size = (sum(numbers) for numbers in zip(*moved))
            self._progress.advance(amount=piece.weight - counted, rows=rows)
            self._moved(table, rows, size)

        return move

    def _parts(self, piece: Piece) -> Iterator[Piece]:
        """Yield the piece, or of a table that a sample cuts the chosen rows."""
        if piece.table.oid not in self._sample.cut:
            yield piece
            return
        for places in self._sample.batches(piece.table.oid):
            yield replace(piece, places=places)

    def _moved(self, table: Table, rows: int, size: int) -> None:
        """Count a piece as moved, with its rows and bytes."""
        with self._lock:
            self.rows[table.oid] += rows
            self.bytes += size
            self._moving_rows -= 1
            if not self._moving_rows:
                self.rows_done = time.monotonic()
                self._progress.phase("indexes and foreign keys")
        self._arrived(table)

    def _arrived(self, table: Table) -> None:
        """Count a piece as copied; after the last piece, queue the building of the indexes."""
        if not self._closed(table):
            return
        constraints, indexes = self._post_data.constraints[table.oid], self._post_data.indexes[table.oid]
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
        """Count an index as built; after the last one, queue the foreign keys whose two tables are complete.

        Keys are first added unchecked, which takes no time, and one after the other, because two at once
        could deadlock. A table's keys are checked when no more key will be added to it: adding a key would
        wait for a running check.
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
            self._crew.add(FIRST, self._adding_keys(due))

    def _adding_keys(self, due: list[tuple[catalogue.Reference, str]]) -> Callable[[Worker], None]:
        def add(worker: Worker) -> None:
            with self._adding:
                for start in range(0, len(due), _KEYS):
                    some = due[start : start + _KEYS]
                    _run(worker, [unchecked(text) if key.valid else text for key, text in some])
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
            broken: list[catalogue.Reference] = []
            for key in keys:
                if key.valid:
                    validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {}").format(
                        sql.Identifier(table.schema, table.name), sql.Identifier(key.name)
                    )
                    try:
                        worker.target.execute(validate)
                    except psycopg.errors.ForeignKeyViolation:
                        broken.append(key)
            for key in broken:  # not above: the server's error quotes values
                self._orphans.keep(table.qualified, key.name, key.oid)

        return check

    def _closed(self, table: Table) -> bool:
        """Count one job of the table as done; return True if it was the last one."""
        with self._lock:
            self._open[table.oid] -= 1
            return not self._open[table.oid]


def _run(worker: Worker, statements: list[str]) -> None:
    if statements:
        worker.target.execute("".join(statements).encode("utf-8", "surrogateescape"))
