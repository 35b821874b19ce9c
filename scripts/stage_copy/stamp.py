"""When a database was copied, from where, and how much: written by the copy, read by whoever shows it.

The stamp is the database's own comment: it changes no schema, so no migration and no model can meet it, it
goes when the database goes, and any role can read it.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from psycopg import sql


class Cursor(Protocol):
    """A psycopg or a Django cursor."""

    def execute(self, query: str, /) -> Any: ...
    def fetchone(self) -> Any: ...


def statement(database: str, *, copied_at: str, source: str, rows: int) -> sql.Composed:
    """The SQL that stamps `database`; `copied_at` is ISO 8601 in UTC, `source` the source database's name."""
    text = json.dumps({"copied_at": copied_at, "source": source, "rows": rows})
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(text))


def read(cursor: Cursor) -> dict[str, Any] | None:
    """The stamp of the database that `cursor` is connected to, or None: `{"copied_at", "source", "rows"}`."""
    cursor.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    )
    row = cursor.fetchone()
    try:
        found = json.loads(row[0])
    except (TypeError, ValueError):  # no comment, or one that somebody wrote by hand
        return None
    return found if isinstance(found, dict) and "copied_at" in found else None
