"""Read the source's tables, sequences, indexes and foreign keys from its catalogue, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from .model import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .database import Connection

_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# As in pg_dump: an extension's objects come with the extension, except the rows of its configuration tables.
# The rows of a partitioned table are in its leaves.
_TABLES = f"""
WITH RECURSIVE config AS (
    SELECT unnest(extconfig) AS oid, unnest(extcondition) AS condition, extname FROM pg_extension
), wanted AS (
    SELECT c.oid, n.nspname, c.relname, c.reltuples, coalesce(config.condition, '') AS condition
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN config ON config.oid = c.oid
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS}
    AND (config.extname <> ALL (%(left)s) OR config.oid IS NULL AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'))
), above AS (
    SELECT inhrelid AS oid, inhparent AS parent FROM pg_inherits
    UNION SELECT above.oid, i.inhparent FROM above JOIN pg_inherits i ON i.inhrelid = above.parent
)
SELECT w.oid::int8, w.nspname::text, w.relname::text, w.reltuples::int8, w.condition,
    pg_relation_size(w.oid) / current_setting('block_size')::int8, pg_table_size(w.oid),
    coalesce((SELECT json_agg(json_build_object('name', a.attname, 'generated', a.attgenerated <> '',
            'type', format_type(a.atttypid, a.atttypmod), 'nullable', NOT a.attnotnull) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
    ARRAY(SELECT n.nspname || '.' || c.relname FROM above JOIN pg_class c ON c.oid = above.parent
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE above.oid = w.oid)
FROM wanted w ORDER BY 7 DESC, 1
"""

# Types that COPY cannot copy in binary form: those without binary functions, and references into the
# catalogue, which are numbers of the source in binary form and names in text. The search includes arrays,
# domains, ranges and composite types.
_TEXT_ONLY = """
WITH RECURSIVE used AS (
    SELECT attrelid AS oid, atttypid AS type FROM pg_attribute
    WHERE attrelid = ANY (%s) AND attnum > 0 AND NOT attisdropped
    UNION
    SELECT used.oid, inner_type FROM used JOIN pg_type t ON t.oid = used.type CROSS JOIN LATERAL (
        SELECT t.typelem UNION ALL SELECT t.typbasetype
        UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid OR rngmultitypid = t.oid
        UNION ALL SELECT atttypid FROM pg_attribute
            WHERE attrelid = t.typrelid AND t.typrelid <> 0 AND attnum > 0 AND NOT attisdropped
    ) inside (inner_type) WHERE inner_type <> 0
)
SELECT DISTINCT used.oid::int8 FROM used JOIN pg_type t ON t.oid = used.type
WHERE t.typsend = 0 OR t.typreceive = 0 OR t.typname ~ '^reg' AND t.typnamespace = 'pg_catalog'::regnamespace
"""

# Indexes of ordinary tables with their constraints; partitioned tables have no rows of their own.
_BUILT = """
SELECT i.indexrelid::int8, coalesce(k.oid, 0)::int8, i.indrelid::int8
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE c.relkind = 'r' AND i.indrelid = ANY (%s)
"""

_REFERENCES = """
SELECT k.oid::int8, k.conrelid::int8, k.confrelid::int8, k.conname::text, k.convalidated, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = ANY (k.conkey))
FROM pg_constraint k JOIN pg_class referenced ON referenced.oid = k.confrelid
WHERE k.contype = 'f' AND k.conrelid = ANY (%s)
"""

_SEQUENCES = f"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_OURS} AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
ORDER BY 1, 2
"""

# By name, because the two databases have different numbers for them.
_VALIDITY = f"""
SELECT 'index', n.nspname::text, t.relname::text, c.relname::text, i.indisvalid
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE {_OURS} AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = t.oid
    AND deptype = 'e')
UNION ALL
SELECT 'constraint', n.nspname::text, t.relname::text, k.conname::text, k.convalidated
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE k.contype <> 'n' AND {_OURS} AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = t.oid AND deptype = 'e')
UNION ALL
SELECT 'trigger', n.nspname::text, t.relname::text, g.tgname::text, true
FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT g.tgisinternal AND {_OURS}
"""

_ALLOWED_EXTENSIONS = """
SELECT DISTINCT name::text FROM pg_available_extension_versions
WHERE trusted OR NOT superuser OR EXISTS (SELECT FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')
    AND (rolname = 'rds_superuser' OR rolsuper))
"""

_AT_ONCE = 100  # sequences in one query


@dataclass(frozen=True)
class Reference:
    """A foreign key of a table, with the oids in the source's catalogue."""

    oid: int
    table: int
    referenced: int
    name: str
    valid: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """An index that is built after the rows; `constraint` is the oid of its constraint, or 0."""

    index: int
    constraint: int
    table: int


@dataclass(frozen=True)
class Sequence:
    schema: str
    name: str
    value: int
    called: bool


def tables(source: Connection, left: Iterable[str] = ()) -> list[Table]:
    """Return the tables whose rows are copied, largest first; `left` are the extensions not copied."""
    rows = source.execute(_TABLES, {"left": list(left)}).fetchall()
    return [
        Table(
            oid=oid,
            schema=schema,
            name=name,
            columns=tuple(Column(**column) for column in columns),
            pages=pages,
            size=size,
            estimate=estimate,
            ancestors=tuple(ancestors),
            condition=condition,
        )
        for oid, schema, name, estimate, condition, pages, size, columns, ancestors in rows
    ]


def text_only(source: Connection, found: Iterable[Table]) -> frozenset[int]:
    """Return the oids of the tables whose rows COPY must send as text."""
    rows = source.execute(_TEXT_ONLY, [[table.oid for table in found]]).fetchall()
    return frozenset(oid for (oid,) in rows)


def built(source: Connection, found: Iterable[Table]) -> list[Built]:
    rows = source.execute(_BUILT, [[table.oid for table in found]]).fetchall()
    return [Built(*row) for row in rows]


def references(source: Connection, found: Iterable[Table]) -> list[Reference]:
    """Return the foreign keys of these tables, also keys to partitioned tables."""
    rows = source.execute(_REFERENCES, [[table.oid for table in found]]).fetchall()
    return [Reference(*row) for row in rows]


def sequences(source: Connection) -> list[Sequence]:
    """Return every sequence with its state, read after the snapshot so that no row has a higher number."""
    names = source.execute(_SEQUENCES).fetchall()
    found = []
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {}, last_value, is_called FROM {}").format(
                sql.Literal(number), sql.Identifier(schema, name)
            )
            for number, (schema, name) in enumerate(some)
        )
        found += [
            Sequence(some[number][0], some[number][1], value, called)
            for number, value, called in source.execute(query)
        ]
    return found


def validity(connection: Connection) -> Mapping[tuple[Any, ...], bool]:
    """Return every index, constraint and trigger by kind, schema, table and name; True if it is valid."""
    return {tuple(row[:4]): row[4] for row in connection.execute(_VALIDITY).fetchall()}


def extensions_to_leave(source: Connection, target: Connection) -> list[str]:
    """Return, sorted, the source's extensions that the target lacks or that only a superuser may create."""
    wanted = {name for (name,) in source.execute("SELECT extname::text FROM pg_extension").fetchall()}
    allowed = {name for (name,) in target.execute(_ALLOWED_EXTENSIONS).fetchall()}
    return sorted(wanted - allowed - {"plpgsql"})
