"""Copy large objects with the functions that every role may call, a batch in each transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from .database import reason
from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection

_AT_ONCE = 100  # objects in one transaction
_FIRST = 1 << 16  # bytes of each object that come with its batch
_CHUNK = 1 << 20  # bytes of a larger one that come at once
_BATCH = """
SELECT oid::int8, lo_get(oid, 0, %s), obj_description(oid, 'pg_largeobject')
FROM pg_largeobject_metadata WHERE oid > %s::oid ORDER BY oid LIMIT %s
"""


def exist(source: Connection) -> bool:
    return bool(source.execute("SELECT 1 FROM pg_largeobject_metadata LIMIT 1").fetchone())


def copy(source: Connection, target: Connection) -> None:
    """Copy all large objects, each with its number and comment. Raise Failed with a server's reason."""
    last: int | None = 0
    try:
        while last is not None:
            last = _copy_some(source, target, last)
    except psycopg.Error as error:
        raise Failed(f"the large objects could not be copied: {reason(error)}") from None


def _copy_some(source: Connection, target: Connection, last: int) -> int | None:
    """Copy the objects after number `last`. Return the last one's number; None if there are no more."""
    rows = source.execute(_BATCH, [_FIRST, last, _AT_ONCE], binary=True).fetchall()
    if not rows:
        return None
    with target.transaction(), target.cursor() as cursor:
        cursor.executemany("SELECT lo_from_bytea(%s::oid, %b)", [row[:2] for row in rows])
        for number, first, comment in rows:
            offset, data = 0, first
            while len(data) == (_CHUNK if offset else _FIRST):
                offset += len(data)
                data = _part(source, number, offset)
                cursor.execute("SELECT lo_put(%s::oid, %s, %b)", [number, offset, data])
            if comment is not None:
                words = sql.SQL("COMMENT ON LARGE OBJECT {} IS {}")
                cursor.execute(words.format(sql.Literal(number), sql.Literal(comment)))
    return int(rows[-1][0])


def _part(source: Connection, number: int, offset: int) -> bytes:
    query = "SELECT lo_get(%s::oid, %s, %s)"
    row = source.execute(query, [number, offset, _CHUNK], binary=True).fetchone()
    return bytes(row[0]) if row else b""
