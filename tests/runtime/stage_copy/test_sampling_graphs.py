"""Random graphs of keys: a sample has exactly the rows that its definition gives.

A table may have two partitions, keys of one partition alone, and rules that make a key's column null.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

numbers = itertools.count()
Row = tuple[int, int]  # a table's number and a row's
HALF = 6  # rows with a smaller number are in a table's first partition, the others in its second one


@dataclass(frozen=True)
class Graph:
    keys: list[tuple[int, int]]  # from one table to another, by their numbers
    rows: list[list[list[int | None]]]  # of each table, by the keys that it has
    roots: dict[int, int]  # per cent by table
    partitioned: frozenset[int] = frozenset()
    of_first: frozenset[int] = frozenset()  # keys of a first partition alone
    nulled: frozenset[int] = frozenset()  # keys whose column a rule makes null

    def own(self, table: int) -> list[int]:
        return [number for number, (start, _) in enumerate(self.keys) if start == table]

    def links(self, without: frozenset[int] = frozenset()) -> list[tuple[Row, Row]]:
        """From each row to those that it refers to, by other keys than those."""
        return [
            ((table, number), (self.keys[key][1], value))
            for table, rows in enumerate(self.rows)
            for number, values in enumerate(rows)
            for key, value in zip(self.own(table), values, strict=True)
            if value is not None and key not in without
        ]

    def below(self, table: int) -> set[int]:
        found: set[int] = set()
        while new := {start for start, end in self.keys if end in found | {table}} - found:
            found |= new
        return found

    def sample(self, order: dict[int, list[list[int]]]) -> dict[int, set[int]]:
        """The rows of each table, if `order` is that in which the rows of each part of a root are chosen."""
        links = self.links()
        below = {root: self.below(root) for root in self.roots}
        over = {
            root: {other for other in self.roots if root in below[other] and other not in below[root]}
            for root in self.roots
        }
        chosen: set[Row] = set()
        for root in sorted(self.roots, key=lambda one: len(over[one])):
            if over[root]:
                chosen |= {start for start, end in links if end in chosen and start[0] == root}
            for part in [] if over[root] else order[root]:
                count = math.ceil(len(part) * self.roots[root] / 100)
                chosen |= {(root, number) for number in part[:count]}
            while new := {s for s, end in links if end in chosen and s[0] not in self.roots} - chosen:
                chosen |= new
        while more := {end for start, end in self.links(self.nulled) if start in chosen} - chosen:
            chosen |= more
        cut = set(self.roots).union(*below.values())
        return {
            table: {n for t, n in chosen if t == table} if table in cut else set(range(len(rows)))
            for table, rows in enumerate(self.rows)
        }


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    tables = draw(st.integers(1, 5))
    table = st.integers(0, tables - 1)
    keys = draw(st.lists(st.tuples(table, table), max_size=7))
    counts = [draw(st.integers(0, 12)) for _ in range(tables)]
    partitioned = draw(st.frozensets(table))
    some = draw(st.frozensets(st.integers(0, 6)))
    of_first = frozenset(number for number in some if number < len(keys) and keys[number][0] in partitioned)
    nulled = draw(st.frozensets(st.integers(0, 6), max_size=2)) & frozenset(range(len(keys)))

    def value(key: int, row: int) -> st.SearchStrategy[int | None]:
        size = 0 if key in of_first and row >= HALF else counts[keys[key][1]]
        return st.none() | st.integers(0, size - 1) if size else st.none()

    rows = [
        [
            [draw(value(key, row)) for key in range(len(keys)) if keys[key][0] == number]
            for row in range(count)
        ]
        for number, count in enumerate(counts)
    ]
    roots = draw(st.dictionaries(table, st.sampled_from([10, 40, 100]), min_size=1))
    graph = Graph(keys, rows, roots, partitioned, of_first, nulled)
    # Of a root below another one all are taken: which ones of them is the command's own choice.
    over = {root for root in graph.roots for other in graph.roots if root in graph.below(other)}
    return replace(graph, roots={root: 100 if root in over else part for root, part in roots.items()})


def require_exact(copies: Copies, graph: Graph) -> None:
    name = f"graph{next(numbers)}x"
    copies.make_source(name, *statements(graph))
    try:
        query = "SELECT id FROM {} ORDER BY hashtext(ctid::text)"
        order = {
            root: [
                [int(row[0]) for row in copies.rows(copies.source_server, name, query.format(part))]
                for part in parts(graph, root)
            ]
            for root in graph.roots
        }
        sample = {f"t{root}": f"{part}%" for root, part in graph.roots.items()}
        masked = [(part, key) for key in graph.nulled for part in parts(graph, graph.keys[key][0])]
        mask = {f"{part}.k{key}": "null" for part, key in masked}
        copies.fill(name, name, {"sample": sample, "mask": mask, "verify": True})
        arrived: dict[int, set[Any]] = {
            table: {row[0] for row in copies.rows(copies.target_server, name, f"SELECT id FROM t{table}")}
            for table in range(len(graph.rows))
        }
        assert arrived == graph.sample(order)
        query = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND conparentid = 0"
        assert copies.rows(copies.target_server, name, query) == [(len(graph.keys),)]
    finally:
        copies.source_server.run(f"DROP DATABASE {name}")
        copies.target_server.run(f"DROP DATABASE IF EXISTS {name}")


def parts(graph: Graph, table: int) -> list[str]:
    """The tables that hold its rows."""
    return [f"t{table}_{part}" for part in (0, 1)] if table in graph.partitioned else [f"t{table}"]


def statements(graph: Graph) -> list[str]:
    made = []
    for table, rows in enumerate(graph.rows):
        own = graph.own(table)
        columns = "".join(f", k{key} int" for key in own)
        made.append(f"CREATE TABLE t{table} (id int PRIMARY KEY{columns})")
        if table in graph.partitioned:
            made[-1] += " PARTITION BY RANGE (id)"
            for part, limits in enumerate((f"(MINVALUE) TO ({HALF})", f"({HALF}) TO (MAXVALUE)")):
                made.append(f"CREATE TABLE t{table}_{part} PARTITION OF t{table} FOR VALUES FROM {limits}")
        for number, values in enumerate(rows):
            listed = ", ".join("NULL" if value is None else str(value) for value in (number, *values))
            made.append(f"INSERT INTO t{table} VALUES ({listed})")
    made += [
        f"ALTER TABLE {parts(graph, start)[0] if key in graph.of_first else f't{start}'} "
        f"ADD FOREIGN KEY (k{key}) REFERENCES t{end}"
        for key, (start, end) in enumerate(graph.keys)
    ]
    return [";".join(made)]


QUICK = settings(
    max_examples=3,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@QUICK
@given(graphs())
def test_a_sample_has_exactly_the_rows_of_its_definition(copies: Copies, graph: Graph) -> None:
    require_exact(copies, graph)


@pytest.mark.nightly
@settings(max_examples=settings().max_examples, suppress_health_check=list(HealthCheck))
@given(graphs())
def test_many_samples_have_exactly_the_rows_of_their_definition(copies: Copies, graph: Graph) -> None:
    require_exact(copies, graph)


def test_circles_of_tables_with_several_roots(copies: Copies) -> None:
    """Two tables that name each other and themselves, a third below both, and a root below them."""
    keys = [(0, 0), (0, 1), (1, 0), (2, 1), (2, 2), (3, 2)]
    rows: list[list[list[int | None]]] = [
        [[(n * 7 + 3) % 12 or None, n % 12] for n in range(12)],
        [[n % 5] for n in range(12)],
        [[n % 9, n - 1 if n else None] for n in range(12)],
        [[n % 12] for n in range(12)],
    ]
    require_exact(copies, Graph(keys, rows, {0: 10, 3: 100}))


def test_a_key_of_a_partition_alone_and_one_of_its_table_lead_to_one_table(copies: Copies) -> None:
    """Rows that one of the keys finds bring those to which they refer by the other."""
    rows: list[list[list[int | None]]] = [[[] for _ in range(12)], [[n, 11 - n] for n in range(6)]]
    require_exact(copies, Graph([(1, 0), (1, 0)], rows, {0: 10}, frozenset([1]), frozenset([1])))
