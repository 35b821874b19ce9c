"""Select the rows and values of the source that are copied, and mask values that must not leave it.

The source's server makes a fake from a keyed hash of the value: equal values become equal fakes in every
table, different values different fakes, and nobody without the key can try out values to find the original.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from psycopg import sql

from . import column_types, constants, fakes, links
from .column_types import ADDRESSES, DATES, JSON, TEXTS, Type, Types
from .fakes import Group
from .known_names import nearest
from .links import Links
from .options import Options
from .problems import Misconfigured
from .rules import FAKES, Rule

if TYPE_CHECKING:
    from .database import Connection
    from .model import Column, Table

_BIGINT_DIGITS = 18


@dataclass(frozen=True)
class Selection:
    """The part of one table that a copy takes."""

    excluded: bool = False
    expressions: Mapping[str, sql.Composable] = field(
        default_factory=dict
    )  # by column, for the source's server
    calls: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # of texts; apart, of bytes
    nulled: frozenset[str] = frozenset()
    kinds: Mapping[str, str] = field(default_factory=dict)  # the rule's name, by column


def prepare(source: Connection, options: Options) -> None:
    """Set the key in a session of the source, as a bound parameter: no statement's text has it then."""
    # Compiling such long expressions takes a server with LLVM ten seconds, and saves none.
    query = "SELECT set_config(%s, %s, false), set_config('jit', 'off', false)"
    source.execute(query, [fakes.KEY, options.mask_key])


def selections(source: Connection, tables: Iterable[Table], options: Options) -> dict[int, Selection]:
    """Return the part of each table to copy, by its oid.

    Raise Misconfigured if an entry of the options matches nothing, if a rule is impossible for its column, or
    if the rules of linked columns contradict; psycopg.Error if the source fails.
    """
    tables = list(tables)
    masks = Masks(tables, column_types.read(source, tables), links.read(source), options)
    masks.ignores_case = {
        collation: bool(_one(source, f"SELECT 'a' = 'A' COLLATE {collation}"))
        for collation in masks.collations()
    }
    found = {table.oid: masks.select(table) for table in tables}
    masks.require_fitting_constants(source)
    return found


def _one(source: Connection, query: str) -> Any:
    row = source.execute(query.encode()).fetchone()
    return row[0] if row else None


class Masks:
    """The rules of the options for these tables, with what foreign keys add."""

    def __init__(self, tables: Iterable[Table], types: Types, linked: Links, options: Options) -> None:
        """Raise Misconfigured."""
        self._tables, self._types, self._options = list(tables), types, options
        self.ignores_case: Mapping[str, bool] = {}
        self._require_known()
        own = {
            (table.oid, column.name): rule
            for table in self._tables
            if not self._excluded(table)
            for column in table.columns
            if (rule := _rule(table, column, options))
        }
        self._rules = links.spread(own, [t for t in self._tables if not self._excluded(t)], linked)
        self._inherited = self._rules.keys() - own.keys()
        self._columns = {(t.oid, c.name): (t, c) for t in self._tables for c in t.columns}
        self._groups: dict[tuple[str, str, str], Group] = {}
        self._collations = {place: type_.collation for place, type_ in types.items() if type_.collation}
        for members in linked.sets:  # what a key compares, it compares by the collation of one of them
            if found := sorted({self._collations[place] for place in members & self._collations.keys()}):
                self._collations.update(dict.fromkeys(members, found[0]))

    def select(self, table: Table) -> Selection:
        """Return the part of `table` to copy. Raise Misconfigured if a rule is impossible for its column."""
        if self._excluded(table):
            return Selection(excluded=True)
        rules = {
            column.name: (column, self._rules[table.oid, column.name])
            for column in table.columns
            if (table.oid, column.name) in self._rules
        }
        for column, rule in rules.values():
            if column.generated and rule.kind != "keep":
                raise Misconfigured(f"{_where(table, column)} is generated from other columns: mask those")
        return Selection(
            expressions={
                name: self._expression(table, column, rule)
                for name, (column, rule) in rules.items()
                if rule.kind not in ("keep", "call")
            },
            calls={name: rule.call for name, (_, rule) in rules.items() if rule.call},
            nulled=frozenset(name for name, (_, rule) in rules.items() if rule.kind == "null"),
            kinds={
                name: rule.kind + (" by its key" if (table.oid, name) in self._inherited else "")
                for name, (_, rule) in rules.items()
            },
        )

    def collations(self) -> set[str]:
        """Return the nondeterministic collations of columns with fakes."""
        return {
            self._collations[place]
            for place, rule in self._rules.items()
            if rule.kind in FAKES and place in self._collations
        }

    def require_fitting_constants(self, source: Connection) -> None:
        """Raise Misconfigured if a {"value": ...} is none of its column's, whole and unchanged."""
        for place, rule in self._rules.items():
            table, column = self._columns[place]
            if rule.kind == "value" and not column.generated:
                where = _where(table, column)
                constants.require_fitting(source, where, rule.value, self._types[place], column)
                constants.require_not_unique(source, where, table, column)

    def _require_known(self) -> None:
        """Raise Misconfigured if an entry of the options matches no table or column."""
        names = {name for table in self._tables for name in _names(table)}
        for pattern in self._options.exclude_data:
            if not any(_matches(table, pattern) for table in self._tables):
                raise Misconfigured(
                    f'STAGE_COPY["exclude_data"]: there is no table {pattern!r} in staging'
                    f"{nearest(pattern, names)}"
                )
        for entry in self._options.mask:
            name, _, column = entry.rpartition(".")
            concerned = [table for table in self._tables if name in _names(table)]
            where = f'STAGE_COPY["mask"]["{entry}"]'
            if not concerned:
                raise Misconfigured(f"{where}: there is no table {name!r} in staging{nearest(name, names)}")
            columns = [known.name for table in concerned for known in table.columns]
            if column not in columns:
                raise Misconfigured(f"{where}: {name} has no column {column!r}{nearest(column, columns)}")

    def _excluded(self, table: Table) -> bool:
        return any(_matches(table, pattern) for pattern in self._options.exclude_data)

    def _expression(self, table: Table, column: Column, rule: Rule) -> sql.Composable:
        where, type_ = _where(table, column), self._types[table.oid, column.name]
        value = sql.Identifier(column.name)
        if rule.kind == "null":
            if not column.nullable:
                raise Misconfigured(f'{where} may not be null: use a fake or {{"value": ...}}')
            return sql.SQL("NULL::{}").format(_type(column))
        if rule.kind == "value":
            return sql.SQL("{}::{}").format(constants.literal(rule.value, type_), _type(column))
        if rule.kind == "shift":
            return self._shifted(table, column, rule)
        if rule.kind == "json":
            if type_.name not in JSON:
                raise Misconfigured(f'{where} is {column.type}: rules for paths need "json" or "jsonb"')
            made = fakes.json(sql.SQL("{}::jsonb").format(value), rule.paths, self._group_of)
            return sql.SQL("({})::{}").format(made, _type(column))
        return self._fake(table, column, rule)

    def _shifted(self, table: Table, column: Column, rule: Rule) -> sql.Composable:
        where, type_ = _where(table, column), self._types[table.oid, column.name]
        known = [each.name for each in table.columns]
        if type_.name not in DATES:
            raise Misconfigured(f'{where} is {column.type}: a "shift" needs a date or a timestamp')
        if rule.by and rule.by not in known:
            raise Misconfigured(
                f'{where}: {table.qualified} has no column {rule.by!r} for "by"{nearest(rule.by, known)}'
            )
        value, by = sql.Identifier(column.name), sql.Identifier(rule.by or column.name)
        drawn_by = sql.SQL("coalesce({}::text, '')").format(by)
        moved = fakes.shifted(value, drawn_by, rule.days, is_date=type_.name == "date")
        return sql.SQL("CASE WHEN {0} IS NOT NULL THEN ({1})::{2} END").format(value, moved, _type(column))

    def _fake(self, table: Table, column: Column, rule: Rule) -> sql.Composable:
        where, type_ = _where(table, column), self._types[table.oid, column.name]
        if (room := _room(type_, rule.kind)) is None:
            raise Misconfigured(
                f'{where} is {column.type}, which can hold no "{rule.kind}": use "null" or {{"value": ...}}'
            )
        if room < fakes.NEEDED[rule.kind]:
            raise Misconfigured(
                f'{where} is {column.type}: too short for a "{rule.kind}" that keeps different values '
                'different: use "null" or {"value": ...}'
            )
        value = sql.Identifier(column.name)
        group = self._group(rule, self._collations.get((table.oid, column.name), ""))
        if not type_.element:
            return sql.SQL("({})::{}").format(
                _of_one(rule.kind, value, type_, type_.base, group), _type(column)
            )
        one = _of_one(rule.kind, sql.SQL("sc_u.x"), type_, type_.base.removesuffix("[]"), group)
        return sql.SQL(
            "(CASE WHEN {value} IS NOT NULL THEN (SELECT coalesce(array_agg({one} ORDER BY sc_u.n), '{{}}') "
            "FROM unnest({value}) WITH ORDINALITY sc_u(x, n)) END)::{type}"
        ).format(value=value, one=one, type=_type(column))

    def _group_of(self, rule: Rule) -> Group:
        """Return the group of a fake within a document."""
        return self._group(rule, "")

    def _group(self, rule: Rule, own: str) -> Group:
        """Return the group of a fake: all columns with this kind of fake and this name of a group.

        `own` is the nondeterministic collation of the column. Such a collation is that of the whole group if
        it ignores case, or if somebody has named the group, and no other column of it has another one.
        """
        key = (rule.kind, rule.group, own)
        if key not in self._groups:
            alike = [
                place
                for place, other in self._rules.items()
                if (other.kind, other.group) == (rule.kind, rule.group)
            ]
            rooms = [_room(self._types[place], rule.kind) or 0 for place in alike]
            others = {self._collations[place] for place in alike if place in self._collations}
            collation = own
            if not own and len(others) == 1:
                (only,) = others
                collation = only if rule.group or self.ignores_case.get(only, True) else ""
            self._groups[key] = Group(
                min([fakes.UNLIMITED, *(room for room in rooms if room >= fakes.NEEDED[rule.kind])]),
                collation,
                self.ignores_case.get(collation, True),
            )
        return self._groups[key]


def _of_one(kind: str, value: sql.Composable, type_: Type, type_name: str, group: Group) -> sql.Composable:
    """Return SQL for the fake of one value, or of one element of an array; null and '' stay."""
    as_text = sql.SQL("host({})" if type_.scalar in ADDRESSES else "{}::text").format(value)
    fake = fakes.text(kind, as_text, group)
    if type_.scalar in ADDRESSES:
        fake = sql.SQL("set_masklen(({})::inet, masklen({}))").format(fake, value)
        if type_.scalar == "cidr":
            fake = sql.SQL("network({})").format(fake)
    return sql.SQL("CASE WHEN {value} IS NULL OR {text} = '' THEN {value} ELSE ({fake})::{type} END").format(
        value=value, text=as_text, fake=fake, type=sql.SQL(type_name)
    )


def _where(table: Table, column: Column) -> str:
    return f'STAGE_COPY["mask"]: {table.qualified}.{column.name}'


def _names(table: Table) -> set[str]:
    """Return the names for the table in the options: its own, and those of the tables it is a part of."""
    qualified = {table.qualified, *table.ancestors}
    return qualified | {name.partition(".")[2] for name in qualified}


def _matches(table: Table, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in _names(table))


def _rule(table: Table, column: Column, options: Options) -> Rule | None:
    """Return the rule of a column, from the entry with the most exact name of the table."""
    parents = [*table.ancestors, *(name.partition(".")[2] for name in table.ancestors)]
    for name in (table.qualified, table.name, *parents):
        if rule := options.mask.get(f"{name}.{column.name}"):
            return rule
    return None


def _type(column: Column) -> sql.SQL:
    return sql.SQL(column.type)  # it comes from the catalogue, and format_type has quoted it


def _room(type_: Type, kind: str) -> int | None:
    """Return the largest number of characters of a fake in a column; None if it cannot hold this kind."""
    if type_.scalar in TEXTS:
        return 63 if type_.scalar == "name" else type_.length or fakes.UNLIMITED
    if kind == "ip" and type_.scalar in ADDRESSES:
        return fakes.UNLIMITED
    if kind == "phone" and type_.scalar in ("int8", "numeric"):
        return 1 + (type_.length or _BIGINT_DIGITS)  # the digits stand without their plus
    return None
