"""Decide what becomes of large objects, which no rule can mask, and copy them, a batch in each transaction.

The functions of Postgres that every role may call copy them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from .database import reason
from .problems import Failed, Refused

if TYPE_CHECKING:
    from .database import Connection
    from .options import Options

_AT_ONCE = 100  # objects in one transaction
_FIRST = 1 << 16  # bytes of each object that come with its batch
_CHUNK = 1 << 20  # bytes of a larger one that come at once
_BATCH = """
SELECT oid::int8, lo_get(oid, 0, %s), obj_description(oid, 'pg_largeobject')
FROM pg_largeobject_metadata WHERE oid > %s::oid ORDER BY oid LIMIT %s
"""
_CHOICE = 'set STAGE_COPY["large_objects"] to "drop", or to "keep" if they may be copied'


def come(source: Connection, options: Options, say: Callable[[str], None]) -> bool:
    """Return True if large objects are to be copied. Say what becomes of them unless "keep" asks for it."""
    what = described(source, options)
    if what and options.large_objects != "keep":
        say(what)
    return bool(what) and options.large_objects != "drop"


def described(source: Connection, options: Options) -> str:
    """Return in one line what becomes of the large objects; empty if there are none."""
    row = source.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    count = row[0] if row else 0
    if not count:
        return ""
    many = f"{count} large object{'s' if count > 1 else ''}"
    if options.large_objects == "drop":
        return f"{many}: left behind; columns that name one by its number lead nowhere"
    silent = "" if options.large_objects else f", because nothing says otherwise: {_CHOICE}"
    return f"{many}: copied as they are, unmasked{silent}"


def require_decision(source: Connection, options: Options) -> None:
    """Raise Refused if there are large objects and no setting says whether they may be copied."""
    if not options.large_objects and described(source, options):
        raise Refused(f"--require-mask: staging has large objects, and no rule can mask them: {_CHOICE}")


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
