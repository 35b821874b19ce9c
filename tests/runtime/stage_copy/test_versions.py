"""Servers and client programs of different versions: each copies from and to the other, where pg_dump can."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from django_testenv.stage_copy import catalogue, client
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Copies, Told, make_roles
from tests.runtime.stage_copy.servers import BIN, DEBIAN, PostgresServer, postgres_server
from tests.runtime.stage_copy.test_engine import TORTURE, content

pytestmark = pytest.mark.skipif(not (DEBIAN / "postgres").exists(), reason="Debian's PostgreSQL is not here")
NAME = "versions"


@pytest.fixture(scope="module")
def older() -> Iterator[Copies]:
    """Two servers in one: what Debian has."""
    with postgres_server(folder=DEBIAN) as server:
        yield make_roles(server, server)


@pytest.fixture(scope="module")
def newer(copies: Copies) -> Copies:
    return copies


def use_tools(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let the copy find no other client than the one in `folder`."""
    only = client.Client(client._version(f"{folder}/pg_dump"), f"{folder}/pg_dump", f"{folder}/pg_restore")
    monkeypatch.setattr(client, "for_server", lambda _: only)


def fill(server: PostgresServer) -> dict[str, object]:
    """Make the source with the features that both versions have; return its content."""
    here = Copies(server, server)
    if not here.has_source(NAME):
        with server.connect(role="owner", password=PASSWORD) as connection:
            connection.execute(f"CREATE DATABASE {NAME}".encode())
        with server.connect(NAME, "owner", PASSWORD) as connection:
            for statement in TORTURE.read_text().replace(" VIRTUAL", " STORED").split("\n--\n"):
                connection.execute(statement.encode())
            connection.execute("SELECT lo_from_bytea(7, convert_to(repeat('0123456789', 300000), 'UTF8'))")
            connection.execute("SELECT lo_from_bytea(n, '') FROM generate_series(1000, 1300) n")
            connection.execute("SELECT lo_from_bytea(8, convert_to(repeat('x', 65536), 'UTF8'))")
            for (number,) in connection.execute("SELECT oid FROM pg_largeobject_metadata").fetchall():
                connection.execute(f"GRANT SELECT ON LARGE OBJECT {number} TO reader".encode())
    return content(here, server, NAME)


@pytest.mark.nightly_from(1)
@pytest.mark.parametrize(
    ("source", "target", "tools"),
    [
        ("older", "older", BIN),
        ("older", "older", DEBIAN),
        pytest.param("older", "newer", DEBIAN, marks=pytest.mark.nightly),
        pytest.param("older", "newer", BIN, marks=pytest.mark.nightly),
        pytest.param("newer", "older", BIN, marks=pytest.mark.nightly),
    ],
)
def test_each_version_copies_to_each_other(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    tools: Path,
) -> None:
    use_tools(monkeypatch, tools)
    ends: Copies = request.getfixturevalue(source), request.getfixturevalue(target)  # type: ignore[assignment]
    both = Copies(ends[0].source_server, ends[1].target_server)  # type: ignore[index]
    sent = fill(both.source_server)
    both.fill(NAME, f"{NAME}_there", {"verify": True})
    assert content(both, both.target_server, f"{NAME}_there") == sent
    if source == target:
        sent_schema, arrived = (both.schema(both.source_server, each) for each in (NAME, f"{NAME}_there"))
        assert arrived == sent_schema


@pytest.mark.parametrize(
    "value", ["'infinity'::interval", pytest.param("ARRAY['-infinity'::interval]", marks=pytest.mark.nightly)]
)
def test_a_value_that_an_older_server_does_not_know_is_refused_and_becomes_no_other(
    copies: Copies, older: Copies, value: str
) -> None:
    """Infinite intervals came with version 17: in binary form an older server takes them for finite ones."""
    source = "infinite_many" if "ARRAY" in value else "infinite"
    copies.make_source(source, f"CREATE TABLE pause AS SELECT {value} AS gap")
    with pytest.raises(Failed, match=r"^public.pause could not be copied: invalid datetime format"):
        Copies(copies.source_server, older.target_server).fill(source, "infinite_there")


@pytest.mark.nightly
def test_what_only_a_newer_server_can_make_is_named_with_the_cause(copies: Copies, older: Copies) -> None:
    copies.make_source("newer_only", "CREATE TABLE twice (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)")
    with pytest.raises(Failed) as raised:
        Copies(copies.source_server, older.target_server).fill("newer_only", "newer_there")
    said = str(raised.value)
    assert said.startswith("the schema could not be restored: table public.twice: syntax error at or near (")
    assert "the target's server has version 15, and pg_dump 18 writes what only a newer server knows" in said


def test_rows_go_as_text_to_a_server_that_is_older_or_wants_the_numbers_of_types(copies: Copies) -> None:
    """Before version 14 a server takes an array in binary form only with its own number of the type.

    Source: array_recv in src/backend/utils/adt/arrayfuncs.c
    """
    copies.make_source("forms", "CREATE TABLE plain (id int)", "CREATE TABLE named (kind regclass)")
    with closing(copies.database("forms", reader=True).connect()) as source:
        tables = {table.oid: table.name for table in catalogue.tables(source)}
        found = {
            version: {tables[oid] for oid in catalogue.text_only(source, version, catalogue.tables(source))}
            for version in (130023, 170010, 180000, 190001)
        }
    everything, only_text = {"plain", "named"}, {"named"}
    assert found == {130023: everything, 170010: everything, 180000: only_text, 190001: only_text}


def test_a_machine_without_a_client_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(client, "_FOLDERS", ())
    with pytest.raises(Failed, match="pg_dump is not on PATH: install the Postgres client"):
        client.for_server(18)


@pytest.mark.parametrize(("server", "chosen"), [(13, 15), (15, 15), (16, 18), (18, 18), (19, 18)])
def test_of_the_clients_that_are_installed_the_oldest_that_will_do_is_chosen(
    monkeypatch: pytest.MonkeyPatch, server: int, chosen: int
) -> None:
    monkeypatch.setenv("PATH", str(BIN))
    monkeypatch.setattr(client, "_FOLDERS", (str(DEBIAN),))
    client._choose.cache_clear()
    assert client.for_server(server).version == chosen
    client._choose.cache_clear()


def test_everything_arrives_equal_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tools(monkeypatch, DEBIAN)  # PyPI's client does not speak TLS
    with postgres_server(folder=DEBIAN, tls=True) as server:
        both = make_roles(server, server)
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            psycopg.connect(server.url("reader", PASSWORD, "postgres").replace("=require", "=disable"))
        sent = fill(server)
        both.fill(NAME, "arrived")
        assert content(both, server, "arrived") == sent


def test_a_server_without_xml_is_told_before_rows_are_moved(older: Copies, newer: Copies) -> None:
    """PyPI's server is built without it."""
    older.make_source(
        "with_xml",
        "CREATE TABLE letter (id int, body xml, parts xml[])",
        "CREATE TABLE nothing AS SELECT n, NULL::xml AS body FROM generate_series(1, 9) n",
        "INSERT INTO letter VALUES (1, '<a/>', ARRAY['<b/>'::xml])",
    )
    both, told = Copies(older.source_server, newer.target_server), Told()
    with pytest.raises(Failed) as raised:
        both.fill("with_xml", "without_xml", told=told)
    assert str(raised.value) == (
        "the target's server was built without XML, and takes no value of public.letter.body, "
        'public.letter.parts: give the columns the rule "null", or leave these rows behind: '
        'STAGE_COPY["exclude_data"] = ["public.letter"]'
    )
    assert "rows" not in told.phases
    for setting in ({"exclude_data": ["letter"]}, {"mask": {"letter.body": "null", "letter.parts": "null"}}):
        both.fill("with_xml", "without_xml", setting)
    assert both.rows(both.target_server, "without_xml", "SELECT id FROM letter") == [(1,)]
