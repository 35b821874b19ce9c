"""Fill an empty database with the source's content at one moment: completely, or raise an error.

All connections to the source share one snapshot: catalogue, pg_dump's schema, each stream of rows. The
largest tables come first. As soon as a table has all its rows, its indexes are built, while other tables'
rows still arrive. Foreign keys are added unchecked, and then checked in parallel. At the end comes the rest
of the schema: triggers, rules, policies, contents of views.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import sql

from . import (
    calling,
    catalogue,
    checks,
    client,
    key_graph,
    large_objects,
    masking,
    restore,
    sampling,
    schema,
    servers,
    skips,
    trial,
    verify,
)
from .crew import Crew, Worker
from .database import no_timeouts, reason
from .model import Moved
from .orphans import Orphans
from .post_data import PostDataStatements
from .problems import Failed, Misconfigured
from .scratch import scratch
from .streams import FIRST, Streams

if TYPE_CHECKING:
    from pathlib import Path

    from .database import Connection, Database
    from .model import Progress, Table
    from .options import Options

Result = TypeVar("Result")

_SETVALS = 500  # in one statement
_OF_PUBLIC = "comment on schema public"
_POLICIES = ("row security", "policy", "comment on policy")
# With these, values have the same form on both ends, whatever the databases, roles and servers set.
# https://www.postgresql.org/docs/current/app-pgdump.html
_SESSION = (
    "SET search_path = ''; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 1; "
    "SET bytea_output = hex; SET xmlbinary = base64; SET quote_all_identifiers = off; SET array_nulls = on; "
    "SET standard_conforming_strings = on; SET transform_null_equals = off; SET lc_monetary = 'C'; "
    "SET row_security = off; SET client_min_messages = warning; SET lock_timeout = '60s'"
)
# Only where rows are moved and compared: contents of views may depend on the target's own time zone.
_ROWS = "SET timezone = 'UTC'"
# Asynchronous commits lose nothing: the swap that puts the copy in the target's place waits for its commit.
_FILLING = (
    "SET synchronous_commit = off; SET maintenance_work_mem = '{memory}MB'; SET check_function_bodies = off; "
    "SET xmloption = content; SET max_parallel_maintenance_workers = 0; SET default_tablespace = ''; "
    "SET default_table_access_method = heap; SET default_transaction_read_only = off; "
    "SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off"
)


def fill(source: Database, target: Database, options: Options, progress: Progress) -> Moved:
    """Copy `source` into the new, empty database `target`.

    Raises Failed, or Misconfigured if the options do not fit the source's tables. Drop the target then.
    """
    return _filling(source, target, options, progress, _Fill.run)


@dataclass(frozen=True)
class Rehearsal:
    """The words for what a copy would leave behind, and the tables that a sample would cut."""

    left: list[str]
    cut: list[Table]


def rehearse(source: Database, target: Database, options: Options, progress: Progress) -> Rehearsal:
    """Make the schema of `source`, without rows, in the new database `target`; drop it afterwards.

    Raises what `fill` raises before it moves rows.
    """
    return _filling(source, target, options, progress, _Fill.rehearse)


def _filling(
    source: Database, target: Database, options: Options, progress: Progress, work: Callable[[_Fill], Result]
) -> Result:
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(scratch())
            return work(_Fill(source, target, options, progress, stack, folder))
    except psycopg.Error as error:
        raise Failed(f'the copy of "{source.name}" failed: {reason(error)}') from None


@dataclass
class _Snapshot:
    name: str
    at: str


@dataclass
class _Made:
    """The schema as it was made: the source's content, and what of it stays behind."""

    reader: Connection
    filler: Connection
    tables: list[Table]
    selections: Mapping[int, masking.Selection]
    references: list[catalogue.Reference]
    entries: list[schema.Entry]
    left_extensions: list[str]
    taken_out: list[checks.Check]
    left: list[str]
    left_oids: frozenset[int]
    sample: sampling.Sample
    callers: catalogue.Callers


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

    def rehearse(self) -> Rehearsal:
        made = self.make_schema(lambda: None)
        return Rehearsal(made.left, [table for table in made.tables if table.oid in made.sample.cut])

    def make_schema(self, prepare: Callable[[], None]) -> _Made:
        """Make the schema in the target, as far as it comes before the rows, and try out the rest.

        `prepare` is called as soon as threads may be started and pg_dump has ended: a role may have few
        connections. Raise Failed, which names what cannot be made, before any row is moved.
        """
        reader = self._stack.enter_context(closing(self._source.connect()))
        self._snapshot = self._take_snapshot(reader)
        self._progress.phase("schema")
        archive = None if self._options.skip else self._dump(reader, [])
        filler = self._stack.enter_context(closing(self._open_target()))
        left_extensions = catalogue.extensions_to_leave(reader, filler)
        every = catalogue.tables(reader, left_extensions)
        chosen = self._stack.enter_context(calling.apart(masking.selections(reader, every, self._options)))
        unreadable = [one for one in every if not one.readable and _title(one) in self._options.skip]
        self._lock(reader, [one for one in every if one not in unreadable])
        archive = archive or self._dump(reader, unreadable)
        entries, never = archive.entries(left_extensions)
        prepare()
        if not catalogue.owns_public(filler):
            never += [entry for entry in entries if entry.title == _OF_PUBLIC]
            entries = [entry for entry in entries if entry.title != _OF_PUBLIC]
        gone = {table.oid for table in unreadable}
        keys = catalogue.references(reader, every)
        keys_to_gone = {key.oid for key in keys if key.referenced in gone}
        to_gone = [entry for entry in entries if entry.is_one_of((), keys_to_gone)]
        entries = [entry for entry in entries if entry not in to_gone]
        known = [*map(_title, unreadable), *(entry.title for entry in never)]
        kept = skips.without(entries, self._options.skip, known=known)
        left_oids = kept.oids | gone | keys_to_gone
        tables = [table for table in every if table.oid not in left_oids]
        selections = {table.oid: chosen[table.oid] for table in tables}
        references = [key for key in keys if key.table in selections and key.oid not in left_oids]
        require_whole(tables, selections, references)
        servers.require_able(reader, filler, tables, selections)
        extensions = [f'extension "{name}"' for name in left_extensions]
        left = [*extensions, *map(_title, unreadable), *(entry.title for entry in (*never, *to_gone))]
        left += [*kept.titles, *catalogue.replication(reader)]
        for what in left:
            self._progress.say(f"{what} stays behind")

        causes = restore.possible_causes(filler, archive.client.version, left_extensions)
        restore.restore(filler, [one for one in kept.entries if one.before_rows], causes)
        post_data = [entry for entry in kept.entries if not entry.before_rows]
        restore.try_out(filler, post_data, causes)
        taken_out = checks.take_out(filler)
        masking.prepare(reader, self._options)
        callers = catalogue.callers(reader)
        tried = (table for table in tables if table.oid not in callers.columns)  # those need others' rows
        trial.run(reader, filler, tried, selections)
        self._done("schema")
        chosen_rows = self._choose(reader, filler, tables, selections, left_oids)
        return _Made(
            reader,
            filler,
            [chosen_rows.resized(table) for table in tables],
            selections,
            references,
            kept.entries,
            left_extensions,
            taken_out,
            left,
            left_oids,
            chosen_rows,
            callers,
        )

    def _dump(self, reader: Connection, unreadable: list[Table]) -> schema.Archive:
        """Start pg_dump, which takes many round trips, without these tables."""
        oids = [table.oid for table in unreadable]
        without = catalogue.with_sequences(reader, oids) if oids else []
        tools = client.for_server(reader.info.server_version // 10000)
        archive = schema.Archive(tools, self._source, self._snapshot.name, self._folder, without)
        return self._stack.enter_context(closing(archive))

    def _choose(
        self,
        reader: Connection,
        filler: Connection,
        tables: list[Table],
        selections: Mapping[int, masking.Selection],
        left_oids: frozenset[int],
    ) -> sampling.Sample:
        if not self._options.sample:
            return sampling.Sample()
        self._progress.phase("sample")
        chosen = sampling.choose(reader, filler, tables, selections, self._options.sample, left_oids)
        for column in key_graph.generic_relations(reader):
            self._progress.say(f"{column} may name rows of any table: the sample does not follow it")
        self._done("sample")
        return chosen

    def run(self) -> Moved:
        crew = Crew(self._options.jobs, lambda: Worker(self._open_source, self._open_moving, self._begin))
        self._stack.callback(crew.close)
        made = self.make_schema(crew.open)
        post_data = [entry for entry in made.entries if not entry.before_rows]
        built = catalogue.built(made.reader, made.tables)
        statements = PostDataStatements(post_data, built, made.references, made.tables)
        selections = made.selections
        copied = [table for table in made.tables if not selections[table.oid].excluded]
        text = catalogue.text_only(made.reader, made.filler.info.server_version, copied)
        called = {
            oid
            for key in made.references
            if selections[key.table].calls.keys() & set(key.columns)
            for oid in (key.oid, key.parent)
        }
        orphans = Orphans(self._options.keep_orphans, frozenset(called))
        streams = Streams(crew, statements, selections, text, orphans, made.sample, made.callers)
        of_extensions = catalogue.loading_order((one for one in copied if one.extension), made.references)
        streams.start(made.tables, self._progress, of_extensions)
        rows = self._move(made, crew, streams, copied)

        if self._options.verify:  # before policies are there: they may hold for the owner, too
            self._progress.phase("verification", total=sum(table.size for table in copied))
            verify.compare(crew, copied, selections, made.sample, self._progress)
            self._done("verification")
        self._progress.phase("the rest of the schema")
        checks.put_back(made.filler, made.taken_out)
        # Policies come last: they may hold for our role, which fills the views before.
        rest = sorted(
            (entry for entry in post_data if entry.number not in statements.numbers),
            key=lambda entry: entry.words[0] in _POLICIES,
        )
        restore.require_none(orphans.add(made.filler, restore.make(made.filler, rest)))
        verify.require_same_validity(made.reader, made.filler, made.left_oids | orphans.oids)
        for what in orphans.left:
            self._progress.say(what)
        self._done("the rest of the schema")
        left = [*made.left, *orphans.left]
        return Moved(self._snapshot.at, rows, streams.bytes, self._seconds, left)

    def _move(self, made: _Made, crew: Crew, streams: Streams, copied: list[Table]) -> Mapping[str, int]:
        """Move rows, indexes, foreign keys, large objects and sequences; return the rows of each table."""
        self._progress.phase("rows", total=sum(table.size for table in copied))
        if large_objects.come(made.reader, self._options, self._progress.say):
            crew.add(FIRST, lambda worker: large_objects.copy(worker.source, worker.target))
        sequences = {entry.oid for entry in made.entries if entry.type == "SEQUENCE"}
        state = catalogue.sequences(made.reader, sequences, made.left_extensions)
        gc.freeze()  # what is loaded by now stays: the collector need not look at it while rows pass
        crew.run()
        self._seconds["rows"] = streams.rows_done - self._began - sum(self._seconds.values())
        _set_sequences(made.filler, state)
        self._done("indexes and foreign keys")
        return {table.qualified: streams.rows[table.oid] for table in copied}

    def _done(self, phase: str) -> None:
        self._seconds[phase] = time.monotonic() - self._began - sum(self._seconds.values())

    def _take_snapshot(self, reader: Connection) -> _Snapshot:
        _prepare(reader)
        results = reader.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot(), "
            "to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"+00:00\"')"
        )
        results.nextset()  # to that of the SELECT
        row = results.fetchone()
        assert row  # noqa: S101  a SELECT without FROM has one row
        return _Snapshot(*row)

    def _lock(self, reader: Connection, tables: Iterable[Table]) -> None:
        """Lock these tables against changes of their columns, as pg_dump does; writers are not blocked."""
        names = [sql.Identifier(table.schema, table.name) for table in tables]
        if names:
            reader.execute(
                sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(sql.SQL(", ONLY ").join(names))
            )

    def _open_source(self) -> Connection:
        with _closed_if_it_fails(self._source.connect()) as connection:
            _prepare(connection, _ROWS)
            self._begin(connection)
            masking.prepare(connection, self._options)
        return connection

    def _begin(self, connection: Connection) -> None:
        begin = sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}")
        connection.execute(begin.format(sql.Literal(self._snapshot.name)))

    def _open_target(self, *more: str) -> Connection:
        with _closed_if_it_fails(self._target.connect()) as connection:
            _prepare(connection, _FILLING.format(memory=self._options.memory), *more)
        return connection

    def _open_moving(self) -> Connection:
        return self._open_target(_ROWS)


@contextmanager
def _closed_if_it_fails(connection: Connection) -> Iterator[Connection]:
    """Close the connection if the block fails: a role may have few of them."""
    try:
        yield connection
    except BaseException:
        connection.close()
        raise


def _prepare(connection: Connection, *more: str) -> None:
    """Set what a session needs in one round trip."""
    connection.execute("; ".join([no_timeouts(connection.info.server_version), _SESSION, *more]).encode())


def require_whole(
    tables: Iterable[Table],
    selections: Mapping[int, masking.Selection],
    references: Iterable[catalogue.Reference],
) -> None:
    """Raise Misconfigured if copied rows refer to rows that are not copied."""
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


def _title(table: Table) -> str:
    return f"table {table.qualified}"


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
