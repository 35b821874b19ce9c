"""Configuration tables of extensions: the extension's own rows stay, and the user's come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Copies
from tests.runtime.stage_copy.servers import memory

SOURCE = "extension_tables"
# As PostGIS has one: rows of its own, and a condition that says which are the user's.
SCRIPT = """
CREATE TABLE systems (srid int PRIMARY KEY, words text, own bool NOT NULL DEFAULT false);
INSERT INTO systems SELECT n, 'of the extension', true FROM generate_series(1, 50) n;
CREATE SEQUENCE numbers;
CREATE TABLE whole (id int PRIMARY KEY, words text);
INSERT INTO whole VALUES (1, 'of the extension');
CREATE TABLE a_part (id int PRIMARY KEY, of_whole int NOT NULL REFERENCES whole, srid int REFERENCES systems);
CREATE TABLE not_for_dumps (id int PRIMARY KEY);
INSERT INTO not_for_dumps VALUES (1);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER quiet BEFORE INSERT ON a_part FOR EACH ROW EXECUTE FUNCTION nothing();
SELECT pg_catalog.pg_extension_config_dump('systems', 'WHERE NOT own');
SELECT pg_catalog.pg_extension_config_dump('numbers', '');
SELECT pg_catalog.pg_extension_config_dump('whole', '');
SELECT pg_catalog.pg_extension_config_dump('a_part', '');
"""
# What RDS's rdsadmin owns: nobody else may write to it.
OF_SUPERUSER = """
CREATE TABLE of_superuser (id int PRIMARY KEY, own bool DEFAULT false);
INSERT INTO of_superuser VALUES (1, true);
GRANT SELECT ON of_superuser TO PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('of_superuser', 'WHERE NOT own');
"""
CONTROLS = {"atlas": "superuser = false\nrelocatable", "hers": "trusted"}
TABLES = ("systems", "whole", "a_part")


@pytest.fixture(scope="module")
def source(copies: Copies) -> Iterator[str]:
    """A database with an extension of our own, which both servers have."""
    folder = memory() / f"extensions-{SOURCE}"
    (folder / "extension").mkdir(parents=True, exist_ok=True)
    for name, control in CONTROLS.items():
        (folder / f"extension/{name}.control").write_text(f"default_version = '1'\n{control} = true\n")
        (folder / f"extension/{name}--1.sql").write_text(SCRIPT if name == "atlas" else OF_SUPERUSER)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    servers = (copies.source_server, copies.target_server)
    for server in servers:
        server.run(f"ALTER SYSTEM SET extension_control_path = '$system:{folder}'", "SELECT pg_reload_conf()")
    copies.make_source(
        SOURCE,
        "CREATE EXTENSION atlas",
        "CREATE EXTENSION hers",
        "INSERT INTO systems VALUES (1001, 'of the user'), (1002, 'of the user too')",
        "INSERT INTO whole SELECT n, repeat('big enough to come first ', 90) FROM generate_series(2, 300) n",
        "INSERT INTO a_part SELECT n, 1 + n % 300, 1001 FROM generate_series(1, 1000) n",
        "SELECT setval('numbers', 77)",
        "INSERT INTO not_for_dumps VALUES (2)",
        "CREATE TABLE place (id int PRIMARY KEY, srid int REFERENCES systems)",
        "INSERT INTO place SELECT n, CASE WHEN n % 2 = 0 THEN 1002 ELSE 7 END FROM generate_series(1, 100) n",
    )
    yield SOURCE
    for server in servers:
        server.run("ALTER SYSTEM RESET extension_control_path", "SELECT pg_reload_conf()")
    for path in sorted(folder.rglob("*"), reverse=True):
        Path(path).rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize("jobs", [1, pytest.param(4, marks=pytest.mark.nightly)])
def test_an_extension_keeps_its_own_rows_and_gets_those_of_the_user(
    copies: Copies, source: str, jobs: int
) -> None:
    copies.fill(source, "extended", {"verify": True, "jobs": jobs})
    for name in (*TABLES, "place"):
        query = f"SELECT count(*), md5(string_agg(r::text, ' ' ORDER BY r::text)) FROM {name} r"
        sent, arrived = (
            copies.rows(server, database, query)
            for server, database in ((copies.source_server, source), (copies.target_server, "extended"))
        )
        assert arrived == sent, name
    query = "SELECT last_value, is_called FROM numbers"
    assert copies.rows(copies.target_server, "extended", query) == [(77, True)]
    # As with pg_dump, what the extension keeps for itself is only what it has made.
    assert copies.rows(copies.target_server, "extended", "SELECT id FROM not_for_dumps") == [(1,)]


def test_an_extensions_table_whose_rows_are_excluded_keeps_the_extensions_own(
    copies: Copies, source: str
) -> None:
    copies.fill(source, "extended", {"exclude_data": ["systems", "a_part", "place"]})
    with copies.target_server.connect("extended", "tester", PASSWORD) as connection:
        row = connection.execute("SELECT count(*), bool_and(own) FROM systems").fetchone()
    assert row == (50, True)


def test_an_extensions_table_that_may_not_be_written_is_no_obstacle_unless_it_has_rows_of_the_user(
    copies: Copies, source: str
) -> None:
    query = "SELECT count(*) FROM of_superuser"
    copies.fill(source, "extended")
    assert copies.rows(copies.target_server, "extended", query) == [(1,)]
    copies.source_server.run("INSERT INTO of_superuser VALUES (2)", database=source)
    try:
        with pytest.raises(Failed) as raised:
            copies.fill(source, "extended")
        assert str(raised.value) == (
            "public.of_superuser could not be copied: permission denied for table of_superuser: "
            'it belongs to extension "hers"; its rows stay behind if STAGE_COPY["exclude_data"] names it'
        )
        copies.fill(source, "extended", {"exclude_data": ["of_superuser"]})
    finally:
        copies.source_server.run("DELETE FROM of_superuser WHERE NOT own", database=source)
