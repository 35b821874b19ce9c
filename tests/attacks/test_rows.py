"""A row that a rule or a server chokes on: no error of a copy repeats its value."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management.base import CommandError

from django_testenv.stage_copy import actions, engine, reasons
from django_testenv.stage_copy.management.commands import copy_stage_db
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import CopyError
from tests.hidden import SECRET, assert_hidden, everything
from tests.runtime.stage_copy.copies import PASSWORD, Copies, Told, make_roles
from tests.runtime.stage_copy.servers import BIN, postgres_server


@pytest.fixture(scope="module")
def copies() -> Iterator[Copies]:
    with postgres_server() as source, postgres_server() as target:
        made = make_roles(source, target)
        made.make_source(
            "hostile",
            "CREATE FUNCTION public.of_trigger(t text) RETURNS boolean LANGUAGE plpgsql AS "
            "$$BEGIN IF current_user = 'tester' THEN RAISE 'bad row: %', t; END IF; RETURN true; END$$",
            "CREATE FUNCTION public.of_cast(t text) RETURNS boolean LANGUAGE plpgsql AS "
            "$$BEGIN IF current_user = 'tester' THEN RETURN t::int > 0; END IF; RETURN true; END$$",
            "CREATE TABLE plain (id int PRIMARY KEY, word text UNIQUE, tag varchar(40))",
            "CREATE TABLE raising (word text CHECK (public.of_trigger(word)))",
            "CREATE TABLE casting (word text CHECK (public.of_cast(word)))",
            f"INSERT INTO plain SELECT n, '{SECRET}' || n, '{SECRET}' FROM generate_series(1, 5) n",
            f"INSERT INTO raising VALUES ('{SECRET}')",
            f"INSERT INTO casting VALUES ('{SECRET}')",
        )
        yield made


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{BIN}:{Path(sys.executable).parent}:/usr/bin:/bin")


class Choked(Exception):
    """A project's own error."""


def quoting(value: str | None) -> str | None:
    raise Choked(f"cannot mask {value}")


def noting(value: str | None) -> str | None:
    error = KeyError(value)
    error.add_note(f"the value was {value}")
    raise error


def leaving(value: str | None) -> str | None:
    raise SystemExit(f"the value was {value}")


def chained(value: str | None) -> str | None:
    try:
        return str(int(value or ""))
    except ValueError as error:
        raise Choked(repr(value)) from error


def unprintable(value: str | None) -> Any:
    return SimpleNamespace(value=value, __str__=None) if value is None else Unprintable(value)


class Unprintable:
    def __init__(self, value: str) -> None:
        self.value = value

    def __str__(self) -> str:
        raise Choked(self.value)


def unencodable(value: str | None) -> str:
    return f"{value}\udcff"


CALLS: list[Callable[[str | None], Any]] = [quoting, noting, leaving, chained, unprintable, unencodable]
OTHERS = {"exclude_data": ["raising", "casting"]}


def failed(copies: Copies, setting: dict[str, Any], *, told: Told) -> CopyError:
    copies.target_server.run("DROP DATABASE IF EXISTS hostile")
    with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        connection.execute("CREATE DATABASE hostile TEMPLATE template0")
    ends = copies.database("hostile", reader=True).read_only(), copies.database("hostile", reader=False)
    with pytest.raises(CopyError) as raised:
        engine.fill(*ends, Options.read(setting, key="made-up"), told)
    return raised.value


@pytest.mark.parametrize("call", CALLS)
def test_a_rule_that_chokes_on_a_row_tells_column_row_and_kind_and_not_the_value(
    copies: Copies, call: Callable[[str | None], Any]
) -> None:
    told = Told()
    error = failed(copies, {**OTHERS, "mask": {"plain.tag": call}}, told=told)
    assert "the rule of public.plain.tag failed at row 1" in str(error)
    assert ": its function raised " in str(error)
    assert_hidden(everything(error) + str(told))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"exclude_data": ["plain", "casting"]}, "a function of the project failed (P0001"),
        ({"exclude_data": ["plain", "raising"]}, "a function of the project failed (22P02"),
        (
            {**OTHERS, "mask": {"plain.id": lambda _: SECRET}},
            'invalid text representation (22P02, column "id", row 1',
        ),
        (
            {**OTHERS, "mask": {"plain.word": lambda _: SECRET}},
            'could not create unique index "plain_word_key"',
        ),
        ({**OTHERS, "mask": {"plain.tag": lambda _: SECRET * 9}}, "string data right truncation (22001"),
        ({**OTHERS, "mask": {"plain.id": {"value": SECRET}}}, "invalid text representation (22P02"),
        ({**OTHERS, "mask": {"plain.id": lambda _: f"9{SECRET}"}}, "invalid text representation (22P02"),
        ({**OTHERS, "mask": {"plain.id": lambda _: None}}, 'null value in column "id" of relation "plain"'),
        ({**OTHERS, "mask": {"plain.id": lambda _: "99999999999"}}, "numeric value out of range (22003"),
    ],
)
def test_what_a_server_chokes_on_is_told_by_code_table_and_column(
    copies: Copies, setting: dict[str, Any], said: str
) -> None:
    told = Told()
    error = failed(copies, setting, told=told)
    assert said in str(error)
    assert "\n" not in str(error)
    # A constant of the project's STAGE_COPY is no value of a row: it stands in the statements.
    constant = any(isinstance(rule, dict) for rule in setting.get("mask", {}).values())
    assert_hidden((str(error) if constant else everything(error)) + str(told))


def test_the_command_ends_in_an_error_that_nothing_hangs_on(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        with closing(copies.database("hostile", reader=True).connect()) as connection:
            connection.execute("SELECT word::int FROM plain")

    monkeypatch.setattr(actions.Actions, "_dispatch", fails)
    with pytest.raises(CommandError) as told:
        copy_stage_db.Command().handle(drop_database=None, drop_own_database=False)
    assert "invalid text representation (22P02): the server's words are not shown" in str(told.value)
    assert told.value.__context__ is None
    assert_hidden(everything(told.value) + str(capsys.readouterr()))


@pytest.mark.parametrize(
    ("stderr", "told"),
    [
        (
            f'pg_restore: error: ERROR:  could not create unique index "x"\nDETAIL:  Key (a)=({SECRET}) is.',
            'could not create unique index "x"',
        ),
        (f'pg_restore: error: ERROR:  invalid input syntax for type integer: "{SECRET}"', "not shown"),
        (f'ERROR:  invalid input syntax for type integer: "a" role "{SECRET}"', "not shown"),
        (f'ERROR:  time zone "{SECRET}" not recognized', "not shown"),
        (
            f"ERROR:  bad: {SECRET}\nCONTEXT:  PL/pgSQL function f() line 1 at RAISE",
            "a function of the project",
        ),
        (f'ERROR:  bad: {SECRET}\nCONTEXT:  SQL function "f" statement 1', "a function of the project"),
        (
            "pg_dump: error: query failed: ERROR:  permission denied for table log",
            "permission denied for table log",
        ),
        ('FATAL:  database "x" does not exist', 'database "x" does not exist'),
        ("", "it printed nothing"),
    ],
)
def test_what_a_tool_of_postgres_says_is_told_without_values(stderr: str, told: str) -> None:
    said = reasons.of_tool(stderr)
    assert told in said
    assert_hidden(said)
