"""The part of a schema that comes after the rows and reads them: constraints, indexes and foreign keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from . import catalogue

if TYPE_CHECKING:
    from . import schema
    from .model import Table

Key = tuple[catalogue.Reference, str]  # a foreign key and the SQL that adds it


class Build(NamedTuple):
    """The SQL that builds an index, and the index's size in the source, in bytes."""

    statement: str
    size: int


def joined(builds: Iterable[Build]) -> bytes:
    return as_bytes(build.statement for build in builds)


def as_bytes(statements: Iterable[str]) -> bytes:
    return "".join(statements).encode("utf-8", "surrogateescape")


class PostDataStatements:
    """The SQL of pg_dump's post-data section that reads rows: constraints, indexes and foreign keys by table.

    Only those of ordinary tables are here. Those of partitioned tables are made from their partitions' and
    need these first, so they are added at the end. So are temporal keys: a server checks them as it adds
    them, but PostgreSQL 18.6 takes any range that overlaps when it validates one.
    """

    def __init__(
        self,
        entries: Iterable[schema.Entry],
        built: Iterable[catalogue.Built],
        references: Iterable[catalogue.Reference],
        tables: Iterable[Table],
    ) -> None:
        copied = {table.oid for table in tables}
        owners = {number: index for index in built for number in (index.index, index.constraint)}
        named = {key.oid: key for key in references if key.referenced in copied and not key.temporal}
        entries = list(entries)
        building = [entry for entry in entries if entry.is_one_of(owners, owners)]
        adding = [entry for entry in entries if entry.is_one_of((), named)]
        self.numbers = {entry.number for entry in (*building, *adding)}
        self.constraints: dict[int, list[Build]] = defaultdict(list)
        self.indexes: dict[int, list[Build]] = defaultdict(list)  # the largest first
        self.keys = [(named[entry.oid], entry.statement) for entry in adding]
        for entry in building:
            statements = self.indexes if entry.type == "INDEX" else self.constraints
            index = owners[entry.oid]
            statements[index.table].append(Build(entry.statement, index.size))
        for builds in self.indexes.values():
            builds.sort(key=lambda build: -build.size)
