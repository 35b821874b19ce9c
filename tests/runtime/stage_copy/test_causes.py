"""Tell what ends a copy as its own cause, and not as another that happens more often."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_testenv.stage_copy import attributes, previous, restore, swap, verify
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.engine import fill
from django_testenv.stage_copy.model import Moved, Progress
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.orphans import Orphans
from django_testenv.stage_copy.problems import CopyError, Failed, Misconfigured
from django_testenv.stage_copy.schema import Entry
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, run_command
from tests.runtime.stage_copy.transfers import make_target, only_error, persons, require_untouched

SOURCE = "causes"
calls = itertools.count()


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(
        SOURCE,
        "CREATE TABLE person (id int PRIMARY KEY)",
        "INSERT INTO person SELECT generate_series(1, 9)",
    )


@pytest.fixture
def target(copies: Copies) -> str:
    return make_target(copies)


@pytest.fixture
def limited(copies: Copies) -> Iterator[str]:
    """A role that may log in, as far as no more than none of its sessions are there."""
    copies.source_server.create_role("limited", PASSWORD, "CONNECTION LIMIT 0")
    yield "limited"
    copies.source_server.run("DROP ROLE limited")


def failure(attempt: Attempt, kind: type[CopyError] = Failed) -> str:
    with pytest.raises(kind) as raised:
        attempt.run()
    return str(raised.value)


def test_a_rest_of_a_copy_that_is_not_ours_to_drop_is_the_cause(copies: Copies, target: str) -> None:
    copies.target_server.run(f"CREATE DATABASE {target}_copying")
    said = failure(Attempt(copies, SOURCE, target))
    assert said == f'the copy into "{target}" failed: must be owner of database {target}_copying'
    copies.target_server.run(f"DROP DATABASE {target}_copying")
    require_untouched(copies, target)


def test_a_staging_that_breaks_off_is_no_fault_of_the_targets_server(copies: Copies, target: str) -> None:
    attempt = Attempt(copies, SOURCE, target)

    def lost() -> Any:
        connection = copies.database(SOURCE, reader=True).connect()
        pid = connection.info.backend_pid
        copies.source_server.run(f"SELECT pg_terminate_backend({pid}, 5000)")
        return closing(connection)

    with attempt._copy() as copy, pytest.raises(Failed) as raised:
        copy.run(lambda: None, lost, fresh=True)
    said = str(raised.value)
    assert said.startswith(f'the copy into "{target}" failed: terminating connection'), said
    require_untouched(copies, target)


def test_a_connection_that_is_lost_in_the_swap_leaves_open_whether_it_was_made(
    copies: Copies, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def carry(server: psycopg.Connection[Any], *_: str) -> list[str]:
        copies.target_server.run(f"SELECT pg_terminate_backend({server.info.backend_pid}, 5000)")
        return []

    monkeypatch.setattr(attributes, "carry", carry)
    said = failure(Attempt(copies, SOURCE, target))
    assert said.startswith(f'the connection was lost while a copy took the place of "{target}": ')
    assert said.endswith(": it did so or not, wholly: run the command again")
    copies.target_server.run(f"DROP DATABASE {target}_copying")
    require_untouched(copies, target)


def test_a_golden_copy_that_cannot_be_replaced_is_named_and_not_the_target(
    copies: Copies, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = {"golden": {"max_age": "1d"}}
    Attempt(copies, SOURCE, target, setting).run()
    monkeypatch.setattr(
        swap, "rename", lambda server, *_: server.execute("ALTER DATABASE postgres RENAME TO a")
    )
    with pytest.raises(Failed, match='the copy could not take the place of "stage_copy_golden_'):
        Attempt(copies, SOURCE, target, setting).run(fresh=True)
    assert persons(copies, target) == 9


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_interruption_says_whether_the_target_has_its_new_data(
    copies: Copies,
    target: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    owner, name = (swap, "create") if moment == "before" else (previous, "drop_all_old")
    monkeypatch.setattr(owner, name, interrupted)
    assert run_command(copies, SOURCE, target, {}) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    if moment == "before":
        assert said == "copy_stage_db: interrupted, the target is as it was: run it again"
        require_untouched(copies, target)
    else:
        assert said == "copy_stage_db: interrupted, the target has its new data: run it again"
        assert persons(copies, target) == 9


def test_a_container_that_is_stopped_drops_what_it_has_copied_and_says_so(
    copies: Copies, target: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(verify, "require_same_validity", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run_command(copies, SOURCE, target, {}) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == "copy_stage_db: interrupted, the target is as it was: run it again"
    require_untouched(copies, target)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_role_that_may_not_connect_now_is_not_told_to_check_its_password(
    copies: Copies, limited: str
) -> None:
    facts = {"NAME": SOURCE, "USER": limited, "PASSWORD": PASSWORD, "HOST": str(copies.source_server.socket)}
    with pytest.raises(Failed) as raised:
        Database.from_django("stage", facts).connect()
    assert str(raised.value).endswith(
        ': FATAL: too many connections for role "limited": end other sessions there, or open fewer '
        "connections: --jobs 1"
    )


def test_a_role_that_may_not_be_assumed_is_no_wrong_password(
    copies: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(copies, SOURCE, "any", {}, options={"assume_role": "rdsadmin"})
    assert code == Failed.exit_code
    said = only_error(capsys)
    assert said == (
        'cannot assume role "rdsadmin" in database "postgres": permission denied to set role "rdsadmin": '
        'check "assume_role" in DATABASES["default"]'
    )


def test_a_source_that_breaks_off_makes_no_constant_wrong(copies: Copies) -> None:
    copies.make_source(
        f"{SOURCE}_constant",
        """CREATE FUNCTION leave(text) RETURNS bool LANGUAGE sql AS
           'SELECT pg_terminate_backend(pg_backend_pid())'""",
        "CREATE DOMAIN fleeting AS text CHECK (public.leave(VALUE))",
        "CREATE TABLE person (id int, name fleeting)",
    )
    with pytest.raises(Failed) as raised:
        copies.fill(f"{SOURCE}_constant", "caused", {"mask": {"person.name": {"value": "x"}}})
    assert str(raised.value).startswith(f'the copy of "{SOURCE}_constant" failed: terminating connection')


def test_a_key_is_left_behind_for_rows_that_break_it_and_for_nothing_else(
    copies: Copies, target: str
) -> None:
    server = copies.target_server
    with server.connect(target, "tester", PASSWORD) as connection:
        connection.execute("CREATE TABLE a (id int PRIMARY KEY)")
        connection.execute("CREATE TABLE b AS SELECT 1 AS a")
        add = "ALTER TABLE b ADD CONSTRAINT b_a FOREIGN KEY (a) REFERENCES a;\n"
        entry = Entry(
            1, 2606, 9, "FK CONSTRAINT", "public", "b b_a", frozenset(), before_rows=False, statement=add
        )
        refused = restore.make(connection, [entry])
        assert [one.state for one in refused] == ["23503"]
        with server.connect(target) as other, other.transaction():
            other.execute("LOCK TABLE b")
            connection.execute("SET lock_timeout = '50ms'")
            orphans = Orphans(wanted=True)
            with pytest.raises(psycopg.errors.LockNotAvailable):
                orphans.add(connection, refused)
        assert orphans.left == []
        assert orphans.add(connection, refused) == []
        assert orphans.left == ['foreign key "b_a" of public.b is NOT VALID in the copy: rows break it']


def unsteady(value: str | None) -> str:
    return f"{value}0{next(calls)}"


@pytest.mark.parametrize("partitioned", ["", " PARTITION BY LIST (id)"])
def test_a_rule_that_breaks_a_key_is_told_beside_stagings_rows(copies: Copies, partitioned: str) -> None:
    name = f"{SOURCE}_rule{'_parts' if partitioned else ''}"
    copies.make_source(
        name,
        "CREATE TABLE person (mail text PRIMARY KEY)",
        f"CREATE TABLE letter (id int, mail text REFERENCES person){partitioned}",
        *(["CREATE TABLE letters PARTITION OF letter DEFAULT"] if partitioned else []),
        "INSERT INTO person VALUES ('a'), ('b')",
        "INSERT INTO letter VALUES (1, 'a'), (2, 'b')",
    )
    with pytest.raises(Failed) as raised:
        copies.fill(name, "caused", {"mask": {"person.mail": {"call": f"{__name__}.unsteady"}}})
    assert str(raised.value) == (
        'rows of public.letter break its foreign key "letter_mail_fkey": its {"call"} rule must give equal '
        "values equal results; if it does, mend these rows in staging, or set "
        'STAGE_COPY["orphans"] = "not valid"'
    )


@pytest.mark.parametrize(
    ("mask", "rule"),
    [
        ({}, ""),
        pytest.param(
            {"person.name": "name"},
            'a rule of STAGE_COPY["mask"] makes values equal, or ',
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_an_index_of_staging_that_let_equal_rows_in_is_told_with_its_table(
    copies: Copies, mask: dict[str, str], rule: str
) -> None:
    """As after an upgrade of the system's collations."""
    name = f"equal_rows_{len(mask)}"
    copies.make_source(
        name,
        "CREATE TABLE person (name text CONSTRAINT one_each UNIQUE)",
        "INSERT INTO person VALUES ('secret')",
    )
    for ready in ("false", "true"):
        copies.source_server.run(
            f"UPDATE pg_index SET indisready = {ready} WHERE indexrelid = 'one_each'::regclass", database=name
        )
        if ready == "false":
            copies.source_server.run("INSERT INTO person VALUES ('secret')", database=name)
    with pytest.raises(Failed) as raised:
        copies.fill(name, "equal_rows", {"mask": mask})
    assert str(raised.value) == (
        f'public.person could not be copied: could not create unique index "one_each": {rule}staging has '
        "rows that its own index should not allow: REINDEX it there, and mend the rows that the server then "
        "names"
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            "42883",
            "perhaps because extension pg_stat_statements stays behind, which the target's server does ",
        ),
        (
            "42601",
            "perhaps because the target's server has version 18, and pg_dump 19 writes what only a newer ",
        ),
        ("42501", ""),
    ],
)
def test_what_the_target_lacks_is_named_as_a_possible_cause(copies: Copies, state: str, words: str) -> None:
    entry = Entry(1, 0, 0, "VIEW", "public", "sums", frozenset(), before_rows=True, statement="")
    with closing(copies.database("postgres", reader=False).connect()) as target:
        causes = restore.possible_causes(target, 19, ["pg_stat_statements"])
    with pytest.raises(Failed) as raised:
        restore.require_none([restore.Refusal(entry, "no", state)] * 2, causes)
    assert words in str(raised.value)
    assert str(raised.value).count("perhaps") == bool(words)


@pytest.mark.parametrize("setting", ["mask", "after"])
@pytest.mark.parametrize("content", ["1 / 0", "def broken(:", "import gone_for_good"])
def test_a_module_that_fails_on_import_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, content: str
) -> None:
    module = f"failing{next(calls)}"
    (tmp_path / f"{module}.py").write_text(content)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    path = f"{module}.rule"
    value = {"a.b": {"call": path}} if setting == "mask" else [path]
    with pytest.raises(Misconfigured, match=f"'{path}' cannot be imported: "):
        Options.read({setting: value}, key="made-up")


def test_what_only_comes_after_the_rows_is_no_cause_of_the_swap(copies: Copies, target: str) -> None:
    """The copy's own step fails between rows and swap: the message is of that step's server."""

    def filled(source: Database, into: Database, options: Options, progress: Progress) -> Moved:
        moved = fill(source, into, options, progress)
        copies.target_server.run(f"ALTER DATABASE {into.name} OWNER TO rdsadmin")
        return moved

    said = failure(Attempt(copies, SOURCE, target, fill=filled))
    assert said == f'the copy into "{target}" failed: must be owner of database {target}_copying'
    copies.target_server.run(f"DROP DATABASE {target}_copying")
    require_untouched(copies, target)
