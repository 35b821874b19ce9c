"""The command copies staging into a marked database, and leaves nothing behind where it breaks off."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.management.base import BaseCommand

from django_testenv.stage_copy.management.commands.copy_stage_db import Command
from tests.runtime.stage_copy.project import Project
from tests.runtime.stage_copy.servers import PostgresServer
from tests.runtime.staging import (
    COPY,
    READER,
    READER_PASSWORD,
    RESET,
    SHIPPED,
    STAGE,
    TESTER,
    Target,
    only_error,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable
    from pathlib import Path


def test_a_copy_replaces_the_marked_target_by_stagings_rows_and_schema(target: Target) -> None:
    target.mark()
    done = target.manage(*COPY, "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["source"] == STAGE
    assert receipt["target"] == target.name
    for query in (
        "SELECT md5(string_agg(e::text, ' ' ORDER BY id)) FROM shop_event e",
        "SELECT count(*) FROM reports.kinds",
        "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT last_value FROM shop_event_id_seq",
        "SELECT twice(21)",
    ):
        with target.server.connect(STAGE) as staging:
            assert (target.one(query),) == staging.execute(query.encode()).fetchone()
    assert target.one("SELECT to_regclass('leftover')") is None
    assert target.one("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'shop_event'") == TESTER
    assert target.one("SELECT 'a'::citext = 'A'::citext")
    assert target.beside() == []


def test_the_target_carries_a_stamp_that_tells_when_and_what_was_copied(target: Target) -> None:
    target.mark()
    receipt = json.loads(target.manage(*COPY, "--json").stdout)
    assert target.manage("migrate", "--noinput").returncode == 0
    stamp = json.loads(
        target.one(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
    )
    assert stamp == {
        "copied_at": receipt["copied_at"],
        "source": STAGE,
        "tables": receipt["tables"],
        "rows": receipt["rows"],
        "release": None,
    }
    assert stamp["rows"] > 2000
    assert stamp["copied_at"].endswith("+00:00")


def test_the_startup_chain_works_twice_in_a_row(target: Target) -> None:
    target.mark()
    chain = (RESET, COPY, ("migrate", "--noinput"))
    for more in ([("collectstatic", "--noinput")], []):  # a container begins without static files
        for command in (*chain, *more):
            done = target.manage(*command)
            assert done.returncode == 0, done.stdout + done.stderr
        assert target.one("SELECT count(*) FROM shop_product") == 500


def test_a_session_that_holds_the_target_is_ended_and_may_come_back(target: Target) -> None:
    target.mark()
    web = target.connect()
    web.execute("BEGIN")
    web.execute("LOCK TABLE leftover")
    done = target.manage(*COPY)
    assert done.returncode == 0, done.stderr
    with pytest.raises(psycopg.OperationalError):
        web.execute("SELECT 1")
    assert target.one("SELECT count(*) FROM shop_product") == 500


def test_a_target_that_was_dropped_is_made_by_the_copy(target: Target) -> None:
    target.mark()
    target.server.run(f"DROP DATABASE {target.name}")
    done = target.manage(*COPY)
    assert done.returncode == 0, done.stderr
    assert target.one("SELECT count(*) FROM shop_product") == 500


def test_two_copies_at_once_wait_for_each_other(target: Target) -> None:
    target.mark()
    runs = [target.demo.start(*COPY, DATABASE_URL=target.url) for _ in range(2)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert target.beside() == []


READ = "SELECT seq_tup_read::int FROM pg_stat_user_tables WHERE relname = 'shop_product'"
READING = f"SELECT count(*)::int FROM pg_stat_activity WHERE usename = '{READER}'"
WAITING = "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def start_for_branches(target: Target, suffixes: Iterable[str]) -> list[subprocess.Popen[str]]:
    """A copy for each branch, all at once, in processes of their own."""
    return [
        target.demo.start(*COPY, "--json", DATABASE_URL=target.url, DATABASE_SUFFIX=suffix, **SHIPPED)
        for suffix in suffixes
    ]


def receipts(runs: Iterable[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    outputs = [(run.communicate(timeout=120)[0], run.returncode) for run in runs]
    assert {code for _, code in outputs} == {0}, outputs
    return [
        json.loads(next(line for line in output.splitlines() if line.startswith("{")))
        for output, _ in outputs
    ]


def number(server: PostgresServer, database: str, query: str) -> int:
    with server.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row
    return int(str(row[0]))


def products_read(server: PostgresServer) -> int:
    """How many rows of a table of staging's were read so far; a session counts when it ends."""
    deadline = time.monotonic() + 60
    while number(server, "postgres", READING):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return number(server, STAGE, READ)


@pytest.mark.nightly
def test_three_branches_at_once_are_filled_from_one_golden_copy_and_staging_is_read_once(
    target: Target, server: PostgresServer
) -> None:
    target.mark()
    rounds = ["_b0_x", "_b1_x", "_b2_x"], ["_b0_y", "_b1_y"]
    before = products_read(server)
    with server.connect(STAGE) as holding:  # one copies staging, and cannot yet: the others wait for it
        holding.execute("BEGIN; LOCK TABLE shop_product")
        runs = start_for_branches(target, rounds[0])
        deadline = time.monotonic() + 60
        while number(server, "postgres", WAITING) < 2:
            assert time.monotonic() < deadline
            assert {run.poll() for run in runs} == {None}
            time.sleep(0.05)
    first = receipts(runs)
    assert products_read(server) - before == 500
    assert [one["how"] for one in first] == ["cloned"] * 3
    assert sorted(one["bytes"] > 0 for one in first) == [False] * 2 + [True]

    second = receipts(start_for_branches(target, rounds[1]))
    assert products_read(server) - before == 500
    assert [(one["how"], one["bytes"]) for one in second] == [("cloned", 0)] * 2
    assert {one["copied_at"] for one in (*first, *second)} == {first[0]["copied_at"]}

    names = [target.name + suffix for suffix in (*rounds[0], *rounds[1])]
    assert sorted(target.beside()) == sorted(names)
    for name in names:
        for query in ("SELECT count(*) FROM shop_product", "SELECT count(*) FROM shop_event"):
            assert number(server, name, query) == number(server, STAGE, query) > 0
    assert target.one("SELECT what FROM leftover") == "of the last branch"

    assert json.loads(target.manage(*COPY, "--list-databases", "--json").stdout) == sorted(names)
    dropped = target.manage(*COPY, *(word for name in names for word in ("--drop-database", name)))
    assert dropped.returncode == 0, dropped.stderr
    assert dropped.stderr.splitlines() == [f'copy_stage_db: dropped "{name}"' for name in sorted(names)]
    assert target.is_untouched()


def test_an_extension_that_only_a_superuser_may_create_stays_behind(target: Target) -> None:
    target.mark()
    done = target.manage(*COPY)
    assert 'extension "pg_stat_statements" stays behind' in done.stderr
    assert (
        target.one("SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension") == "citext,plpgsql"
    )


def test_passwords_are_never_in_the_arguments_of_a_tool(
    target: Target, client: Callable[[str], str], tmp_path: Path
) -> None:
    target.mark()
    path = client(f'echo "$@" >> {tmp_path}/argv\nexec $REAL "$@"\n')
    done = target.manage(*COPY, PATH=path)
    assert done.returncode == 0, done.stderr
    argv = (tmp_path / "argv").read_text()
    assert "--no-owner" in argv
    assert READER_PASSWORD not in argv


# Cut after a row in the middle of the largest table: what was read so far is valid SQL up to there.
HALF = """
    case "$1" in --version) exec $REAL --version;; esac
    $REAL "$@" | head -n 1500
"""


def test_a_dump_that_breaks_off_leaves_the_target_as_it_was(
    target: Target, client: Callable[[str], str]
) -> None:
    target.mark()
    done = target.manage(
        *COPY, PATH=client(HALF + '\necho "pg_dump: error: the server went away" >&2; exit 1\n')
    )
    assert "pg_dump of the source failed: the server went away" in only_error(done, 4)
    assert target.is_untouched()


def test_a_dump_that_cannot_be_restored_leaves_the_target_as_it_was(
    target: Target, client: Callable[[str], str]
) -> None:
    target.mark()
    # An object of the target's server that the source's knows under this name only.
    path = client(
        'case "$1" in --version) exec $REAL --version;; esac\n'
        '$REAL "$@"; for word in "$@"; do case "$word" in --file=*)\n'
        'sed -i "s/LANGUAGE sql/LANGUAGE sqm/" "${word#--file=}";; esac; done\n'
    )
    error = only_error(target.manage(*COPY, PATH=path), 4)
    assert 'the schema could not be restored: function public.twice(integer): language "sqm"' in error
    assert target.is_untouched()


@pytest.mark.nightly
def test_a_copy_that_is_killed_leaves_the_target_and_the_next_one_cleans_up(
    target: Target, client: Callable[[str], str], tmp_path: Path
) -> None:
    target.mark()
    path = client(HALF + f"\ntouch {tmp_path}/half; exec sleep 30\n")
    copying = target.demo.start(*COPY, DATABASE_URL=target.url, PATH=path)
    while not (tmp_path / "half").exists():
        assert copying.poll() is None
        time.sleep(0.02)
    copying.send_signal(signal.SIGKILL)
    copying.wait()
    assert copying.stdout
    copying.stdout.close()
    assert target.one("SELECT what FROM leftover") == "of the last branch"
    done = target.manage(*COPY)
    assert done.returncode == 0, done.stderr
    assert target.one("SELECT count(*) FROM shop_product") == 500
    assert target.beside() == []


def test_connections_are_let_in_again_after_a_copy_that_was_killed_while_it_kept_them_out(
    target: Target,
) -> None:
    target.mark()
    target.server.run(f"ALTER DATABASE {target.name} ALLOW_CONNECTIONS false")
    done = target.manage(*COPY, STAGE_DATABASE_URL=target.server.url(READER, READER_PASSWORD, STAGE))
    assert done.returncode == 0, done.stderr
    assert target.one("SELECT count(*) FROM shop_product") == 500


def test_every_flag_has_help_that_tells_its_default() -> None:
    django_s = {action.dest for action in BaseCommand().create_parser("manage.py", "any")._actions}
    parser = Command().create_parser("manage.py", "copy_stage_db")
    helps = {action.dest: action.help or "" for action in parser._actions if action.dest not in django_s}
    assert sorted(helps) == [
        *("allow_writable_source", "confirm", "drop_database", "drop_own_database", "fresh", "jobs", "json"),
        *("list_databases", "mark_disposable", "plan", "require_mask", "test_user", "verify"),
    ]
    assert [dest for dest, text in helps.items() if "(default: " not in text] == []
    assert "Example: " in parser.description


def test_the_app_runs_without_the_tasks_and_the_sandbox(demo: Project) -> None:
    assert not {"scripts", "tasks.py"} & {path.name for path in demo.home.iterdir()}
    done = demo.manage(*COPY, "--help", DATABASE_URL="postgres://a:b@127.0.0.1:1/c")
    assert done.returncode == 0, done.stderr
