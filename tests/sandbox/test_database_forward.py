"""The emulated RDS over TCP, in TLS or without, as a client of each kind asks for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from copilot_sandbox.agent import port_forwards
from copilot_sandbox.certificates import CertificateAuthority
from copilot_sandbox.databases import PORT, Databases
from copilot_sandbox.postgres import PostgresServer, remove

ADDRESS = "127.83.200.201"


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    state = tmp_path_factory.mktemp("forward")
    server = PostgresServer(state)
    server.start()
    databases = Databases(server)
    databases.prepare()
    path = str(server.socket)
    port_forwards.offer_tls(path, CertificateAuthority(state).context_of_databases())
    listener = port_forwards.listen((ADDRESS, PORT, path))
    databases.host = ADDRESS
    yield databases
    port_forwards.close([listener])
    server.stop()
    remove(state)


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_a_client_is_answered_with_the_tls_that_it_asks_for(databases: Databases, mode: str) -> None:
    found = databases.database_of("test")
    with psycopg.connect(found.url, sslmode=mode) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("test",)
        assert connection.pgconn.ssl_in_use is (mode != "disable")
        (rows,) = connection.execute("SELECT string_agg(n::text, '') FROM generate_series(1, 300000) n")
    assert len(rows[0]) == 1_688_895


def test_many_rows_are_copied_in_at_once_through_tls(databases: Databases, tmp_path: Path) -> None:
    del tmp_path

    def work() -> None:
        with psycopg.connect(databases.database_of("test").url, sslmode="require") as connection:
            connection.execute("CREATE TEMP TABLE t (n int, text text)")
            with connection.cursor().copy("COPY t FROM STDIN") as copy:
                for number in range(20_000):
                    copy.write_row((number, "x" * 50))
            counted.append(connection.execute("SELECT count(*) FROM t").fetchone())

    counted: list[object] = []
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert counted == [(20_000,)] * 3


def test_staging_is_read_by_its_reader_alone(databases: Databases) -> None:
    with psycopg.connect(databases.database_of("test", staging=True).url) as connection:
        row = connection.execute("SELECT current_user::text, current_database()::text").fetchone()
    assert row == ("stage_reader", "stage")
    assert databases.database_of("staging").dbname == "stage"
    assert databases.database_of("qa").dbname == "test"
