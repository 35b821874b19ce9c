"""One server with a staging database, for the tests of the command copy_stage_db."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.runtime.stage_copy.project import Project, project
from tests.runtime.stage_copy.servers import BIN, PostgresServer, postgres_server
from tests.runtime.staging import (
    COPY_ONLY,
    OWNER,
    OWNER_PASSWORD,
    PASSWORD,
    READER,
    READER_PASSWORD,
    STAGE,
    TESTER,
    Target,
    numbers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        running.create_role(OWNER, OWNER_PASSWORD, "CREATEDB")
        running.create_role(READER, READER_PASSWORD)
        running.create_role(TESTER, PASSWORD, "CREATEDB")
        yield running


@pytest.fixture(scope="module")
def demo(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, and a staging database with its schema and about a megabyte of rows."""
    home = tmp_path_factory.mktemp("image")
    copied = project(
        home / "app",
        DJANGO_SETTINGS_MODULE="copy_only",
        STATIC_ROOT=str(home / "static"),
        STAGE_DATABASE_URL=server.url(READER, READER_PASSWORD, STAGE),
    )
    (copied.home / "copy_only.py").write_text(COPY_ONLY)
    with server.connect(role=OWNER, password=OWNER_PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {STAGE}")
    owner_url = server.url(OWNER, OWNER_PASSWORD, STAGE)
    for command in (("migrate", "--noinput"), ("fill_stage", "--megabytes", "1")):
        done = copied.manage(*command, DATABASE_URL=owner_url)
        assert done.returncode == 0, done.stderr
    with server.connect(STAGE, OWNER, OWNER_PASSWORD) as connection:
        connection.execute("CREATE EXTENSION citext")
        connection.execute("CREATE SCHEMA reports")
        connection.execute("CREATE MATERIALIZED VIEW reports.kinds AS SELECT kind FROM shop_event GROUP BY 1")
        connection.execute("CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql RETURN $1 * 2")
        for schema in ("public", "reports"):
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {READER}")
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READER}")
        connection.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {READER}")
    server.run("CREATE EXTENSION pg_stat_statements", database=STAGE)
    return copied


@pytest.fixture
def target(server: PostgresServer, demo: Project) -> Target:
    name = f"t{next(numbers)}x"
    with server.connect(role=TESTER, password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    made = Target(server, demo, name)
    with made.connect() as connection:
        connection.execute("CREATE TABLE leftover AS SELECT 'of the last branch' AS what")
    return made


@pytest.fixture
def client(tmp_path: Path) -> Callable[[str], str]:
    """A PATH whose pg_dump is the given shell script; `$REAL` in it is the real one."""

    def make(script: str) -> str:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "pg_dump").write_text(f"#!/bin/sh\nREAL={BIN}/pg_dump\n{textwrap.dedent(script)}")
        (folder / "pg_dump").chmod(0o755)
        return f"{folder}:{BIN}:/usr/bin:/bin"

    return make
