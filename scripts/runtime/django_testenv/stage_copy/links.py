"""Find the columns whose values must stay equal because foreign keys link them, and give them one rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .problems import Misconfigured
from .rules import FAKES, Rule

if TYPE_CHECKING:
    from .database import Connection
    from .model import Table

Place = tuple[int, str]  # a table's oid and a column's name

# A key of a partition that is only a part of its parent's is left out: the partitions are found below.
_KEYS = """
SELECT k.conrelid::int8, x.attname::text, k.confrelid::int8, y.attname::text
FROM pg_constraint k CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair(own, other)
JOIN pg_attribute x ON x.attrelid = k.conrelid AND x.attnum = pair.own
JOIN pg_attribute y ON y.attrelid = k.confrelid AND y.attnum = pair.other
WHERE k.contype = 'f' AND k.conparentid = 0
"""
_PARTITIONS = """
SELECT i.inhparent::int8, i.inhrelid::int8 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE c.relispartition AND c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True)
class Links:
    """Sets of columns that foreign keys link, and the columns that a key refers to."""

    sets: tuple[frozenset[Place], ...] = ()
    referenced: frozenset[Place] = frozenset()


def read(source: Connection) -> Links:
    """Return the columns that foreign keys link, those of partitions by their partitioned table's keys."""
    below: dict[int, list[int]] = {}
    for parent, child in source.execute(_PARTITIONS).fetchall():
        below.setdefault(parent, []).append(child)
    union = _Union()
    referenced: set[Place] = set()
    for table, column, other, other_column in source.execute(_KEYS).fetchall():
        union.join((table, column), (other, other_column))
        for place in (table, column), (other, other_column):
            for part in _parts(place[0], below):
                union.join(place, (part, place[1]))
        referenced.update((part, other_column) for part in _parts(other, below))
    return Links(union.sets(), frozenset(referenced))


def _parts(table: int, below: Mapping[int, list[int]]) -> list[int]:
    """Return a table and its partitions, and theirs."""
    found = [table]
    for each in found:
        found += below.get(each, [])
    return found


class _Union:
    def __init__(self) -> None:
        self._parents: dict[Place, Place] = {}

    def _root(self, place: Place) -> Place:
        while (parent := self._parents.setdefault(place, place)) != place:
            self._parents[place] = self._parents[parent]
            place = parent
        return place

    def join(self, one: Place, other: Place) -> None:
        self._parents[self._root(one)] = self._root(other)

    def sets(self) -> tuple[frozenset[Place], ...]:
        found: dict[Place, set[Place]] = {}
        for place in list(self._parents):
            found.setdefault(self._root(place), set()).add(place)
        return tuple(map(frozenset, found.values()))


def spread(own: Mapping[Place, Rule], tables: Iterable[Table], links: Links) -> Mapping[Place, Rule]:
    """Return the rules with those that linked columns inherit. Raise Misconfigured if two contradict.

    A fake, a call or a shift of one column is that of all that are linked with it. A reference that is
    nulled, or that gets a constant, stays alone; of a nulled column that a key refers to the references are
    nulled too.
    """
    names = {
        (table.oid, column.name): table
        for table in tables
        for column in table.columns
        if not column.generated
    }
    found = dict(own)
    for linked in links.sets:
        members = sorted(linked & names.keys())
        ruled = {place: own[place] for place in members if place in own}
        deciding = [
            place
            for place, rule in ruled.items()
            if rule.kind in (*FAKES, "call", "shift") or (rule.kind == "null" and place in links.referenced)
        ]
        if not deciding:
            continue
        first = deciding[0]
        for place in members:
            present = ruled.get(place)
            if present is not None and present.kind in ("null", "value") and place not in links.referenced:
                continue
            if present is not None and present != own[first]:
                raise Misconfigured(
                    f"{_called(names, place)} and {_called(names, first)} are linked by a foreign key, and "
                    f'STAGE_COPY["mask"] has "{present.kind}" for one and "{own[first].kind}" for the other: '
                    "give both the same rule, or one of them none"
                )
            found[place] = own[first]
    return found


def _called(names: Mapping[Place, Table], place: Place) -> str:
    return f"{names[place].qualified}.{place[1]}"
