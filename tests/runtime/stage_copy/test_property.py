"""Random schemas, rows, masks and exclusions: what arrives is exactly what the rules say."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.runtime.stage_copy.copies import PASSWORD

if TYPE_CHECKING:
    from tests.runtime.stage_copy.copies import Copies

numbers = itertools.count()
NAMES = st.text(st.characters(exclude_characters="\0.*?[", exclude_categories=["Cs"]), min_size=1, max_size=8)
TEXTS = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
RULES = st.sampled_from(["none", "keep", "null", "value", "email", "name", "phone", "username", "call"])
FAKES = ("email", "name", "phone", "username")


def shout(value: str | None) -> str | None:
    """A rule in Python, as a project would write one."""
    return None if value == "" else f"{value}\t\\N\n!"


@dataclass(frozen=True)
class Example:
    name: str
    columns: dict[str, str]  # the rule of each
    rows: list[tuple[str | None, ...]]
    excluded: bool


@st.composite
def examples(draw: st.DrawFn) -> Example:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True).filter(lambda n: "number" not in n))
    rows = st.tuples(*(TEXTS for _ in names))
    return Example(
        draw(NAMES),
        {name: draw(RULES) for name in names},
        draw(st.lists(rows, max_size=12)),
        draw(st.integers(0, 4)) == 0,
    )


def rule(kind: str) -> Any:
    return {"value": {"value": "fixed 'value'"}, "call": {"call": f"{__name__}.shout"}}.get(kind, kind)


def expected(kind: str, value: str | None) -> str | None:
    if kind == "null":
        return None
    if kind == "value":
        return "fixed 'value'"
    return shout(value) if kind == "call" else value


@pytest.mark.nightly
@settings(max_examples=settings().max_examples // 2, suppress_health_check=list(HealthCheck))
@given(st.lists(examples(), min_size=1, max_size=3, unique_by=lambda example: example.name))
def test_what_arrives_is_exactly_what_the_rules_say(copies: Copies, tables: list[Example]) -> None:
    name = f"p{next(numbers)}"
    with copies.source_server.connect(role="owner", password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    with copies.source_server.connect(name, "owner", PASSWORD) as connection:
        for example in tables:
            create(connection, example)
    setting = {
        "exclude_data": [example.name for example in tables if example.excluded],
        "mask": {
            f"{example.name}.{column}": rule(kind)
            for example in tables
            for column, kind in example.columns.items()
            if kind != "none"
        },
        "verify": True,
    }
    try:
        copies.fill(name, name, setting)
        fakes: dict[tuple[str, str], str] = {}
        for example in tables:
            with copies.target_server.connect(name) as target:
                query = sql.SQL("SELECT * FROM {} ORDER BY number").format(sql.Identifier(example.name))
                arrived = [row[1:] for row in target.execute(query).fetchall()]
            assert len(arrived) == (0 if example.excluded else len(example.rows))
            for sent, got in zip(example.rows, arrived, strict=False):
                for kind, value, there in zip(example.columns.values(), sent, got, strict=True):
                    if kind in FAKES and value:
                        assert there != value
                        # Equal values are equal fakes in every table and column.
                        assert fakes.setdefault((kind, value), str(there)) == there
                    else:
                        assert there == expected(kind, value)
        assert len(set(fakes.values())) == len(fakes)  # and different ones different
    finally:
        copies.source_server.run(f"DROP DATABASE {name}")
        copies.target_server.run(f"DROP DATABASE IF EXISTS {name}")


def create(connection: Any, example: Example) -> None:
    table = sql.Identifier(example.name)
    columns = [sql.SQL("{} text").format(sql.Identifier(column)) for column in example.columns]
    both = sql.SQL(", ").join([sql.SQL("number int PRIMARY KEY"), *columns])
    connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, both))
    connection.execute(sql.SQL("GRANT SELECT ON {} TO reader").format(table))
    for number, row in enumerate(example.rows):
        values = sql.SQL(", ").join(map(sql.Literal, (number, *row)))
        connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, values))
