"""Find out which tables a sample cuts, and the foreign keys that lead from one of them to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from psycopg import sql

from .known_names import nearest
from .problems import Misconfigured

if TYPE_CHECKING:
    from .amounts import Amount
    from .database import Connection
    from .model import Table

# A key that a partition has through its partitioned table is left out: that table's own key is here. Columns
# are compared as the key itself does it, with its operators and the collation of what it refers to. The last
# pair of a temporal key compares two ranges, of which several rows may cover one.
# https://www.postgresql.org/docs/current/catalog-pg-constraint.html
_OVERLAPS = "pg_catalog.&&"
_KEYS = """
SELECT k.oid::int8, k.conrelid::int8, k.confrelid::int8, (
    SELECT json_agg(json_build_array(x.attname, y.attname,
        CASE WHEN to_jsonb(k) ->> 'conperiod' = 'true' AND pair.n = cardinality(k.conkey)
            THEN 'pg_catalog.&&' ELSE quote_ident(n.nspname) || '.' || o.oprname END,
        CASE WHEN x.attcollation <> y.attcollation
            THEN quote_ident(s.nspname) || '.' || quote_ident(c.collname) END) ORDER BY pair.n)
    FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS pair(own, other, operator, n)
    JOIN pg_attribute x ON x.attrelid = k.conrelid AND x.attnum = pair.own
    JOIN pg_attribute y ON y.attrelid = k.confrelid AND y.attnum = pair.other
    JOIN pg_operator o ON o.oid = pair.operator JOIN pg_namespace n ON n.oid = o.oprnamespace
    LEFT JOIN pg_collation c ON c.oid = y.attcollation LEFT JOIN pg_namespace s ON s.oid = c.collnamespace)
FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY k.oid
"""
_RELATIONS = """
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind = 'p', (
    SELECT inhparent::int8 FROM pg_inherits WHERE inhrelid = c.oid AND c.relispartition)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')
"""
# Django's generic relations name a table by a row of django_content_type, and its row by a plain value.
_GENERIC = r"""
SELECT DISTINCT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_constraint k
JOIN pg_class r ON r.oid = k.confrelid AND r.relname = 'django_content_type'
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE k.contype = 'f' AND NOT c.relispartition AND a.attname ~ 'obj(ect)?_?(id|pk)$' ORDER BY 1
"""
_WHERE = 'STAGE_COPY["sample"]'


@dataclass(frozen=True)
class Relation:
    """A table or partitioned table; `leaves` are the oids of the tables that hold its rows."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    leaves: tuple[int, ...]
    top: int  # oid of the partitioned table that it is a part of, at last; else its own

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> sql.Composed:
        """Return SQL for FROM; without the tables that inherit from it."""
        word = sql.SQL("" if self.partitioned else "ONLY ")
        return word + sql.Identifier(self.schema, self.name)


@dataclass(frozen=True)
class Pair:
    """A column of a key, the one that it refers to, and how they are compared; the last two are SQL."""

    own: str
    other: str
    operator: str
    collation: str | None


@dataclass(frozen=True)
class Key:
    """A foreign key from one cut table to another, or to itself."""

    oid: int
    table: Relation
    referenced: Relation
    pairs: tuple[Pair, ...]

    @property
    def own(self) -> list[str]:
        return [pair.own for pair in self.pairs]

    @property
    def others(self) -> list[str]:
        return [pair.other for pair in self.pairs]

    @property
    def temporal(self) -> bool:
        return self.pairs[-1].operator == _OVERLAPS

    def condition(self, own: Sequence[str]) -> sql.Composed:
        """Return SQL that is true of a row `p` and a row `c` that refers to it by its columns `own`."""
        return sql.SQL(" AND ").join([
            sql.SQL("p.{}{} OPERATOR({}) c.{}").format(
                sql.Identifier(pair.other),
                sql.SQL(f" COLLATE {pair.collation}" if pair.collation else ""),
                sql.SQL(pair.operator),
                sql.Identifier(name),
            )
            for pair, name in zip(self.pairs, own)
        ])  # fmt: skip


@dataclass(frozen=True)
class Root:
    """A named table. `below` says that it is cut to rows that belong to those of another named one."""

    relation: Relation
    amount: Amount
    below: bool


@dataclass(frozen=True)
class KeyGraph:
    """The named tables, those of others before them that they are below, and the keys between cut tables."""

    roots: tuple[Root, ...]
    keys: tuple[Key, ...]
    cut: frozenset[int]  # oids of the tables, or partitions, of which not all rows are copied

    def is_root(self, relation: Relation) -> bool:
        return any(relation.top == root.relation.oid for root in self.roots)


def read(
    source: Connection, tables: Iterable[Table], amounts: Mapping[str, Amount], left: frozenset[int]
) -> KeyGraph:
    """Return the graph of the tables whose rows are copied; `left` are oids of keys that stay behind.

    Raise Misconfigured if a name of `amounts` is that of no such table.
    """
    relations = _relations(source, tables)
    named = {top: amount for name, amount in amounts.items() for top in _named(name, relations)}
    keys = []
    for oid, table, referenced, pairs in source.execute(_KEYS).fetchall():
        if oid not in left and {table, referenced} <= relations.keys():
            key = Key(oid, relations[table], relations[referenced], tuple(Pair(*pair) for pair in pairs))
            keys.append(key)
    below = {top: _below(top, keys) for top in named}
    cut = set(named).union(*below.values())
    over = {  # those that a named table is below, unless they are below it as well
        top: {other for other in named if top in below[other] and other not in below[top]} for top in named
    }
    order = TopologicalSorter(over).static_order()
    return KeyGraph(
        tuple(Root(relations[top], named[top], below=bool(over[top])) for top in order),
        tuple(key for key in keys if {key.table.top, key.referenced.top} <= cut),
        frozenset(leaf for top in cut for leaf in relations[top].leaves),
    )


def generic_relations(source: Connection) -> list[str]:
    """Return the columns, as "schema.table.column", that hold the key of a row in a table that varies."""
    return [name for (name,) in source.execute(_GENERIC).fetchall()]


def _relations(source: Connection, tables: Iterable[Table]) -> dict[int, Relation]:
    """Return the tables and the partitioned tables above them, by oid."""
    copied = {table.oid for table in tables if not table.extension}
    rows = {row[0]: row for row in source.execute(_RELATIONS).fetchall()}
    leaves: dict[int, list[int]] = {}
    tops = {}
    for oid in copied & rows.keys():
        chain = [oid]
        while (parent := rows[chain[-1]][4]) is not None:
            chain.append(parent)
        for one in chain:
            leaves.setdefault(one, []).append(oid)
            tops[one] = chain[-1]
    return {
        oid: Relation(oid, schema, name, partitioned, tuple(sorted(leaves[oid])), tops[oid])
        for oid, schema, name, partitioned, _ in rows.values()
        if oid in leaves
    }


def _named(name: str, relations: Mapping[int, Relation]) -> list[int]:
    """Return the oids of the tables with this name. Raise Misconfigured if there are none."""
    found = [one for one in relations.values() if name in (one.name, one.qualified)]
    if not found:
        close = nearest(name, [word for one in relations.values() for word in (one.name, one.qualified)])
        raise Misconfigured(f"{_WHERE}: staging has no table {name!r} whose rows are copied{close}")
    for one in found:
        if one.top != one.oid:
            raise Misconfigured(
                f"{_WHERE}: {one.qualified} is a partition: name {relations[one.top].qualified} instead"
            )
    return [one.oid for one in found]


def _below(top: int, keys: Iterable[Key]) -> set[int]:
    """Return the tables that refer to table `top`, directly or by others: itself only in a circle."""
    referring: dict[int, set[int]] = {}
    for key in keys:
        referring.setdefault(key.referenced.top, set()).add(key.table.top)
    found: set[int] = set()
    ahead = [top]
    while ahead:
        new = referring.get(ahead.pop(), set()) - found
        found |= new
        ahead += new
    return found
