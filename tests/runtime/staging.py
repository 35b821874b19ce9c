"""A staging database, the databases that its copies replace, and what the command says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import psycopg

from django_testenv.stage_copy import disposable_registry
from tests.runtime.stage_copy.project import Project
from tests.runtime.stage_copy.servers import PostgresServer

STAGE, OWNER, READER, TESTER = "staging", "stage_owner", "stage_reader", "tester"
OWNER_PASSWORD, READER_PASSWORD, PASSWORD = "owner-secret", "read:er/s@cret#", "tester-secret"
# In most tests each copy reads staging; the others have what the image has, a golden copy.
COPY_ONLY = "from demo.settings import *\ndel STAGE_COPY['golden']\n"
SHIPPED = {"DJANGO_SETTINGS_MODULE": "demo.settings"}
COPY = ("copy_stage_db",)
RESET = ("reset_db", "--noinput", "--close-sessions")
numbers = itertools.count(1)


@dataclass(frozen=True)
class Target:
    """A database of the tester's, with one table in it that a copy replaces."""

    server: PostgresServer
    demo: Project
    name: str

    @property
    def url(self) -> str:
        return self.server.url(TESTER, PASSWORD, self.name)

    def manage(self, *arguments: str, **variables: str) -> Any:
        return self.demo.manage(*arguments, **{"DATABASE_URL": self.url, **variables})

    def mark(self) -> None:
        with self.server.connect(role=TESTER, password=PASSWORD) as connection:
            disposable_registry.mark(connection, self.name)

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return self.server.connect(self.name, TESTER, PASSWORD)

    def one(self, query: str) -> Any:
        with self.connect() as connection:
            row = connection.execute(query.encode()).fetchone()
            assert row
            return row[0]

    def is_untouched(self) -> bool:
        return self.one("SELECT what FROM leftover") == "of the last branch" and self.beside() == []

    def beside(self) -> list[str]:
        """The databases that a copy leaves behind if it does not clean up."""
        with self.server.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname <> %s AND starts_with(datname, %s)",
                [self.name, self.name],
            ).fetchall()
        return [str(name) for (name,) in rows]


def only_error(done: Any, code: int) -> str:
    """What a command that ended with `code` said: one line of error, no traceback, no password."""
    assert done.returncode == code, done.stdout + done.stderr
    said: list[str] = [line for line in done.stderr.splitlines() if line.startswith("CommandError: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for password in (OWNER_PASSWORD, READER_PASSWORD, PASSWORD):
        assert password not in done.stdout + done.stderr
    return said[0]
