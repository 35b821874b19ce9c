"""Try the rules of "mask" on some rows of each table, before all rows are moved.

The rows go the way that all rows go, into the new and still empty tables, and are deleted there again. So it
comes to light what a function of a rule raises, and what a column or a CHECK constraint does not take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from .database import reason
from .problems import Failed
from .rows import Pump
from .statements import Piece

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection
    from .model import Table

_FIRST, _MORE = 100, 300  # rows: the first ones, and some of random pages
_BYTES = 4 << 20  # that these rows may have, as they are stored
_PAGES = 64  # that are drawn of a large table
_UNTRIED = ("keep", "null")
_SOME = """
SELECT array_agg(place)::text FROM (
    (SELECT ctid AS place FROM ONLY {table} LIMIT {first})
    UNION (SELECT ctid FROM ONLY {table} TABLESAMPLE SYSTEM ({percent})
        ORDER BY hashtext(ctid::text) LIMIT {more})) chosen
"""


def run(
    source: Connection, target: Connection, tables: Iterable[Table], selections: Mapping[int, Selection]
) -> None:
    """Move some rows of each table that has rules, and delete them. Raise Failed, which names the table."""
    ruled = {
        table.oid: table
        for table in tables
        if not table.extension
        and any(kind.split()[0] not in _UNTRIED for kind in selections[table.oid].kinds.values())
    }
    pump = Pump(source, target, lambda: False)
    for oid, table in ruled.items():
        _try(source, target, table, selections[oid], pump)


def _try(source: Connection, target: Connection, table: Table, selection: Selection, pump: Pump) -> None:
    name = sql.Identifier(table.schema, table.name)
    percent = min(100.0, 100 * _PAGES / max(table.pages, 1))
    room = max(1, _BYTES * max(table.estimate, table.pages) // max(table.size, 1))  # large rows are few
    query = sql.SQL(_SOME).format(
        table=name,
        first=sql.Literal(min(_FIRST, room)),
        percent=sql.Literal(percent),
        more=sql.Literal(min(_MORE, room)),
    )
    row = source.execute(query).fetchone()
    if not row or not row[0]:
        return
    try:
        pump.copy(Piece(table, places=row[0]), selection, text=True, tell=lambda _: None)
        only = sql.SQL("" if table.root else "ONLY ")
        target.execute(sql.SQL("TRUNCATE {}{}").format(only, sql.Identifier(*table.entrance)))
    except psycopg.OperationalError:
        raise  # of a server, and not of a rule
    except psycopg.Error as error:
        why = reason(error)
    else:
        return
    raise Failed(  # not raised above: the server's error may quote a row
        f'STAGE_COPY["mask"] was tried on some rows of {table.qualified}, and they could not be copied: {why}'
    )
