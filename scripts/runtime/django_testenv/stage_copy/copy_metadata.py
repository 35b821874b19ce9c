"""Store the time, source and release of a copy in the database's comment, where a page can read them.

This stamp does not change the schema, so it cannot conflict with migrations or models. It is deleted with the
database, and any role can read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .database import Connection


class Cursor(Protocol):
    """A psycopg or a Django cursor."""

    def execute(self, query: str, /) -> Any: ...
    def fetchone(self) -> Any: ...


def write(server: Connection, name: str, stamp: Mapping[str, Any], words: str = "") -> None:
    """Stamp `name`: `copied_at` (ISO 8601, UTC), `source`, `rows`, `tables`, `release`.

    `words` is the comment of a person, which comes before the stamp.
    """
    from psycopg import sql  # noqa: PLC0415  a page that shows the stamp runs without psycopg 3

    comment = f"{words}\n{json.dumps(stamp)}" if words else json.dumps(stamp)
    server.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment)))


def words(server: Connection, name: str) -> str:
    """Return what a person wrote into the database's comment: all but the stamp."""
    row = _comment(server, name)
    text = str(row[0]) if row and row[0] else ""
    return text.rpartition("\n")[0] if _parsed(row) else text


def of(server: Connection, name: str) -> dict[str, Any] | None:
    """Return the stamp of any database of the server; None if the database has no stamp."""
    return _parsed(_comment(server, name))


def read(cursor: Cursor) -> dict[str, Any] | None:
    """Return the stamp of the database that `cursor` is connected to; None if it has no stamp."""
    cursor.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    )
    return _parsed(cursor.fetchone())


def _comment(server: Connection, name: str) -> Any:
    return server.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()


def _parsed(row: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(row[0].rpartition("\n")[2])
    except (
        TypeError,
        ValueError,
        AttributeError,
    ):  # no database or comment, or not ours
        return None
    return found if isinstance(found, dict) and "copied_at" in found else None
