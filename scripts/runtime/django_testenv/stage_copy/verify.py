"""Verify that everything in a copy is valid and, on request, that its content is the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from psycopg import sql

from . import catalogue
from .database import Connection
from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .crew import Crew, Worker
    from .masking import Selection
    from .model import Progress, Table
    from .sampling import Sample

_SHOWN = 3  # examples in a message

# Sums of hashes do not depend on the order of rows. Two tables with different rows have the same two sums
# with a probability of at most 2**-60. The columns are numbered, so that none is called like the row.
_CHECKSUM = sql.SQL(
    "SELECT count(*), coalesce(sum(hashtextextended(r::text, 1)::numeric), 0)::text, "
    "coalesce(sum(hashtextextended(r::text, 2)::numeric), 0)::text FROM (SELECT {} FROM {}{} {}) r"
)
_ONLY = sql.SQL("ONLY ")


def require_same_validity(source: Connection, target: Connection, left: frozenset[int]) -> None:
    """Raise Failed if the target lacks an index, constraint or trigger of the source, or has it invalid.

    `left` are oids of the source's objects that stay behind, or of foreign keys that rows break.
    """
    actual = {name: found.valid for name, found in catalogue.validity(target)}
    missing = [
        name
        for name, found in catalogue.validity(source)
        if not left & found.oids and (name not in actual or (found.valid and not actual[name]))
    ]
    if missing:
        shown = ", ".join(
            f"{kind} {name} of {space}.{table}" for kind, space, table, name in missing[:_SHOWN]
        )
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise Failed(f"the copy lacks parts of the source, or has them invalid: {shown}{more}")


def compare(
    crew: Crew,
    tables: Iterable[Table],
    selections: Mapping[int, Selection],
    sample: Sample,
    progress: Progress,
) -> None:
    """Compare rows and content of every table on both servers, with the rules applied. Raise Failed.

    Columns with a rule that calls Python are left out, because the source cannot compute them. Partitions
    whose rows go through their root are compared together.
    """
    together: dict[object, list[Table]] = defaultdict(list)
    for table in tables:
        together[table.root or table.oid].append(table)
    for some in together.values():
        crew.add(sum(table.size for table in some), _comparing(some, selections, sample, progress))
    crew.run()


def _comparing(
    tables: list[Table], selections: Mapping[int, Selection], sample: Sample, progress: Progress
) -> Callable[[Worker], None]:
    first = tables[0]
    names = [c.name for c in first.columns if not c.generated and c.name not in selections[first.oid].calls]

    def columns(expressions: Mapping[str, sql.Composable]) -> sql.Composed:
        return sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(
                expressions.get(name, sql.Identifier(name)), sql.Identifier(str(number))
            )
            for number, name in enumerate(names)
        )

    def run(worker: Worker) -> None:
        sums: list[Any] = [(0, 0, 0)]
        for table in tables:
            worker.release_locks()
            relation, masked = (
                sql.Identifier(table.schema, table.name),
                columns(selections[table.oid].expressions),
            )
            parts: Iterable[sql.Composable] = [sql.SQL(table.condition)]  # an extension's own SQL
            if table.oid in sample.cut:  # no list: the places of many rows take much memory
                chosen = sql.SQL("WHERE ctid = ANY ({}::tid[])")
                parts = (chosen.format(sql.Literal(places)) for places in sample.batches(table.oid))
            sums += [
                worker.source.execute(_CHECKSUM.format(masked, _ONLY, relation, part)).fetchone()
                for part in parts
            ]
        sent = [sum(map(int, numbers)) for numbers in zip(*sums)]
        entrance, only = sql.Identifier(*first.entrance), sql.SQL("") if first.root else _ONLY
        query = _CHECKSUM.format(columns({}), only, entrance, sql.SQL(first.condition))
        row = worker.target.execute(query).fetchone()
        if sent != list(map(int, row or ())):
            name = ".".join(first.entrance)
            raise Failed(f"the content of {name} differs between source and copy")
        progress.advance(amount=sum(table.size for table in tables))

    return run
