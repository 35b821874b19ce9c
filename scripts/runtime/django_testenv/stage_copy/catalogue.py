"""Read the source's tables, sequences, indexes and foreign keys from its catalogue, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from psycopg import sql

from .model import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .database import Connection

_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# As in pg_dump: an extension's objects come with the extension, except the rows of its configuration tables.
# The rows of a partitioned table are in its leaves. They go through a partitioned table where the target may
# have another hash for its key: that of an enum or regclass is of a number which each database chooses, that
# of a nondeterministic collation is ICU's, and nobody knows what an operator class of the project does.
_TABLES = f"""
WITH RECURSIVE config AS (
    SELECT unnest(extconfig) AS oid, unnest(extcondition) AS condition, extname FROM pg_extension
), wanted AS (
    SELECT c.oid, n.oid AS space, n.nspname, c.relname, c.reltuples, c.reltoastrelid,
        coalesce(config.extname, '')::text AS extension, coalesce(config.condition, '') AS condition
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN config ON config.oid = c.oid
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND {_OURS}
    AND (config.oid IS NOT NULL AND config.extname <> ALL (%(left)s) OR config.oid IS NULL AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'))
), above AS (
    SELECT inhrelid AS oid, inhparent AS parent FROM pg_inherits
    UNION SELECT above.oid, i.inhparent FROM above JOIN pg_inherits i ON i.inhrelid = above.parent
), unsure AS (
    SELECT partrelid AS oid FROM pg_partitioned_table CROSS JOIN LATERAL unnest(partattrs) key
    LEFT JOIN pg_attribute ON attrelid = partrelid AND attnum = key LEFT JOIN pg_type t ON t.oid = atttypid
    WHERE partstrat = 'h' AND (key = 0 OR t.oid >= 16384 OR t.typname ~ '^_?reg'
        OR EXISTS (SELECT FROM pg_collation WHERE oid = ANY (partcollation) AND NOT collisdeterministic))
), roots AS (
    SELECT DISTINCT above.oid, ARRAY[n.nspname::text, c.relname] AS root
    FROM above JOIN unsure ON unsure.oid = above.parent JOIN pg_class c ON c.oid = above.parent
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM above a JOIN unsure u ON u.oid = a.parent WHERE a.oid = above.parent)
)
SELECT w.oid::int8, w.nspname::text, w.relname::text, w.reltuples::int8, w.extension, w.condition,
    pg_relation_size(w.oid) / current_setting('block_size')::int8, pg_table_size(w.oid),
    coalesce((SELECT json_agg(json_build_object('name', a.attname, 'generated', a.attgenerated <> '',
            'type', format_type(a.atttypid, a.atttypmod), 'nullable', NOT a.attnotnull,
            'toastable', a.attlen = -1) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
    has_table_privilege(w.oid, 'SELECT') AND has_schema_privilege(w.space, 'USAGE'),
    ARRAY(SELECT n.nspname || '.' || c.relname FROM above JOIN pg_class c ON c.oid = above.parent
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE above.oid = w.oid),
    roots.root, coalesce(pg_relation_size(nullif(w.reltoastrelid, 0)), 0)
FROM wanted w LEFT JOIN roots ON roots.oid = w.oid ORDER BY 8 DESC, 1
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
        UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid {multirange}
        UNION ALL SELECT atttypid FROM pg_attribute
            WHERE attrelid = t.typrelid AND t.typrelid <> 0 AND attnum > 0 AND NOT attisdropped
    ) inside (inner_type) WHERE inner_type <> 0
)
SELECT DISTINCT used.oid::int8 FROM used JOIN pg_type t ON t.oid = used.type
WHERE t.typsend = 0 OR t.typreceive = 0 OR t.typname ~ '^reg' AND t.typnamespace = 'pg_catalog'::regnamespace
"""

# Indexes of ordinary tables with their constraints; partitioned tables have no rows of their own.
_BUILT = """
SELECT i.indexrelid::int8, coalesce(k.oid, 0)::int8, i.indrelid::int8, pg_relation_size(i.indexrelid)
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE c.relkind = 'r' AND i.indrelid = ANY (%s)
"""

# Functions of the project that rows and indexes need: they may read other tables, whatever they promise.
_CALLERS = f"""
SELECT coalesce(i.indrelid, a.adrelid)::int8, i.indrelid IS NOT NULL
FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid JOIN pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
LEFT JOIN (pg_attrdef a JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum AND attgenerated = 's')
    ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
WHERE d.refclassid = 'pg_proc'::regclass AND {_OURS} AND coalesce(i.indrelid, a.adrelid) IS NOT NULL
AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.deptype = 'e' AND (
    e.classid = 'pg_proc'::regclass AND e.objid = p.oid
    OR e.classid = 'pg_class'::regclass AND e.objid = coalesce(i.indrelid, a.adrelid)))
"""

_REFERENCES = """
SELECT k.oid::int8, k.conrelid::int8, k.confrelid::int8, k.conname::text, k.convalidated, ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = ANY (k.conkey)),
    k.conparentid::int8, coalesce(to_jsonb(k) ->> 'conperiod' = 'true', false)
FROM pg_constraint k JOIN pg_class referenced ON referenced.oid = k.confrelid
WHERE k.contype = 'f' AND k.conrelid = ANY (%s)
"""

_SEQUENCES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND NOT (relpersistence = 'u' AND pg_is_in_recovery()) AND (c.oid = ANY (%(made)s)
    OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension WHERE extname <> ALL (%(left)s)))
ORDER BY 1, 2
"""

_REPLICATION = """
SELECT 'publication ' || pubname FROM pg_publication UNION ALL
SELECT 'subscription ' || subname FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1
"""
_WITH_SEQUENCES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s) OR c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend WHERE objid = c.oid
    AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND refobjid = ANY (%s)
    AND deptype IN ('a', 'i'))
"""

# By name, because the two databases have different numbers for them. Left out is what pg_dump leaves out:
# indexes that are not valid, parts of an extension, and what a table has through its parent: the server may
# have chosen the name, and a check that is not valid for the parent may be valid for a child made later.
_NOT_OF_EXTENSION = """NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = t.oid AND deptype = 'e')"""
_VALIDITY = f"""
SELECT 'index', n.nspname::text, t.relname::text, c.relname::text, i.indisvalid,
    ARRAY[c.oid, t.oid, coalesce(k.oid, 0)]::int8[]
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
WHERE (i.indisvalid OR t.relkind = 'p') AND i.indisready AND {_OURS} AND {_NOT_OF_EXTENSION}
UNION ALL
SELECT 'constraint', n.nspname::text, t.relname::text, k.conname::text, k.convalidated,
    ARRAY[k.oid, t.oid]::int8[]
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE k.contype <> 'n' AND k.conparentid = 0 AND (k.conislocal OR k.contype <> 'c') AND {_OURS}
    AND {_NOT_OF_EXTENSION}
UNION ALL
SELECT 'trigger', n.nspname::text, t.relname::text, g.tgname::text, true, ARRAY[g.oid, t.oid]::int8[]
FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND {_OURS} AND {_NOT_OF_EXTENSION}
"""

_ALLOWED_EXTENSIONS = """
SELECT DISTINCT name::text FROM pg_available_extension_versions
WHERE trusted OR NOT superuser OR EXISTS (SELECT FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')
    AND (rolname = 'rds_superuser' OR rolsuper))
"""

_PG14 = 140000
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
    parent: int  # the key of the partitioned table that it is a part of, or 0
    temporal: bool


@dataclass(frozen=True)
class Built:
    """An index that is built after the rows; `constraint` is the oid of its constraint, or 0."""

    index: int
    constraint: int
    table: int
    size: int  # bytes in the source


@dataclass(frozen=True)
class Callers:
    """The oids of tables with functions of the project in stored generated columns, and in indexes."""

    columns: frozenset[int]
    indexes: frozenset[int]


@dataclass(frozen=True)
class Validity:
    """Of an index, constraint or trigger: is it valid, and the oids of itself, its table and constraint."""

    valid: bool
    oids: frozenset[int]


@dataclass(frozen=True)
class Sequence:
    schema: str
    name: str
    value: int
    called: bool


def tables(source: Connection, left: Iterable[str] = ()) -> list[Table]:
    """Return the tables whose rows are copied, largest first; `left` are the extensions not copied."""
    names = ["oid", "schema", "name", "estimate", "extension", "condition", "pages", "size", "columns"]
    names += ["readable", "ancestors", "root", "toast"]
    rows = source.execute(_TABLES, {"left": list(left)})
    return [_table(dict(zip(names, row))) for row in rows]  # one by one: there may be 50,000


def _table(facts: dict[str, Any]) -> Table:
    columns = tuple(Column(**column) for column in facts.pop("columns"))
    root = tuple(facts["root"]) if facts["root"] else None
    return Table(columns=columns, ancestors=tuple(facts.pop("ancestors")), **{**facts, "root": root})


def replication(source: Connection) -> list[str]:
    """Return the publications and subscriptions, which are never copied, in words."""
    return [title for (title,) in source.execute(_REPLICATION).fetchall()]


def text_only(source: Connection, target_version: int, found: Iterable[Table]) -> frozenset[int]:
    """Return the oids of the tables whose rows COPY must send as text.

    These are all tables if the target's server is older than the source's: it may take a newer value's binary
    form for another value. Before version 14, servers refuse arrays whose type has another number there.
    """
    version, oids = source.info.server_version, [table.oid for table in found]
    if target_version // 10000 < max(version, _PG14) // 10000:
        return frozenset(oids)
    query = _TEXT_ONLY.replace("{multirange}", "OR rngmultitypid = t.oid" if version >= _PG14 else "")
    return frozenset(oid for (oid,) in source.execute(query.encode(), [oids]).fetchall())


def built(source: Connection, found: Iterable[Table]) -> list[Built]:
    """Return the indexes of these tables."""
    rows = source.execute(_BUILT, [[table.oid for table in found]]).fetchall()
    return [Built(*row) for row in rows]


def callers(source: Connection) -> Callers:
    rows = source.execute(_CALLERS).fetchall()
    columns, indexes = (
        frozenset(oid for oid, of_index in rows if of_index is kind) for kind in (False, True)
    )
    return Callers(columns, indexes)


def references(source: Connection, found: Iterable[Table]) -> list[Reference]:
    """Return the foreign keys of these tables, also keys to partitioned tables."""
    rows = source.execute(_REFERENCES, [[table.oid for table in found]]).fetchall()
    return [Reference(*row) for row in rows]


def loading_order(found: Iterable[Table], references: Iterable[Reference]) -> list[Table]:
    """Return the tables, each after those that it refers to, as far as references are no circle."""
    tables = {table.oid: table for table in found}
    graph: dict[int, set[int]] = {oid: set() for oid in tables}
    for key in references:
        if {key.table, key.referenced} <= tables.keys() and key.table != key.referenced:
            graph[key.table].add(key.referenced)
    try:
        return [tables[oid] for oid in TopologicalSorter(graph).static_order()]
    except CycleError:
        return list(tables.values())


def sequences(source: Connection, made: Iterable[int], left: Iterable[str] = ()) -> list[Sequence]:
    """Return the sequences' states, read after the snapshot so that no row has a higher number.

    These are the sequences with the oids `made`, and those of the configuration of extensions other than
    `left`.
    """
    names = source.execute(_SEQUENCES, {"made": list(made), "left": list(left)}).fetchall()
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
            for number, value, called in _states(source, query, keep_locks=len(names) <= _AT_ONCE)
        ]
    return found


def with_sequences(source: Connection, oids: list[int]) -> list[tuple[str, str]]:
    """Return schema and name of these tables and of the sequences that belong to them."""
    rows = source.execute(_WITH_SEQUENCES, [oids, oids]).fetchall()
    return [(schema, name) for schema, name in rows]


def _states(source: Connection, query: sql.Composed, *, keep_locks: bool) -> list[tuple[Any, ...]]:
    """Return the rows of a query within a transaction; of many objects, do not keep their locks."""
    if keep_locks:
        return source.execute(query).fetchall()
    with source.transaction(force_rollback=True):
        return source.execute(query).fetchall()


def validity(connection: Connection) -> Iterator[tuple[tuple[Any, ...], Validity]]:
    """Yield kind, schema, table and name of every index, constraint and trigger, and its validity."""
    for row in connection.execute(_VALIDITY):
        yield row[:4], Validity(row[4], frozenset(row[5]))


def owns_public(target: Connection) -> bool:
    """Return True if the role may comment on the schema `public`; before version 15 a superuser owns it."""
    row = target.execute(
        "SELECT pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE nspname = 'public'"
    ).fetchone()
    return bool(row and row[0])


def extensions_to_leave(source: Connection, target: Connection) -> list[str]:
    """Return, sorted, the source's extensions that the target lacks or that only a superuser may create."""
    wanted = {name for (name,) in source.execute("SELECT extname::text FROM pg_extension").fetchall()}
    allowed = {name for (name,) in target.execute(_ALLOWED_EXTENSIONS).fetchall()}
    return sorted(wanted - allowed - {"plpgsql"})
