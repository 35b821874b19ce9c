"""Targets of whole copies: how a test makes one, changes it and looks at it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from django_testenv.stage_copy import disposable_registry
from tests.runtime.stage_copy.copies import PASSWORD, Copies, Told

PATIENCE = 60  # seconds after which something counts as never happening
numbers = itertools.count(1)


def make_target(copies: Copies) -> str:
    """Make a database that is marked, with one table that a copy replaces; its name."""
    name = f"transfer{next(numbers)}x"
    with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        disposable_registry.mark(connection, name)
    with copies.target_server.connect(name, "tester", PASSWORD) as connection:
        connection.execute("CREATE TABLE leftover AS SELECT 'of the last branch' AS what")
    return name


def require_untouched(copies: Copies, target: str) -> None:
    assert copies.rows(copies.target_server, target, "TABLE leftover") == [("of the last branch",)]
    assert beside(copies, target) == []


def beside(copies: Copies, target: str) -> list[object]:
    """The databases that a copy leaves behind if it does not clean up."""
    query = f"SELECT datname::text FROM pg_database WHERE starts_with(datname, '{target}_')"
    return [name for (name,) in copies.rows(copies.target_server, "postgres", query)]


def persons(copies: Copies, target: str) -> object:
    return copies.rows(copies.target_server, target, "SELECT count(*) FROM person")[0][0]


def change(copies: Copies, target: str) -> None:
    """What a tester does."""
    with copies.target_server.connect(target, "tester", PASSWORD) as connection:
        connection.execute("DELETE FROM item")
        connection.execute("DELETE FROM person WHERE id > 7")


def only_error(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that failed said at last: one line of error, no traceback, no password."""
    said = capsys.readouterr()
    *before, last = said.err.splitlines()
    assert last.startswith("CommandError: ")
    assert all(line.startswith("copy_stage_db: ") for line in before), said.err
    assert said.out == ""
    assert PASSWORD not in said.err
    return last.removeprefix("CommandError: ")


@dataclass
class Listener(Told):
    """Sets `said` when it is told a line, and calls `at_rows` when the first rows have arrived."""

    said: threading.Event = field(default_factory=threading.Event)
    at_rows: Callable[[], object] | None = None

    def say(self, line: str) -> None:
        super().say(line)
        self.said.set()

    def advance(self, *, amount: int, rows: int = 0) -> None:
        super().advance(amount=amount, rows=rows)
        call, self.at_rows = self.at_rows, None
        if call:
            call()
