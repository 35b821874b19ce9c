"""Make the objects of a schema in the target, and name those that cannot be made.

pg_restore would do it in one transaction, which needs a lock for each object, or stop at the first error; and
it sets parameters that an older server than the client's does not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import psycopg

from .database import reason
from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection
    from .schema import Entry

_AT_ONCE = 50  # entries in one transaction, which holds their locks
_SHOWN = 5  # objects in a message


def restore(target: Connection, entries: Sequence[Entry]) -> None:
    """Make all entries in their order. Raise Failed, which names those that cannot be made."""
    failed: list[tuple[Entry, str]] = []
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        try:
            target.execute(_bytes("".join(entry.statement for entry in some)))
        except psycopg.Error:  # none of them is made: one by one
            if target.broken:
                raise
            failed += make(target, some)
    require_none(failed)


def make(target: Connection, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Make the entries one by one; return those that the server refused, each with the reason.

    Within a transaction each has a savepoint. Raises psycopg.Error if the server is gone.
    """
    failed = []
    for entry in entries:
        try:
            with target.transaction():
                target.execute(_bytes(entry.statement))
        except psycopg.Error as error:
            if target.broken:
                raise
            failed.append((entry, reason(error)))
    return failed


def require_none(failed: Sequence[tuple[Entry, str]]) -> None:
    """Raise Failed if there is an entry that cannot be made."""
    if failed:
        shown = "; ".join(f"{entry.title}: {why}" for entry, why in failed[:_SHOWN])
        more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
        raise Failed(f"the schema could not be restored: {shown}{more}")


def _bytes(statement: str) -> bytes:
    return statement.encode("utf-8", "surrogateescape")
