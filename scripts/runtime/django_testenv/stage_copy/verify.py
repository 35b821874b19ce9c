"""Verify a copy: everything is valid, and on request the content is the same."""

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

_SHOWN = 3  # examples in a message

# Sums of hashes do not depend on the order of rows, and two tables whose rows differ have the same two sums
# only by a chance of one in 2**60 or less.
_CHECKSUM = sql.SQL(
    "SELECT count(*), coalesce(sum(hashtextextended(r::text, 1)::numeric), 0)::text, "
    "coalesce(sum(hashtextextended(r::text, 2)::numeric), 0)::text FROM (SELECT {} FROM ONLY {} {}) r"
)


def require_same_validity(source: Connection, target: Connection) -> None:
    """Raise Failed unless every index, constraint and trigger of the source is there, and valid if it was."""
    theirs, ours = catalogue.validity(source), catalogue.validity(target)
    missing = [name for name, valid in theirs.items() if name not in ours or (valid and not ours[name])]
    if missing:
        shown = ", ".join(
            f"{kind} {name} of {space}.{table}" for kind, space, table, name in missing[:_SHOWN]
        )
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise Failed(f"the copy lacks what the source has, or has it invalid: {shown}{more}")


def compare(
    crew: Crew, tables: Iterable[Table], selections: Mapping[int, Selection], progress: Progress
) -> None:
    """Compare rows and content of every table on both servers, the rules applied. Raise Failed.

    What Python callables made is left out: the source cannot compute it.
    """
    for table in tables:
        crew.add(table.size, _comparing(table, selections[table.oid], progress))
    crew.run()


def _comparing(table: Table, selection: Selection, progress: Progress) -> Callable[[Worker], None]:
    names = [c.name for c in table.columns if not c.generated and c.name not in selection.calls]
    name = sql.Identifier(table.schema, table.name)
    where = sql.SQL(table.condition)  # an extension's own words, from the catalogue
    wanted = [
        sql.SQL("{} AS {}").format(
            selection.expressions.get(column, sql.Identifier(column)), sql.Identifier(column)
        )
        for column in names
    ]
    masked = sql.SQL(", ").join(wanted)
    plain = sql.SQL(", ").join(map(sql.Identifier, names))

    def run(worker: Worker) -> None:
        sent = worker.source.execute(_CHECKSUM.format(masked, name, where)).fetchone()
        arrived = worker.target.execute(_CHECKSUM.format(plain, name, where)).fetchone()
        if sent != arrived:
            raise Failed(f"the content of {table.qualified} differs between source and copy")
        progress.advance(amount=table.size)

    return run
