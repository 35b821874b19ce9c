"""A shared database, and the command as the containers of its branches run it."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from django_testenv.stage_copy import disposable_registry
from django_testenv.stage_copy.problems import Refused
from tests.runtime.stage_copy.copies import Copies, run_command

if TYPE_CHECKING:
    from django_testenv.stage_copy.database import Connection, Database

PATIENCE = 60  # seconds after which something counts as never happening
STAGE = "branches_stage"
SUFFIX = "_feature_x_1a2b3c4"
EVERY_DATABASE = """SELECT oid::int, datname::text, datallowconn, shobj_description(oid, 'pg_database')
    FROM pg_database ORDER BY 1"""
SPARED = {"golden": {"max_age": "2h", "spare": True}}
numbers = itertools.count(1)


@dataclass
class Shared:
    """A shared database of the tester's, and the command as the containers of a branch run it."""

    copies: Copies
    name: str
    variables: pytest.MonkeyPatch
    output: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""

    def run(self, suffix: str, *words: str, setting: object = None, target: str = "") -> int:
        """The exit code; what was said is in `out` and `err`."""
        self.variables.setenv("DATABASE_SUFFIX", suffix)
        code = run_command(self.copies, STAGE, target or self.name + suffix, setting or {}, *words)
        self.out, self.err = self.output.readouterr()
        return code

    def refused(self, suffix: str, *words: str, target: str = "") -> str:
        """The one line of a refusal that changed nothing on the server."""
        before = self.server()
        assert self.run(suffix, *words, target=target) == Refused.exit_code
        assert self.server() == before
        (line,) = self.err.splitlines()
        assert self.out == ""
        return line.removeprefix("CommandError: ")

    def drop(self, *names: str) -> tuple[str, ...]:
        return tuple(word for name in names for word in ("--drop-database", name))

    def server(self) -> list[tuple[Any, ...]]:
        return self.copies.rows(self.copies.target_server, "postgres", EVERY_DATABASE)

    def databases(self) -> list[str]:
        """Those that begin with the shared one's name, and are not that."""
        return sorted(name for _, name, *_ in self.server() if name.startswith(f"{self.name}_"))

    def make(self, name: str, *, owner: str = "tester") -> None:
        self.copies.target_server.run(f'CREATE DATABASE "{name}" OWNER {owner}')

    def target(self, suffix: str) -> Database:
        return self.copies.database(self.name + suffix, reader=False)

    def persons(self, suffix: str) -> object:
        name = self.name + suffix
        return self.copies.rows(self.copies.target_server, name, "SELECT count(*) FROM person")[0][0]

    def connect(self) -> contextlib.closing[Connection]:
        return contextlib.closing(self.copies.database("postgres", reader=False).connect())

    def marks(self) -> dict[str, str | None]:
        """The marked databases that begin with the shared one's name; the shared one of a branch's."""
        with self.connect() as server:
            found = disposable_registry.read(server)
        return {
            name: found.branches.get(name) for name in sorted(found.disposable) if name.startswith(self.name)
        }
