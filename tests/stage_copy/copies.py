"""Two servers' databases for tests of the engine, and what a copy of one to the other gives."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.stage_copy import engine
from scripts.stage_copy.database import Database
from scripts.stage_copy.model import Moved
from scripts.stage_copy.options import Options
from tests.stage_copy.servers import BIN, PostgresServer

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
        facts = {"NAME": name, "USER": role, "PASSWORD": PASSWORD, "HOST": str(server.socket)}
        return Database.from_django("stage" if reader else "default", facts)

    def fill(self, source: str, target: str, setting: Mapping[str, Any] | None = None) -> Moved:
        """Copy database `source` into a new database `target`."""
        with self.target_server.connect(role="tester", password=PASSWORD) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {target}".encode())
            connection.execute(f"CREATE DATABASE {target} TEMPLATE template0".encode())
        options = Options.read(setting or {}, key="made-up")
        ends = self.database(source, reader=True).read_only(), self.database(target, reader=False)
        return engine.fill(*ends, options, Told())

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
