"""Choose the rows of a sample: some of named tables, all that belong to them, and all that these refer to.

A row is known by its place (ctid), which does not change within a snapshot: so any key may link two rows, and
a table needs none of its own. The source may only be read, so the places are kept in a temporary table of the
new database.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from psycopg import sql

from . import key_graph
from .rows import Pump
from .statements import Step

if TYPE_CHECKING:
    from .amounts import Amount
    from .database import Connection
    from .key_graph import Key, KeyGraph, Root
    from .masking import Selection
    from .model import Table

_AT_ONCE = 50_000  # rows whose references are looked up, or that are moved, in one statement
_KEYS = 50  # foreign keys that are followed in one statement
_SMALL = 4096  # pages; of a larger table some pages are read, not all
_MARGIN = 2  # how many times more rows than wanted some pages of a table should have
_MAKE = """
CREATE TEMPORARY TABLE sc_found (leaf int8, place tid);
CREATE TEMPORARY TABLE sc_rows (
    number int8 GENERATED ALWAYS AS IDENTITY, leaf int8, place tid, UNIQUE (leaf, place));
CREATE INDEX sc_numbers ON pg_temp.sc_rows (leaf, number)
"""
_KEEP = """
WITH new AS (
    INSERT INTO pg_temp.sc_rows (leaf, place)
    SELECT leaf, place FROM (SELECT DISTINCT leaf, place FROM pg_temp.sc_found WHERE leaf = ANY (%s)) found
    {} ON CONFLICT DO NOTHING RETURNING leaf, number)
SELECT leaf, count(*), max(number) FROM new GROUP BY leaf
"""
# The same rows are chosen of the same table, but in no order that means something.
_SOME = "ORDER BY hashtext(leaf || place::text), leaf, place LIMIT %s"
_NEXT = """
SELECT max(number), array_agg(place)::text FROM (
    SELECT number, place FROM pg_temp.sc_rows WHERE leaf = %s AND number > %s ORDER BY number LIMIT %s) batch
"""
_PLACES = """
SELECT count(*), max(place)::text, array_agg(place ORDER BY place)::text FROM (
    SELECT place FROM pg_temp.sc_rows WHERE leaf = %s AND place > %s::tid ORDER BY place LIMIT %s) batch
"""


@dataclass
class Sample:
    """The chosen rows of the tables that are cut."""

    rows: Counter[int] = field(default_factory=Counter)  # chosen of each table that is cut, by its oid
    cut: frozenset[int] = frozenset()
    keeper: Connection | None = None  # the session whose temporary table has them

    def batches(self, table: int) -> Iterator[str]:
        """Yield the places of the chosen rows of a table, as SQL's text of a list, in their order."""
        last = "(0,0)"
        while self.keeper and self.rows[table]:
            row = self.keeper.execute(_PLACES, [table, last, _AT_ONCE]).fetchone()
            if not row or not row[0]:
                return
            last = row[1]
            yield row[2]

    def resized(self, table: Table) -> Table:
        """Return the table with the number of its chosen rows, and the size that they may have."""
        if table.oid not in self.cut:
            return table
        rows = self.rows[table.oid]
        share = min(1.0, rows / table.estimate) if table.estimate > 0 else float(bool(rows))
        return replace(table, estimate=rows, size=int(table.size * share), pages=int(table.pages * share))


def choose(
    source: Connection,
    target: Connection,
    tables: Iterable[Table],
    selections: Mapping[int, Selection],
    amounts: Mapping[str, Amount],
    left: frozenset[int],
) -> Sample:
    """Choose the rows of `source`, in its snapshot, and keep their places in a session of the new database.

    `left` are the oids of keys that stay behind. Raise Misconfigured if a name is that of no table, and
    psycopg.Error.
    """
    copied = {table.oid: table for table in tables if not selections[table.oid].excluded}
    graph = key_graph.read(source, copied.values(), amounts, left)
    target.execute(_MAKE)
    pump = Pump(source, target, lambda: False)
    choosing = _Choosing(source, target, copied, selections, graph, pump)
    choosing.run()
    return Sample(choosing.rows, graph.cut, target)


@dataclass
class _Choosing:
    source: Connection
    target: Connection
    tables: Mapping[int, Table]
    selections: Mapping[int, Selection]
    graph: KeyGraph
    pump: Pump
    rows: Counter[int] = field(default_factory=Counter)
    _last: Counter[int] = field(default_factory=Counter)  # number of the newest row of each table
    _done: Counter[tuple[int, int, bool]] = field(default_factory=Counter)

    def run(self) -> None:
        # Few rows are looked up by an index: with the default cost, a server would read whole tables.
        self.source.execute("SET LOCAL jit = off; SET LOCAL random_page_cost = 1.1")
        down: dict[int, list[Key]] = defaultdict(list)
        for key in self.graph.keys:
            if not self.graph.is_root(key.table):
                down[key.referenced.oid].append(key)
        groups = [keys[at : at + _KEYS] for keys in down.values() for at in range(0, len(keys), _KEYS)]
        for root in self.graph.roots:
            if root.below:
                self._choose_of_belonging(root)
            else:
                self._choose_of_all(root)
            self._follow(groups, up=False)
        self._follow([[key] for key in self.graph.keys], up=True)

    def _choose_of_all(self, root: Root) -> None:
        """Choose the root's rows among all that it has."""
        leaves = [self.tables[oid] for oid in root.relation.leaves]
        percent, amount = root.amount.percent, root.amount
        if amount.rows is not None:
            estimate = sum(max(leaf.estimate, 0) for leaf in leaves)
            percent = min(100.0, 100 * _MARGIN * amount.rows / estimate) if estimate else 100.0
        while True:
            for leaf in leaves:
                self._find(_sampled(leaf, percent))
            row = self.target.execute("SELECT count(*) FROM pg_temp.sc_found").fetchone()
            if amount.rows is None or percent >= 100 or (row and row[0] >= amount.rows):  # noqa: PLR2004
                break
            percent = min(100.0, percent * 4)  # rows may be unlike those that the statistics know
            self.target.execute("TRUNCATE pg_temp.sc_found")
        self._keep(root.relation.leaves, at_most=amount.rows)

    def _choose_of_belonging(self, root: Root) -> None:
        """Choose the root's rows among those that refer to rows chosen before."""
        for key in self.graph.keys:
            if key.table.top == root.relation.oid:
                for leaf in key.referenced.leaves:
                    for places in self._new(leaf, (key.oid, leaf, False)):
                        self._find(self._belonging([key], leaf, places))
        query = "SELECT count(*) FROM (SELECT DISTINCT leaf, place FROM pg_temp.sc_found) found"
        row = self.target.execute(query).fetchone()
        self._keep(root.relation.leaves, at_most=root.amount.of(int(row[0]) if row else 0))

    def _follow(self, groups: Iterable[Sequence[Key]], *, up: bool) -> None:
        """Follow the keys from chosen rows to others, and from these, until there are no new ones.

        The keys of a group begin at one table: they are followed together.
        """
        found = True
        while found:
            found = False
            for keys in groups:
                start = keys[0].table if up else keys[0].referenced
                ends = {leaf for key in keys for leaf in (key.referenced if up else key.table).leaves}
                for leaf in start.leaves:
                    for places in self._new(leaf, (keys[0].oid, leaf, up)):
                        self._find(
                            self._referred(keys[0], leaf, places)
                            if up
                            else self._belonging(keys, leaf, places)
                        )
                        before = Counter({one: self._last[one] for one in ends})
                        found |= self._keep(ends)
                        if not up:
                            self._need_no_way_back(keys, before)

    def _need_no_way_back(self, keys: Sequence[Key], before: Mapping[int, int]) -> None:
        """Note that rows, those after these numbers, were found by a key, and so refer to chosen ones.

        By a temporal key they may refer to others, too.
        """
        of_leaf = Counter(leaf for key in keys for leaf in key.table.leaves)
        for key in keys:
            for leaf in () if key.temporal else key.table.leaves:
                way = (key.oid, leaf, True)
                if of_leaf[leaf] > 1 or not self._fixed(leaf).isdisjoint(key.own):
                    continue
                if self._done[way] == before[leaf]:
                    self._done[way] = self._last[leaf]

    def _new(self, leaf: int, way: tuple[int, int, bool]) -> Iterator[str]:
        """Yield the places of a table's rows from which this way has not been gone yet."""
        while self._done[way] < self._last[leaf]:
            row = self.target.execute(_NEXT, [leaf, self._done[way], _AT_ONCE]).fetchone()
            assert row  # noqa: S101  an aggregate has one row
            self._done[way] = row[0]
            yield row[1]

    def _find(self, query: sql.Composed) -> None:
        """Pass the query's rows, each a table's oid and a place, to the new database."""
        out, into = sql.SQL("COPY ({}) TO STDOUT").format(query), sql.SQL("COPY pg_temp.sc_found FROM STDIN")
        self.pump.pass_on([Step(out, into)], lambda _: None)

    def _keep(self, leaves: Iterable[int], *, at_most: int | None = None) -> bool:
        """Add what was found to the chosen rows; return True if a row is new."""
        query = _KEEP.format("" if at_most is None else _SOME).encode()
        new = self.target.execute(query, [list(leaves), *([] if at_most is None else [at_most])]).fetchall()
        self.target.execute("TRUNCATE pg_temp.sc_found")
        for leaf, count, last in new:
            self.rows[leaf] += count
            self._last[leaf] = max(self._last[leaf], last)
        return bool(new)

    def _belonging(self, keys: Sequence[Key], leaf: int, places: str) -> sql.Composed:
        """Return the query for the rows that refer by these keys to these rows of table `leaf`."""
        names = sorted({name for key in keys for name in key.others})
        rows = sql.SQL("WITH p AS MATERIALIZED (SELECT {} FROM {} WHERE ctid = ANY ({}::tid[])) ").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), self._name(leaf), sql.Literal(places)
        )
        return rows + sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT c.tableoid::int8, c.ctid FROM p JOIN {} c ON {}").format(
                key.table.sql, key.condition(key.own)
            )
            for key in keys
        )

    def _referred(self, key: Key, leaf: int, places: str) -> sql.Composed:
        """Return the query for the rows to which these rows of table `leaf` will refer in the copy."""
        names = [f"c{number}" for number in range(len(key.pairs))]
        selection, fixed = self.selections[leaf], self._fixed(leaf)
        values = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(
                selection.expressions[own] if own in fixed else sql.Identifier(own), sql.Identifier(name)
            )
            for own, name in zip(key.own, names)
        )
        return sql.SQL(
            "SELECT p.tableoid::int8, p.ctid FROM "
            "(SELECT DISTINCT {} FROM {} WHERE ctid = ANY ({}::tid[])) c JOIN {} p ON {}"
        ).format(
            values,
            self._name(leaf),
            sql.Literal(places),
            key.referenced.sql,
            key.condition(names),
        )

    def _fixed(self, leaf: int) -> set[str]:
        """Return the columns for which a rule gives all rows the same."""
        kinds = self.selections[leaf].kinds
        return {name for name, kind in kinds.items() if kind.split()[0] in ("null", "value")}

    def _name(self, leaf: int) -> sql.Composed:
        table = self.tables[leaf]
        return sql.SQL("ONLY {}").format(sql.Identifier(table.schema, table.name))


def _sampled(table: Table, percent: float) -> sql.Composed:
    """Return the query for a share of a table's rows; a large table's come from some of its pages."""
    name = sql.Identifier(table.schema, table.name)
    query = sql.SQL("SELECT tableoid::int8, ctid FROM ONLY {}").format(name)
    if percent >= 100:  # noqa: PLR2004  per cent
        return query
    share = sql.Literal(percent)
    if table.pages > _SMALL:
        return query + sql.SQL(" TABLESAMPLE SYSTEM ({}) REPEATABLE (1)").format(share)
    limit = sql.SQL("(SELECT ceil(count(*) * {} / 100.0) FROM ONLY {})").format(share, name)
    return query + sql.SQL(" ORDER BY hashtext(ctid::text) LIMIT ") + limit
