"""Verify that everything in a copy is valid and, on request, that its content is the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

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
# with a probability of at most 2**-60.
_CHECKSUM = sql.SQL(
    "SELECT count(*), coalesce(sum(hashtextextended(r::text, 1)::numeric), 0)::text, "
    "coalesce(sum(hashtextextended(r::text, 2)::numeric), 0)::text FROM (SELECT {} FROM ONLY {} {}) r"
)


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

    Columns with a rule that calls Python are left out, because the source cannot compute them.
    """
    for table in tables:
        crew.add(table.size, _comparing(table, selections[table.oid], sample, progress))
    crew.run()


def _comparing(
    table: Table, selection: Selection, sample: Sample, progress: Progress
) -> Callable[[Worker], None]:
    names = [c.name for c in table.columns if not c.generated and c.name not in selection.calls]
    name = sql.Identifier(table.schema, table.name)
    where = sql.SQL(table.condition)  # an extension's own SQL, from the catalogue
    wanted = [
        sql.SQL("{} AS {}").format(
            selection.expressions.get(column, sql.Identifier(column)), sql.Identifier(column)
        )
        for column in names
    ]
    masked = sql.SQL(", ").join(wanted)
    plain = sql.SQL(", ").join(map(sql.Identifier, names))

    def run(worker: Worker) -> None:
        worker.release_locks()
        parts: Iterable[sql.Composable] = [where]
        if table.oid in sample.cut:  # no list: the places of many rows take much memory
            chosen = sql.SQL("WHERE ctid = ANY ({}::tid[])")
            parts = (chosen.format(sql.Literal(places)) for places in sample.batches(table.oid))
        sums = [worker.source.execute(_CHECKSUM.format(masked, name, part)).fetchone() for part in parts]
        sent = [sum(map(int, numbers)) for numbers in zip((0, 0, 0), *filter(None, sums))]
        row = worker.target.execute(_CHECKSUM.format(plain, name, where)).fetchone()
        arrived = list(map(int, row or ()))
        if sent != arrived:
            raise Failed(f"the content of {table.qualified} differs between source and copy")
        progress.advance(amount=table.size)

    return run
