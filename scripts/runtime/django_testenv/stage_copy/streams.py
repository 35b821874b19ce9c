"""Run the jobs of a copy: first the rows of each table, then its indexes, then the foreign keys."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from .crew import Crew, Worker
from .database import reason
from .orphans import NOT_UNIQUE, Orphans, not_unique, unchecked
from .post_data import Build, Key, PostDataStatements, as_bytes, joined
from .problems import Failed
from .rows import Pump
from .statements import Piece, split

if TYPE_CHECKING:
    from . import catalogue, masking
    from .model import Progress, Table
    from .sampling import Sample

FIRST = 1 << 62  # the weight of a job that should not wait
_PIECE = 2048 * 128  # pages of 8 KiB, so 2 GiB; a larger table is moved in pieces, without COPY's FREEZE
_KEYS = 50  # foreign keys that one transaction adds, which holds their tables' locks
_SMALL = 8 << 20  # bytes; the indexes of a smaller table are built with its rows, without further round trips
_CHECKS = 20  # small tables whose keys are checked at once
_TINY = 256 << 10  # bytes; several tables that are no larger are moved in one transaction
_TOGETHER = 16  # tables


Job = tuple[int, Callable[[Worker], None], int]  # its weight, its work, and its size in bytes


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
        callers: catalogue.Callers,
    ) -> None:
        self._sample, self._callers = sample, callers
        self._crew, self._post_data, self._orphans = crew, post_data, orphans
        self._selections, self._text = selections, text
        # Foreign keys that are not added yet, by oid.
        self._keys = {key.oid: (key, statement) for key, statement in post_data.keys}
        self._keys_of: dict[int, list[Key]] = defaultdict(list)  # by each of their two tables
        for key, statement in post_data.keys:
            for oid in {key.table, key.referenced}:
                self._keys_of[oid].append((key, statement))
        self._due: list[Key] = []  # keys whose two tables are complete
        self._under_way: list[catalogue.Reference] = []  # keys that are due, or that a job is adding now
        self._added: list[catalogue.Reference] = []  # keys that are added and not checked yet
        self._lock = threading.Lock()
        self._adding = threading.Lock()
        self._open: Counter[int] = Counter()  # unfinished jobs of each table for which its foreign keys wait
        self._moving_rows = 0  # pieces that are not moved yet
        self._moving_first = 0  # of these, pieces of tables whose rows need no function of the project
        self._last_rows: list[Job] = []  # wait until those are moved
        self._last_builds: list[Job] = []  # wait until all rows are moved
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
        self._incomplete = set(self._tables)
        self._weights = {table.oid: table.size for table in tables}
        # Checking a large table must wait for the tables it refers to.
        for reference, _ in self._keys.values():
            size = self._tables[reference.table].size
            self._weights[reference.referenced] = max(self._weights[reference.referenced], size)
        tiny: list[Piece] = []
        for table in tables:
            excluded = self._selections[table.oid].excluded
            pieces = [] if excluded else self._pieces(table)
            self._moving_rows += len(pieces)
            self._moving_first += 0 if table.oid in self._callers.columns else len(pieces)
            self._open[table.oid] = len(pieces) or 1
            if table.extension and pieces:
                continue
            if self._is_tiny(table) and len(pieces) == 1:
                tiny += pieces
                continue
            for piece in pieces:
                job = (self._weights[table.oid], self._moving(piece), piece.weight)
                if table.oid in self._callers.columns:
                    self._last_rows.append(job)
                else:
                    self._crew.add(*job)
            if not pieces:
                self._crew.add(self._weights[table.oid], self._nothing_moves(table))
        tiny.sort(key=lambda piece: -self._weights[piece.table.oid])
        for start in range(0, len(tiny), _TOGETHER):
            some = tiny[start : start + _TOGETHER]
            weight = self._weights[some[0].table.oid]
            self._crew.add(weight, self._moving_together(some), sum(piece.weight for piece in some))
        if ordered:
            self._crew.add(FIRST, self._moving_of_extensions(ordered))
        self._release()

    def _is_tiny(self, table: Table) -> bool:
        if table.root or self._selections[table.oid].calls or table.oid in self._callers.columns:
            return False
        return table.size <= _TINY and table.oid not in self._sample.cut

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

    def _pump(self, worker: Worker) -> Pump:
        if worker not in self._pumps:
            self._pumps[worker] = Pump(worker.source, worker.target, self._crew.stopped)
        return self._pumps[worker]

    def _moving_together(self, pieces: list[Piece]) -> Callable[[Worker], None]:
        """Move the rows of tables at once; if that fails, one after the other, to know which one fails."""

        def move(worker: Worker) -> None:
            thens = [self._built_with(piece) for piece in pieces]
            for _ in pieces:
                worker.release_locks()
            try:
                moved = self._pump(worker).copy_together([
                    (piece, self._selections[piece.table.oid], piece.table.oid in self._text, then)
                    for piece, then in zip(pieces, thens)
                ])  # fmt: skip
            except psycopg.Error:
                if self._crew.stopped():
                    raise
                moved = []
            if not moved:
                del self._pumps[worker]
                worker.close()
                for piece in pieces:
                    self._moving(piece)(worker)
            for piece, then, (rows, size) in zip(pieces, thens, moved):
                self._progress.advance(amount=piece.weight, rows=rows)
                self._moved(piece.table, rows, size, is_built=bool(then))

        return move

    def _moving(self, piece: Piece) -> Callable[[Worker], None]:
        def move(worker: Worker) -> None:
            pump = self._pump(worker)
            counted = 0

            def tell(size: int) -> None:
                nonlocal counted
                step = min(size, piece.weight - counted)  # a table's size only estimates what COPY sends
                counted += step
                self._progress.advance(amount=step)

            worker.release_locks()
            table = piece.table
            selection, text = self._selections[table.oid], table.oid in self._text
            then = self._built_with(piece)
            try:
                moved = [
                    pump.copy(part, selection, text=text, tell=tell, then=then) for part in self._parts(piece)
                ]
            except psycopg.Error as error:
                if then and isinstance(error, NOT_UNIQUE):
                    raise not_unique(table, reason(error), selection) from None
                raise Failed(f"{table.qualified} could not be copied: {reason(error)}") from None
            rows, size = (sum(numbers) for numbers in zip(*moved))
            self._progress.advance(amount=piece.weight - counted, rows=rows)
            self._moved(table, rows, size, is_built=bool(then))

        return move

    def _built_with(self, piece: Piece) -> bytes:
        """Return the SQL that builds the indexes of a small table, for the transaction of its rows."""
        table = piece.table
        if table.size >= _SMALL or table.extension or table.oid in self._sample.cut or not piece.whole:
            return b""
        if self._is_built_last(table):
            return b""
        return joined([*self._post_data.constraints[table.oid], *self._post_data.indexes[table.oid]])

    def _parts(self, piece: Piece) -> Iterator[Piece]:
        """Yield the piece, or of a table that a sample cuts the chosen rows."""
        if piece.table.oid not in self._sample.cut:
            yield piece
            return
        for places in self._sample.batches(piece.table.oid):
            yield replace(piece, places=places)

    def _moved(self, table: Table, rows: int, size: int, *, is_built: bool = False) -> None:
        """Count a piece as moved, with its rows and bytes."""
        with self._lock:
            self.rows[table.oid] += rows
            self.bytes += size
            self._moving_rows -= 1
            self._moving_first -= table.oid not in self._callers.columns
            if not self._moving_rows:
                self.rows_done = time.monotonic()
                self._progress.phase("indexes and foreign keys")
        self._arrived(table, is_built=is_built)
        self._release()

    def _release(self) -> None:
        """Queue the jobs whose functions of the project may read rows that have been moved by now."""
        due = []
        with self._lock:
            if not self._moving_first:
                due, self._last_rows = self._last_rows, []
            if not self._moving_rows:
                due, self._last_builds = due + self._last_builds, []
        for job in due:
            self._crew.add(*job)

    def _arrived(self, table: Table, *, is_built: bool = False) -> None:
        """Count a piece as copied; after the last piece, queue the building of the indexes."""
        constraints, indexes = self._post_data.constraints[table.oid], self._post_data.indexes[table.oid]
        one_by_one = indexes if table.size >= _SMALL else []
        if not self._closed(table, then=0 if is_built else 1 + len(one_by_one)):
            return
        if is_built:
            self._completed(table)
            return
        weight = self._weights[table.oid]

        def build(worker: Worker) -> None:
            self._build(worker, table, first)
            for index in one_by_one:
                self._crew.add(weight, self._building(table, index), index.size)
            self._built(table)

        first = constraints if one_by_one else [*constraints, *indexes]
        job = (weight, build, sum(one.size for one in first))
        with self._lock:
            waits = self._moving_rows and self._is_built_last(table)
            if waits:
                self._last_builds.append(job)
        if not waits:
            self._crew.add(*job)

    def _building(self, table: Table, index: Build) -> Callable[[Worker], None]:
        def build(worker: Worker) -> None:
            self._build(worker, table, [index])
            self._built(table)

        return build

    def _is_built_last(self, table: Table) -> bool:
        return table.root is not None or table.oid in self._callers.indexes

    def _build(self, worker: Worker, table: Table, builds: Sequence[Build]) -> None:
        """Build indexes, by several of the server's processes where threads would have nothing to do."""
        if not builds:
            return
        free = self._crew.free(sum(build.size for build in builds))
        processes = f"SET LOCAL max_parallel_maintenance_workers = {free}; "
        try:
            worker.target.execute(processes.encode() + joined(builds))
        except NOT_UNIQUE as error:
            why = reason(error)
        else:
            return
        raise not_unique(table, why, self._selections[table.oid])  # not above: the error quotes values

    def _built(self, table: Table) -> None:
        """Count an index as built."""
        if self._closed(table):
            self._completed(table)

    def _completed(self, table: Table) -> None:
        """Queue the foreign keys whose two tables are complete now.

        Keys are first added unchecked, which takes no time, and one after the other, because two at once
        could deadlock. Those between small tables wait for each other, as each job takes a round trip. A
        table's keys are checked when no more key will be added to it: adding a key would wait for a running
        check.
        """
        with self._lock:
            self._incomplete.remove(table.oid)
            for pair in self._keys_of[table.oid]:
                key = pair[0]
                if key.oid in self._keys and not {key.table, key.referenced} & self._incomplete:
                    del self._keys[key.oid]
                    self._under_way.append(key)
                    self._due.append(pair)
            large = any(self._tables[key.table].size >= _SMALL for key, _ in self._due)
            due = self._due if large or len(self._due) >= _KEYS or not self._incomplete else []
            if due:
                self._due = []
        if due:
            self._crew.add(FIRST, self._adding_keys(due))

    def _adding_keys(self, due: list[Key]) -> Callable[[Worker], None]:
        def add(worker: Worker) -> None:
            with self._adding:
                for start in range(0, len(due), _KEYS):
                    some = due[start : start + _KEYS]
                    adding = [unchecked(text) if key.valid else text for key, text in some]
                    worker.target.execute(as_bytes(adding))
            with self._lock:
                for key, _ in due:
                    self._under_way.remove(key)
                    self._added.append(key)
                to_add = [*self._under_way, *(key for key, _ in self._keys.values())]
                waiting = {oid for key in to_add for oid in (key.table, key.referenced)}
                ready = {key.table for key in self._added} - waiting
                checks = [key for key in self._added if key.table in ready]
                self._added = [key for key in self._added if key.table not in ready]
            small = [oid for oid in ready if self._tables[oid].size < _SMALL]
            groups = [small[start : start + _CHECKS] for start in range(0, len(small), _CHECKS)]
            for group in [*groups, *([oid] for oid in ready.difference(small))]:
                keys = [key for key in checks if key.valid and key.table in group]
                self._crew.add(max(self._weights[oid] for oid in group), self._checking(keys))

        return add

    def _checking(self, keys: list[catalogue.Reference]) -> Callable[[Worker], None]:
        def check(worker: Worker) -> None:
            if len(keys) != 1 and self._hold(worker, keys):
                return
            for key in keys:
                if not self._hold(worker, [key]):
                    self._orphans.keep(self._tables[key.table].qualified, key.name, key.oid)

        return check

    def _hold(self, worker: Worker, keys: list[catalogue.Reference]) -> bool:
        """Check the keys; if rows break one, none of them is valid afterwards."""
        validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {};")
        try:
            worker.target.execute(
                sql.SQL("").join(
                    validate.format(
                        sql.Identifier(self._tables[key.table].schema, self._tables[key.table].name),
                        sql.Identifier(key.name),
                    )
                    for key in keys
                )
            )
        except psycopg.errors.ForeignKeyViolation:
            return False
        return True

    def _closed(self, table: Table, then: int = 0) -> bool:
        """Count one job of the table as done; return True if it was the last one before `then` more."""
        with self._lock:
            self._open[table.oid] -= 1
            is_last = not self._open[table.oid]
            if is_last:
                self._open[table.oid] = then
            return is_last
