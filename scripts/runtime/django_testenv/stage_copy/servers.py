"""Find tables whose rows one of the two servers cannot give or take, before any row is moved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection
    from .model import Table

# A standby has nothing of what is unlogged, and refuses to read it.
_UNLOGGED = (
    "SELECT oid::int8 FROM pg_class WHERE relkind = 'r' AND relpersistence = 'u' AND pg_is_in_recovery()"
)
_XML = ("xml", "xml[]")


def require_able(
    source: Connection, target: Connection, tables: Iterable[Table], selections: Mapping[int, Selection]
) -> None:
    """Raise Failed if there is such a table among those whose rows are copied."""
    copied = [table for table in tables if not selections[table.oid].excluded]
    unread = {oid for (oid,) in source.execute(_UNLOGGED).fetchall()}
    if names := [table.qualified for table in copied if table.oid in unread]:
        raise Failed(
            f"staging is a standby, which lacks the rows of the unlogged table {', '.join(names)}: copy from "
            f"its primary, or {_without(names)}"
        )
    columns = [
        (table, column.name)
        for table in copied
        for column in table.columns
        if column.type in _XML and table.pages and column.name not in selections[table.oid].nulled
    ]
    if not columns or _knows_xml(target):
        return
    if full := [(table.qualified, name) for table, name in columns if _has_values(source, table, name)]:
        raise Failed(
            "the target's server was built without XML, and takes no value of "
            f'{", ".join(".".join(one) for one in full)}: give the columns the rule "null", or '
            f"{_without(dict.fromkeys(name for name, _ in full))}"
        )


def _without(names: Iterable[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f'leave these rows behind: STAGE_COPY["exclude_data"] = [{quoted}]'


def _knows_xml(target: Connection) -> bool:
    try:
        target.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def _has_values(source: Connection, table: Table, column: str) -> bool:
    query = sql.SQL("SELECT FROM ONLY {} WHERE {} IS NOT NULL LIMIT 1").format(
        sql.Identifier(table.schema, table.name), sql.Identifier(column)
    )
    return source.execute(query).fetchone() is not None
