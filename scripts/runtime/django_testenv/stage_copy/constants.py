"""Write a constant of the settings, {"value": ...}, as SQL, and require that its column can hold it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from .column_types import JSON
from .database import reason
from .problems import Misconfigured
from .rules import as_json

if TYPE_CHECKING:
    from .column_types import Type
    from .database import Connection
    from .model import Column, Table


def literal(value: Any, type_: Type) -> sql.Composable:
    """Return SQL for the constant, before the cast to the column's type."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (list, tuple, set)) and type_.element and type_.element not in JSON:
        return sql.SQL("{}::text[]").format(sql.Literal([as_text(each) for each in value]))
    return sql.SQL("{}::text").format(sql.Literal(as_text(value, is_json=type_.scalar in JSON)))


def as_text(value: Any, *, is_json: bool = False) -> str | None:
    """Return a Python value as Postgres reads it: bytes as bytea, dicts and lists as JSON; None for null."""
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return None
    if isinstance(value, (dict, list, tuple)) or (is_json and not isinstance(value, str)):
        return as_json(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    return str(value).lower() if isinstance(value, bool) else str(value)


# A unique index of this column alone, and two rows.
_UNIQUE = """
SELECT EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = {} AND a.attname = {} AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL
) AND (SELECT count(*) = 2 FROM (SELECT FROM ONLY {} LIMIT 2) two)
"""


def require_not_unique(source: Connection, where: str, table: Table, column: Column) -> None:
    """Raise Misconfigured if one constant for all rows would be twice in a unique column."""
    query = sql.SQL(_UNIQUE).format(
        sql.Literal(table.oid), sql.Literal(column.name), sql.Identifier(table.schema, table.name)
    )
    row = source.execute(query).fetchone()
    if row and row[0]:
        raise Misconfigured(f'{where} is unique, and {{"value": ...}} is the same for all rows: use a fake')


def require_fitting(source: Connection, where: str, value: Any, type_: Type, column: Column) -> None:
    """Raise Misconfigured unless the column takes the constant as it is: not cut, rounded or refused."""
    query = sql.SQL("SELECT ({0}::{1})::text, ({0}::{2})::text").format(
        literal(value, type_), sql.SQL(column.type), sql.SQL(type_.base)
    )
    try:
        with source.transaction():
            row = source.execute(query).fetchone()
    except psycopg.OperationalError:
        raise  # of the server, and not of the value
    except psycopg.Error as error:
        why = reason(error)
    else:
        if row and row[0] == row[1]:
            return
        why = "it would be cut or rounded"
    raise Misconfigured(f'{where} is {column.type}, and its {{"value": ...}} does not fit: {why}')
