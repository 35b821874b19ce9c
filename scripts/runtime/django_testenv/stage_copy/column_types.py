"""Read what the type of a source's column is made of: domains resolved, arrays by their elements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .database import Connection
    from .model import Table

# A domain's own length counts where the column has none; a domain of an array has elements, too.
_TYPES = """
WITH RECURSIVE resolved AS (
    SELECT a.attrelid, a.attname, a.atttypid AS type, a.atttypmod AS modifier, a.attcollation AS collation
    FROM pg_attribute a WHERE a.attrelid = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT r.attrelid, r.attname, t.typbasetype,
        CASE WHEN r.modifier = -1 THEN t.typtypmod ELSE r.modifier END, r.collation
    FROM resolved r JOIN pg_type t ON t.oid = r.type WHERE t.typtype = 'd'
), plain AS (
    SELECT r.* FROM resolved r JOIN pg_type t ON t.oid = r.type WHERE t.typtype <> 'd'
)
SELECT p.attrelid::int8, p.attname::text,
    CASE WHEN coalesce(e.typname, t.typname) IN ('bpchar', 'bit') THEN format_type(t.oid, -1)
        ELSE format_type(t.oid, NULL) END,
    format_type(t.oid, p.modifier), t.typname::text, e.typname::text,
    CASE WHEN p.modifier < 4 THEN NULL
        WHEN coalesce(e.typname, t.typname) IN ('varchar', 'bpchar') THEN p.modifier - 4
        WHEN t.typname = 'numeric' THEN ((p.modifier - 4) >> 16 & 65535) - (p.modifier - 4 & 2047) END,
    CASE WHEN NOT c.collisdeterministic THEN quote_ident(n.nspname) || '.' || quote_ident(c.collname) END
FROM plain p JOIN pg_type t ON t.oid = p.type
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_collation c ON c.oid = p.collation LEFT JOIN pg_namespace n ON n.oid = c.collnamespace
"""
TEXTS = ("text", "varchar", "bpchar", "citext", "name")
JSON = ("json", "jsonb")
ADDRESSES = ("inet", "cidr")
DATES = ("date", "timestamp", "timestamptz")


@dataclass(frozen=True)
class Type:
    """A column's type without its domains."""

    base: str  # as SQL, without a length: "character varying"
    limited: str  # the same with it: "character varying(30)"
    name: str  # in pg_type: "varchar"; of an array "_varchar"
    element: str | None = None  # of an array, in pg_type
    length: int | None = None  # characters, of an array's elements; of a numeric, digits before the point
    collation: str | None = None  # as SQL, where it is nondeterministic

    @property
    def scalar(self) -> str:
        """The name in pg_type of the values: of an array's elements, else of the type itself."""
        return self.element or self.name


Types = Mapping[tuple[int, str], Type]


def read(source: Connection, tables: Iterable[Table]) -> Types:
    """Return the types by the table's oid and the column's name."""
    rows = source.execute(_TYPES, [[table.oid for table in tables]])
    return {(oid, name): Type(*facts) for oid, name, *facts in rows}
