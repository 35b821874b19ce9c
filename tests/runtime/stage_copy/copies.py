"""Two servers' databases for tests of the engine, and what a copy of one to the other gives."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from django_testenv.stage_copy import actions, engine
from django_testenv.stage_copy.database import Connection, Database
from django_testenv.stage_copy.management.commands import copy_stage_db
from django_testenv.stage_copy.model import Moved, Progress
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.transfer import Copy, Receipt
from tests.runtime.stage_copy.servers import BIN, PostgresServer

PASSWORD = "made-up"


@dataclass
class Told:
    """A progress that keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    rows: int = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    def phase(self, name: str, *, total: int = 0) -> None:
        assert total >= 0
        self.phases.append(name)

    def advance(self, *, amount: int, rows: int = 0) -> None:
        assert amount >= 0
        self.rows += rows


@dataclass(frozen=True)
class Copies:
    """The owner's database `source` on one server, and what `tester` makes on the other."""

    source_server: PostgresServer
    target_server: PostgresServer

    def database(self, name: str, *, reader: bool) -> Database:
        server, role = (self.source_server, "reader") if reader else (self.target_server, "tester")
        facts = {"NAME": name, "USER": role, "PASSWORD": PASSWORD, **server.entry}
        return Database.from_django("stage" if reader else "default", facts)

    def has_source(self, name: str) -> bool:
        query = f"SELECT FROM pg_database WHERE datname = '{name}'"
        return bool(self.rows(self.source_server, "postgres", query))

    def make_source(self, name: str, *statements: str) -> None:
        """Make a database of the owner's that the reader may read."""
        with self.source_server.connect(role="owner", password=PASSWORD) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        with self.source_server.connect(name, "owner", PASSWORD) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
            connection.execute("GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO reader")

    def fill(
        self, source: str, target: str, setting: Mapping[str, Any] | None = None, told: Told | None = None
    ) -> Moved:
        """Copy database `source` into a new database `target`."""
        with self.target_server.connect(role="tester", password=PASSWORD) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {target}".encode())
            connection.execute(f"CREATE DATABASE {target} TEMPLATE template0".encode())
        options = Options.read(setting or {}, key="made-up")
        ends = self.database(source, reader=True).read_only(), self.database(target, reader=False)
        return engine.fill(*ends, options, told or Told())

    def rows(self, server: PostgresServer, database: str, query: str) -> list[tuple[Any, ...]]:
        with server.connect(database) as connection:
            return connection.execute(query.encode()).fetchall()

    def schema(self, server: PostgresServer, database: str) -> list[str]:
        """pg_dump's words, less those that differ between any two dumps."""
        said = subprocess.run(
            [BIN / "pg_dump", "--schema-only", "--no-owner", "--no-privileges", "--dbname", database],
            env={"PGHOST": str(server.socket), "PGUSER": "rdsadmin", "PGPASSWORD": "of-the-landlord"},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return [line for line in said.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


def make_roles(source: PostgresServer, target: PostgresServer) -> Copies:
    source.create_role("owner", PASSWORD, "CREATEDB")
    source.create_role("reader", PASSWORD)
    target.create_role("tester", PASSWORD, "CREATEDB")
    return Copies(source, target)


@dataclass
class Attempt:
    """A whole copy in this process, from the lock to the swap; it counts how often staging was looked at."""

    copies: Copies
    source: str
    target: str
    setting: Mapping[str, Any] = field(default_factory=dict)
    release: Mapping[str, str] | None = None
    told: Told = field(default_factory=Told)
    fill: Callable[[Database, Database, Options, Progress], Moved] = engine.fill
    shared: str = ""
    guards: int = 0
    fills: int = 0

    def run(self, *, fresh: bool = False) -> Receipt:
        with self._copy() as copy:
            return copy.run(lambda: None, self._guard, fresh=fresh)

    def would(self, *, fresh: bool = False) -> str:
        with self._copy() as copy:
            return copy.would(fresh=fresh)

    @contextlib.contextmanager
    def _copy(self) -> Iterator[Copy]:
        source = self.copies.database(self.source, reader=True).read_only()
        target = self.copies.database(self.target, reader=False)
        maintenance, options = target.named("postgres"), Options.read(self.setting, key="made-up")
        with closing(maintenance.connect()) as server:
            told, fill, shared = self.told, self._filled, self.shared
            yield Copy(source, target, maintenance, server, options, self.release, told, fill, shared=shared)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[Connection]:
        self.guards += 1
        with closing(self.copies.database(self.source, reader=True).connect()) as staging:
            yield staging

    def _filled(self, source: Database, target: Database, options: Options, progress: Progress) -> Moved:
        self.fills += 1
        return self.fill(source, target, options, progress)


def run_command(
    copies: Copies,
    source: str,
    target: str,
    setting: object,
    *words: str,
    options: Mapping[str, object] | None = None,
) -> int:
    """Run the command in this process, as Django does for a project with these settings; its exit code.

    `options` are OPTIONS of the target's entry in DATABASES.
    """
    postgres = {"ENGINE": "django.db.backends.postgresql", "PASSWORD": PASSWORD}
    stage = {"NAME": source, "USER": "reader", "HOST": str(copies.source_server.socket)}
    default = {"NAME": target, "USER": "tester", "HOST": str(copies.target_server.socket)}
    databases = {
        "stage": {**postgres, **stage},
        "default": {**postgres, **default, "OPTIONS": options or {}},
    }
    return run_for(databases, *words, STAGE_COPY=setting)


def run_for(databases: Mapping[str, object], *words: str, **more: object) -> int:
    """Run the command in this process for a project with these DATABASES and settings; its exit code."""
    settings = SimpleNamespace(DATABASES=databases, SECRET_KEY="made-up", BASE_DIR="/nonexistent", **more)
    with mock.patch.object(actions, "settings", settings):
        try:
            copy_stage_db.Command().run_from_argv(["manage.py", "copy_stage_db", *words])
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0
