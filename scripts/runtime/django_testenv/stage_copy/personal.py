"""Find the columns that look personal and have no rule: by name, by table, by type and by content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import chain
from queue import SimpleQueue
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from . import column_types, masking, personal_content, personal_names, personal_tables
from .problems import Failed, Refused

if TYPE_CHECKING:
    from .column_types import Types
    from .database import Connection
    from .masking import Selection
    from .model import Table
    from .options import Options

_INDEX = "a search index beside columns that have rules: it has the words of their raw values"


_OF_PEOPLE = 3  # personal columns: its rows are people
_PARTITIONS = 10  # of one table, in which the content is looked at


@dataclass(frozen=True)
class Finding:
    """A column that looks personal and has no rule."""

    table: str  # with its schema
    column: str
    why: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column} ({self.why})"


def findings(
    source: Connection,
    tables: Iterable[Table],
    options: Options,
    connect: Callable[[], Connection] | None = None,
) -> list[Finding]:
    """Return the copied columns that look personal and have no rule.

    `connect` opens further connections, so that several tables are looked at. Raise psycopg.Error.
    """
    tables = list(tables)
    types = column_types.read(source, tables)
    users = personal_content.users_query(tables)
    selections = masking.selections(source, tables, options)
    sampled: Counter[str] = Counter()

    def looked_at(table: Table) -> bool:
        sampled[_called(table)] += 1
        return sampled[_called(table)] <= _PARTITIONS

    copied = [(one, looked_at(one)) for one in tables if not selections[one.oid].excluded]
    free: SimpleQueue[Connection] = SimpleQueue()

    def of_table(one: tuple[Table, bool]) -> list[Finding]:
        table, with_content = one
        reader = free.get()
        try:
            look = reader if with_content else None
            return _of_table(look, table, selections[table.oid], types, users, options)
        finally:
            free.put(reader)

    found: dict[tuple[str, str], Finding] = {}
    with ExitStack() as stack:
        readers = [source]
        with suppress(Failed):  # staging may allow no more
            while connect and len(readers) < options.jobs:
                readers.append(stack.enter_context(closing(connect())))
        for reader in readers:
            reader.execute("SET statement_timeout = 0")
            masking.prepare(reader, options)
            free.put(reader)
        with ThreadPoolExecutor(len(readers)) as pool:
            for finding in chain.from_iterable(pool.map(of_table, copied)):
                found.setdefault((finding.table, finding.column), finding)
    return list(found.values())


def _called(table: Table) -> str:
    """Return the name that a rule for the table would have: a partition's is its partitioned table's."""
    return table.ancestors[-1] if table.ancestors else table.qualified


def _of_table(
    source: Connection | None,
    table: Table,
    selection: Selection,
    types: Types,
    users: sql.Composable | None,
    options: Options,
) -> list[Finding]:
    in_part = {name: selection.expressions[name] for name, kind in selection.kinds.items() if kind == "json"}
    columns = [
        column
        for column in table.columns
        if not column.generated and (column.name not in selection.kinds or column.name in in_part)
    ]
    masked = any(kind != "keep" for kind in selection.kinds.values())
    why = dict.fromkeys(in_part, "")
    for column in columns:
        if column.name in in_part:  # only what its rule leaves counts
            continue
        name = column.name
        why[name] = personal_tables.why(table, column) or personal_names.why(table, column, options.personal)
        if not why[name] and masked and types[table.oid, name].name == "tsvector":
            why[name] = _INDEX
    if source:
        open_ones = [name for name, reason in why.items() if not reason]
        personal = sum(1 for reason in why.values() if reason) + len(selection.kinds)
        subject = personal_content.Subject(
            types,
            users,
            personal_names.of_people(table) or personal >= _OF_PEOPLE,
            frozenset(column.name for column in columns if personal_names.may_name_people(column)),
            frozenset(column.name for column in columns if personal_names.names_things(table, column)),
            in_part,
        )
        with suppress(psycopg.errors.InsufficientPrivilege):  # the copy fails then, and names the table
            why.update(personal_content.why(source, table, open_ones, subject))
    return [Finding(_called(table), column.name, why[column.name]) for column in columns if why[column.name]]


def require_rules(
    source: Connection,
    tables: Iterable[Table],
    options: Options,
    connect: Callable[[], Connection] | None = None,
) -> None:
    """Raise Refused if a column that looks personal has no rule."""
    if missing := findings(source, tables, options, connect):
        raise Refused(
            f"--require-mask: {', '.join(map(str, missing))} {'looks' if len(missing) == 1 else 'look'} "
            f"personal and {'has' if len(missing) == 1 else 'have'} no rule: give each one in "
            'STAGE_COPY["mask"], or "keep" if its values may be copied'
        )
