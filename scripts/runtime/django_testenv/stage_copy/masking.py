"""Select the rows and values of the source that are copied, and mask values that must not leave it.

The source's server makes a fake from a keyed hash of the value: equal values become equal fakes in every
table, different values different fakes, and nobody without the key can try out values to find the original.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from psycopg import sql

from .options import FAKES, Options, Rule, nearest
from .problems import Misconfigured

if TYPE_CHECKING:
    from .database import Connection
    from .model import Column, Table

_KEY = "stage_copy.key"
_HASH = sql.SQL("encode(sha256(convert_to(current_setting({}) || {}::text, 'UTF8')), 'hex')")
_FIRST = ("Ada", "Ben", "Cleo", "Dario", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kaia", "Liam",
          "Mira", "Noah", "Olga", "Pavel")  # fmt: skip
# Digits of the hash in a fake. With 14 hexadecimal digits, two of a million different values get the same
# fake with a probability of one in 140,000; the copy then fails if the column is unique.
_HEX, _SHORTEST = 20, 14
_DIGITS, _FEWEST_DIGITS = 17, 14


@dataclass(frozen=True)
class Selection:
    """The part of one table that a copy takes."""

    excluded: bool = False
    expressions: Mapping[str, sql.Composable] = field(
        default_factory=dict
    )  # by column, for the source's server
    calls: Mapping[str, Callable[[str | None], str | None]] = field(default_factory=dict)
    nulled: frozenset[str] = frozenset()
    kinds: Mapping[str, str] = field(default_factory=dict)  # the rule's name, by column


def prepare(source: Connection, options: Options) -> None:
    """Set the key in a session of the source, as a bound parameter: no statement's text has it then."""
    source.execute("SELECT set_config(%s, %s, false)", [_KEY, options.mask_key])


def check(tables: Iterable[Table], options: Options) -> None:
    """Raise Misconfigured if an entry of the options matches no table or column."""
    found = list(tables)
    names = {name for table in found for name in _names(table)}
    for pattern in options.exclude_data:
        if not any(_matches(table, pattern) for table in found):
            raise Misconfigured(
                f'STAGE_COPY["exclude_data"]: there is no table {pattern!r} in staging'
                f"{nearest(pattern, names)}"
            )
    for entry in options.mask:
        name, _, column = entry.rpartition(".")
        concerned = [table for table in found if name in _names(table)]
        if not concerned:
            raise Misconfigured(
                f'STAGE_COPY["mask"]["{entry}"]: there is no table {name!r} in staging{nearest(name, names)}'
            )
        columns = [known.name for table in concerned for known in table.columns]
        if column not in columns:
            raise Misconfigured(
                f'STAGE_COPY["mask"]["{entry}"]: {name} has no column {column!r}{nearest(column, columns)}'
            )
    for table in found:
        select(table, options)


def select(table: Table, options: Options) -> Selection:
    """Return the part of `table` to copy. Raise Misconfigured if a rule is impossible for its column."""
    if any(_matches(table, pattern) for pattern in options.exclude_data):
        return Selection(excluded=True)
    rules = {
        column.name: (column, rule) for column in table.columns if (rule := _rule(table, column, options))
    }
    return Selection(
        expressions={
            name: _expression(table, column, rule)
            for name, (column, rule) in rules.items()
            if rule.kind in ("null", "value", *FAKES)
        },
        calls={name: rule.call for name, (_, rule) in rules.items() if rule.call},
        nulled=frozenset(name for name, (_, rule) in rules.items() if rule.kind == "null"),
        kinds={name: rule.kind for name, (_, rule) in rules.items()},
    )


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


def _expression(table: Table, column: Column, rule: Rule) -> sql.Composable:
    where = f'STAGE_COPY["mask"]: {table.qualified}.{column.name}'
    if column.generated:
        raise Misconfigured(f"{where} is generated from other columns: mask those")
    if rule.kind == "null":
        if not column.nullable:
            raise Misconfigured(f'{where} may not be null: use "email", "name", "phone" or {{"value": ...}}')
        return sql.SQL("NULL::{}").format(_type(column))
    if rule.kind == "value":
        return sql.SQL("{}::text::{}").format(sql.Literal(rule.value), _type(column))
    room = _room(column.type)
    value = sql.Identifier(column.name)
    fake = {"email": _email, "name": _name, "phone": _phone}[rule.kind](value, room)
    if fake is None:
        raise Misconfigured(
            f'{where} is {column.type}: too short for a "{rule.kind}" that keeps different values different: '
            'use "null" or {"value": ...}'
        )
    return sql.SQL(
        "CASE WHEN {value} IS NULL OR {value}::text = '' THEN {value} ELSE ({fake})::{type} END"
    ).format(value=value, fake=fake, type=_type(column))


def _email(value: sql.Identifier, room: int) -> sql.Composable | None:
    # RFC 2606 reserves .invalid, so no mail can ever arrive.
    domain = next(
        (d for d in ("@example.invalid", "@x.invalid", "@x.y") if room - len(d) - 1 >= _SHORTEST), None
    )
    if domain is None:
        return None
    kept = min(_HEX, room - len(domain) - 1)
    return sql.SQL("'u' || left({}, {}) || {}").format(_hash(value), sql.Literal(kept), sql.Literal(domain))


def _name(value: sql.Identifier, room: int) -> sql.Composable | None:
    longest = max(map(len, _FIRST)) + 1
    if room < longest + _SHORTEST:
        return None if room < _SHORTEST else sql.SQL("left({}, {})").format(_hash(value), sql.Literal(room))
    kept = min(_SHORTEST + 2, room - longest)
    first = sql.SQL("({}::text[])[1 + ('x' || right({}, 1))::bit(4)::int]").format(
        sql.Literal(list(_FIRST)), _hash(value)
    )
    return sql.SQL("{} || ' ' || left({}, {})").format(first, _hash(value), sql.Literal(kept))


def _phone(value: sql.Identifier, room: int) -> sql.Composable | None:
    if room < _FEWEST_DIGITS + 1:
        return None
    kept = min(_DIGITS, room - 1)
    number = sql.SQL("abs(('x' || left({}, 15))::bit(60)::bigint) % {}").format(
        _hash(value), sql.Literal(10**kept)
    )
    return sql.SQL("'+' || lpad(({})::text, {}, '0')").format(number, sql.Literal(kept))


def _hash(value: sql.Identifier) -> sql.Composable:
    return _HASH.format(sql.Literal(_KEY), value)


def _type(column: Column) -> sql.SQL:
    return sql.SQL(column.type)  # it comes from the catalogue, and format_type has quoted it


def _room(type_: str) -> int:
    """Return the largest number of characters in a value of the type; 1000 if it has no limit."""
    found = re.fullmatch(r"character(?: varying)?\((\d+)\)", type_)
    return int(found[1]) if found else 1000
