"""Further forms of what schemas have, on both versions of the server: all arrive equal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, make_roles, run_command
from tests.runtime.stage_copy.servers import DEBIAN, postgres_server
from tests.runtime.stage_copy.test_engine import content
from tests.runtime.stage_copy.transfers import make_target

SOURCES = ("further", "uncommon")  # each is a file of SQL, too


def make(copies: Copies, source: str, *has: str) -> None:
    """Make the source, with the parts that this server can have."""
    server = copies.source_server
    copies.make_source(source, "CREATE EXTENSION btree_gist")
    for part in Path(__file__).with_name(f"{source}.sql").read_text().split("\n-- @ ")[1:]:
        head, _, text = part.partition("\n")
        name, *needs = head.split()
        if not set(needs) <= set(has):
            continue
        with server.connect(source, "owner", PASSWORD) as connection:
            connection.execute(f"CREATE SCHEMA {name}; SET search_path = {name}, public".encode())
            for statement in text.split("\n--\n"):
                connection.execute(statement.encode())
    schemas = """SELECT string_agg(quote_ident(nspname), ', ') FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"""
    [(every,)] = copies.rows(server, source, schemas)
    for what in ("USAGE ON SCHEMA", "SELECT ON ALL TABLES IN SCHEMA", "SELECT ON ALL SEQUENCES IN SCHEMA"):
        server.run(f"GRANT {what} {every} TO reader", database=source)


def require_equal(copies: Copies, source: str, *has: str) -> None:
    make(copies, source, *has)
    assert copies.fill(source, f"{source}_there", {"verify": True}).left == []
    ends = ((copies.source_server, source), (copies.target_server, f"{source}_there"))
    sent, arrived = (copies.schema(*end) for end in ends)
    assert arrived == sent
    sent_rows, arrived_rows = (content(copies, *end) for end in ends)
    assert arrived_rows == sent_rows
    assert len(sent_rows) > 70


@pytest.mark.nightly
@pytest.mark.parametrize("source", SOURCES)
def test_further_forms_arrive_equal(copies: Copies, source: str) -> None:
    require_equal(copies, source, "18")


@pytest.fixture
def older() -> Iterator[Copies]:
    if not (DEBIAN / "postgres").exists():
        pytest.skip("Debian's PostgreSQL is not here")
    with postgres_server(folder=DEBIAN) as server:
        yield make_roles(server, server)


@pytest.mark.nightly
@pytest.mark.parametrize("source", SOURCES)
def test_further_forms_arrive_equal_on_an_older_server(
    older: Copies, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("tests.runtime.stage_copy.copies.BIN", DEBIAN)
    require_equal(older, source, "icu")


def test_a_view_on_a_table_whose_policies_hold_for_its_owner_is_filled(copies: Copies) -> None:
    copies.source_server.run("ALTER ROLE reader BYPASSRLS")
    try:
        copies.make_source(
            "forced",
            "CREATE TABLE person (id int PRIMARY KEY)",
            "INSERT INTO person SELECT generate_series(1, 9)",
            "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM person",
            "CREATE POLICY nobody ON person USING (false)",
            "COMMENT ON POLICY nobody ON person IS 'for nobody'",
            "CREATE TABLE letter (person int REFERENCES person)",
            "INSERT INTO letter VALUES (3)",
            "ALTER TABLE person ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        )
        assert copies.fill("forced", "forced_there", {"verify": True}).left == []
    finally:
        copies.source_server.run("ALTER ROLE reader NOBYPASSRLS")
    assert copies.rows(copies.target_server, "forced_there", "TABLE counted") == [(9,)]
    sent = copies.schema(copies.source_server, "forced")
    assert copies.schema(copies.target_server, "forced_there") == sent


@pytest.mark.parametrize(
    "name",
    ['it\'s a "quo-te"', pytest.param("Ünder pct%s {x} $1 \\back", marks=pytest.mark.nightly)],
)
def test_databases_may_have_any_name(copies: Copies, name: str) -> None:
    quoted = '"{}"'.format(name.replace('"', '""'))
    copies.source_server.run(f"CREATE DATABASE {quoted} OWNER owner")
    with copies.source_server.connect(name, "owner", PASSWORD) as connection:
        connection.execute("CREATE TABLE person AS SELECT generate_series(1, 9) AS id")
        connection.execute("GRANT SELECT ON person TO reader")
    target = f"{name} too"
    copies.target_server.run(
        "CREATE DATABASE {} OWNER tester".format('"{}"'.format(target.replace('"', '""')))
    )
    assert run_command(copies, name, target, {}, "--mark-disposable", target, "--confirm", target) == 0
    for setting in ({}, {"golden": {"spare": True}}):
        assert run_command(copies, name, target, setting, "--fresh") == 0
        assert copies.rows(copies.target_server, target, "SELECT count(*) FROM person") == [(9,)]


@pytest.mark.nightly
def test_a_target_whose_server_has_no_icu_gets_another_locale_and_says_so(
    copies: Copies, older: Copies
) -> None:
    older.source_server.run("CREATE DATABASE icu TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de'")
    both = Copies(older.source_server, copies.target_server)
    attempt = Attempt(both, "icu", make_target(both))
    assert attempt.run().how == "copied"
    assert attempt.told.lines[0].startswith("the target's server lacks staging's locale")
