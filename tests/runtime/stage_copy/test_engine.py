from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Copies

if TYPE_CHECKING:
    from tests.runtime.stage_copy.servers import PostgresServer

TORTURE = Path(__file__).with_name("torture.sql")
EVERY_TABLE = """SELECT format('%I.%I', n.nspname, c.relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND relispopulated AND nspname !~ '^pg_|^information_schema$' ORDER BY 1"""
EVERY_SEQUENCE = "SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences ORDER BY 1"
LARGE_OBJECTS = """SELECT oid::int, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject')
    FROM pg_largeobject_metadata ORDER BY 1"""


@dataclass(frozen=True)
class Sent:
    """What the source is: its schema in pg_dump's words, its content, and what each sequence gives next."""

    schema: list[str]
    content: dict[str, object]
    following: dict[str, object]


@pytest.fixture(scope="module")
def torture(copies: Copies) -> Sent:
    """A source database with every feature of a schema."""
    server = copies.source_server
    with server.connect(role="owner", password=PASSWORD) as connection:
        connection.execute("CREATE DATABASE torture")
    with server.connect("torture", "owner", PASSWORD) as connection:
        for statement in TORTURE.read_text().split("\n--\n"):
            connection.execute(statement.encode())
    server.run("CREATE DATABASE after TEMPLATE torture")
    return Sent(
        copies.schema(server, "torture"),
        content(copies, server, "torture"),
        following(copies, server, "after"),
    )


def content(copies: Copies, server: PostgresServer, database: str) -> dict[str, object]:
    """Every table's rows, every large object, and what each sequence gives next."""
    found: dict[str, object] = {}
    for (table,) in copies.rows(server, database, EVERY_TABLE):
        row = '"a row"::text'  # no column has this name
        query = f"SELECT count(*), md5(string_agg({row}, E'\\n' ORDER BY {row})) FROM ONLY {table} \"a row\""
        found[table] = copies.rows(server, database, query)
    found["large objects"] = copies.rows(server, database, LARGE_OBJECTS)
    for (sequence,) in copies.rows(server, database, EVERY_SEQUENCE):
        found[sequence] = copies.rows(server, database, f"SELECT last_value, is_called FROM {sequence}")
    return found


def following(copies: Copies, server: PostgresServer, database: str) -> dict[str, object]:
    sequences = copies.rows(server, database, EVERY_SEQUENCE)
    return {name: copies.rows(server, database, f"SELECT nextval('{name}')") for (name,) in sequences}


@pytest.mark.parametrize(
    "setting",
    [pytest.param({}, marks=pytest.mark.nightly), {"jobs": 4}, {"jobs": 1}, {"jobs": 1, "verify": True}],
    ids=["as it comes", "tables in pieces", "rows in pieces", "one job, verified"],
)
def test_every_feature_of_a_schema_arrives_equal(
    copies: Copies,
    torture: Sent,
    setting: dict[str, object],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "tables in pieces" in request.node.name:
        monkeypatch.setattr("django_testenv.stage_copy.streams._PIECE", 4)  # small tables are split as well
        monkeypatch.setattr("django_testenv.stage_copy.streams._SMALL", 0)  # each index by a job of its own
    if "rows in pieces" in request.node.name:
        for name, value in (("_LARGE", 30), ("_TOAST", 0), ("PIECE", 7)):
            monkeypatch.setattr(f"django_testenv.stage_copy.statements.{name}", value)
    moved = copies.fill("torture", "arrived", setting)
    assert copies.schema(copies.target_server, "arrived") == torture.schema
    assert content(copies, copies.target_server, "arrived") == torture.content
    [(parents,)] = copies.rows(copies.source_server, "torture", "SELECT count(*) FROM app.parent")
    assert moved.rows["app.parent"] == parents
    assert following(copies, copies.target_server, "arrived") == torture.following


def test_a_large_table_is_truncated_so_that_its_rows_can_be_frozen_and_a_small_one_keeps_its_files(
    copies: Copies,
) -> None:
    copies.make_source(
        "sized",
        "CREATE TABLE small AS SELECT 1 AS id",
        "CREATE TABLE large AS SELECT repeat('x', 1000) AS text FROM generate_series(1, 1500)",
    )
    assert copies.fill("sized", "sized_there").rows == {"public.small": 1, "public.large": 1500}
    query = "SELECT relname::text FROM pg_class WHERE relname IN ('small', 'large') AND relfilenode <> oid"
    assert copies.rows(copies.target_server, "sized_there", query) == [("large",)]
