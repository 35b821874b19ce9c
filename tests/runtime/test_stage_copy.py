from __future__ import annotations

import contextlib
import itertools
import json
import signal
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.core.management.base import BaseCommand

from django_testenv.stage_copy import disposable_registry, guards
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.management.commands.copy_stage_db import Command
from tests.runtime.stage_copy.project import Project, project
from tests.runtime.stage_copy.servers import BIN, PostgresServer, postgres_server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

STAGE, OWNER, READER, TESTER = "staging", "stage_owner", "stage_reader", "tester"
OWNER_PASSWORD, READER_PASSWORD, PASSWORD = "owner-secret", "read:er/s@cret#", "tester-secret"
# In most tests each copy reads staging; the others have what the image has, a golden copy.
COPY_ONLY = "from demo.settings import *\ndel STAGE_COPY['golden']\n"
SHIPPED = {"DJANGO_SETTINGS_MODULE": "demo.settings"}
COPY = ("copy_stage_db",)
RESET = ("reset_db", "--noinput", "--close-sessions")

numbers = itertools.count(1)


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


def only_error(done: Any, code: int) -> str:
    """What a command that ended with `code` said: one line of error, no traceback, no password."""
    assert done.returncode == code, done.stdout + done.stderr
    said: list[str] = [line for line in done.stderr.splitlines() if line.startswith("CommandError: ")]
    assert len(said) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for password in (OWNER_PASSWORD, READER_PASSWORD, PASSWORD):
        assert password not in done.stdout + done.stderr
    return said[0]


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


def test_a_target_without_the_mark_is_refused(target: Target) -> None:
    error = only_error(target.manage(*COPY), 3)
    assert f"copy_stage_db --mark-disposable {target.name} --confirm {target.name}" in error
    assert target.is_untouched()


def test_the_mark_outlives_a_reset(target: Target) -> None:
    for _ in range(2):  # twice is fine
        done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
        assert done.returncode == 0, done.stderr
    assert target.manage(*RESET).returncode == 0
    assert target.manage(*COPY).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mark-disposable", "{name}"),
        ("--confirm", "{name}"),
        ("--mark-disposable", "{name}", "--confirm", "other"),
        ("--mark-disposable", "other", "--confirm", "other"),
        ("--mark-disposable", "", "--confirm", ""),
    ],
)
def test_a_mark_needs_the_targets_name_twice(target: Target, arguments: tuple[str, ...]) -> None:
    filled = [argument.format(name=target.name) for argument in arguments]
    assert "must both name the default database" in only_error(target.manage(*COPY, *filled), 3)
    assert "no disposable mark" in only_error(target.manage(*COPY), 3)


@pytest.mark.parametrize(
    "name", ["production", "Prod", "shop-live", "STAGE", "my_staging_2", "postgres", "proddb", "prd_main"]
)
def test_a_name_that_looks_protected_is_never_marked(target: Target, name: str) -> None:
    url = target.server.url(TESTER, PASSWORD, name)
    done = target.manage(*COPY, "--mark-disposable", name, "--confirm", name, DATABASE_URL=url)
    assert "is never thrown away" in only_error(done, 3)


def test_no_suffix_makes_a_branchs_database_of_productions(target: Target) -> None:
    name = f"{target.name}_production"
    flags = ("--mark-disposable", name, "--confirm", name)
    wanted = {"DATABASE_SUFFIX": "_production", "DATABASE_URL": target.url}
    error = only_error(target.manage(*COPY, *flags, **wanted), 3)
    assert f'the shared one, "{target.name}", carries no disposable mark' in error
    target.mark()
    done = target.manage(*COPY, *flags, **wanted)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("flags", "environment", "deployed", "said"),
    [
        ((), "production", {"deploy": "1", "environment": "production"}, "production"),
        (("--fresh",), "qa", {"deploy": "1", "environment": "test"}, 'was deployed to "test"'),
        (
            ("--mark-disposable", "{name}", "--confirm", "{name}"),
            "test",
            {"deploy": "1"},
            "was not deployed by",
        ),
        (("--drop-own-database",), "test", None, "was not deployed by"),
        (("--drop-database", "{name}_x"), "production", None, "production"),
    ],
)
def test_nothing_is_done_in_an_environment_that_the_image_was_not_deployed_to(
    target: Target, flags: tuple[str, ...], environment: str, deployed: dict[str, str] | None, said: str
) -> None:
    target.mark()
    suffix = "_x" if "--drop-own-database" in flags else ""
    variables = {"DATABASE_SUFFIX": suffix, "COPILOT_ENVIRONMENT_NAME": environment}
    with released(target.demo, deployed):
        done = target.manage(*COPY, *(flag.format(name=target.name) for flag in flags), **variables)
    assert said in only_error(done, 3)
    assert target.is_untouched()


def test_in_the_environment_that_the_image_was_deployed_to_the_mark_of_the_database_decides(
    target: Target,
) -> None:
    with released(target.demo, {"deploy": "1", "environment": "test"}):
        done = target.manage(*COPY, COPILOT_ENVIRONMENT_NAME="test")
        assert "no disposable mark" in only_error(done, 3)
        target.mark()
        done = target.manage(*COPY, COPILOT_ENVIRONMENT_NAME="test")
        assert done.returncode == 0, done.stderr
    listed = target.manage(*COPY, "--list-databases", COPILOT_ENVIRONMENT_NAME="production")
    assert listed.returncode == 0, listed.stderr


@contextlib.contextmanager
def released(demo: Project, deployed: dict[str, str] | None) -> Iterator[None]:
    """The project's image as a deploy has named it; without a name where None is said."""
    file = demo.home / "deployment.json"
    try:
        if deployed is not None:
            file.write_text(json.dumps(deployed))
        yield
    finally:
        file.unlink(missing_ok=True)


def test_somebody_elses_database_is_not_marked(target: Target) -> None:
    target.server.run(f"ALTER DATABASE {target.name} OWNER TO {OWNER}")
    done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
    assert f"it belongs to {OWNER}" in only_error(done, 3)


def test_a_name_that_copies_need_must_be_free_when_the_target_is_marked(target: Target) -> None:
    target.server.run(f"CREATE DATABASE {target.name}_copying")
    done = target.manage(*COPY, "--mark-disposable", target.name, "--confirm", target.name)
    assert f'need the name "{target.name}_copying"' in only_error(done, 3)


def test_a_registry_of_marks_that_another_role_wrote_is_refused(target: Target) -> None:
    server = target.server
    server.create_role("careless", PASSWORD, "CREATEDB")
    with server.connect(role=OWNER, password=OWNER_PASSWORD) as connection:
        connection.execute("CREATE DATABASE stage_copy_marks_careless")
        forged = json.dumps({"disposable": [target.name]})
        connection.execute(f"COMMENT ON DATABASE stage_copy_marks_careless IS '{forged}'")
    server.run(f"ALTER DATABASE {target.name} OWNER TO careless")
    done = target.manage(*COPY, DATABASE_URL=server.url("careless", PASSWORD, target.name))
    assert f"belongs to {OWNER}" in only_error(done, 3)


def test_a_target_that_is_the_source_is_refused(target: Target) -> None:
    target.mark()
    done = target.manage(*COPY, STAGE_DATABASE_URL=target.server.url(READER, READER_PASSWORD, target.name))
    assert "the target is the source" in only_error(done, 3)
    assert target.is_untouched()


def test_a_target_that_another_role_owns_is_refused_although_reset_db_only_logs_it(target: Target) -> None:
    target.mark()
    target.server.run(f"ALTER DATABASE {target.name} OWNER TO {OWNER}")
    assert "must be owner of database" in target.manage(*RESET).stdout
    assert f"belongs to {OWNER}, and {TESTER} may not replace it" in only_error(target.manage(*COPY), 3)


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        ("GRANT INSERT ON shop_order TO {role}", "may write to public.shop_order"),
        ("GRANT UPDATE (name) ON shop_customer TO {role}", "may write to public.shop_customer"),
        ("GRANT DELETE ON shop_event TO {role}", "may write to public.shop_event"),
        ("GRANT TRUNCATE ON shop_event TO {role}", "may write to public.shop_event"),
        ("GRANT INSERT ON reports.kinds TO {role}", "may write to reports.kinds"),
        ("GRANT CREATE ON SCHEMA public TO {role}", "may create in schema public"),
        ("GRANT CREATE ON DATABASE staging TO {role}", "may create schemas in this database"),
        (
            "GRANT USAGE ON SEQUENCE shop_order_id_seq TO {role}",
            "may advance sequence public.shop_order_id_seq",
        ),
        ("GRANT stage_owner TO {role} WITH INHERIT FALSE", "owns this database"),
        ("GRANT pg_write_all_data TO {role}", "acts as pg_write_all_data"),
        ("ALTER TABLE reports.mine OWNER TO {role}", "owns objects of this database"),
        ("ALTER ROLE {role} CREATEROLE", "may grant itself rights"),
        ("ALTER ROLE {role} SUPERUSER", "is superuser"),
    ],
)
def test_every_way_to_write_to_the_source_is_found(
    server: PostgresServer, demo: Project, grant: str, reason: str
) -> None:
    assert demo
    role = f"reader{next(numbers)}"
    server.create_role(role, PASSWORD)
    server.run("CREATE TABLE reports.mine ()", grant.format(role=role), database=STAGE)
    try:
        with server.connect(STAGE, role, PASSWORD) as connection:
            reasons = guards.writable_reasons(connection)
        assert any(reason in found for found in reasons), reasons
    finally:
        server.run("DROP TABLE reports.mine", f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=STAGE)


def test_a_role_that_may_only_read_is_found_harmless(server: PostgresServer, demo: Project) -> None:
    assert demo
    with server.connect(STAGE, READER, READER_PASSWORD) as connection:
        assert guards.writable_reasons(connection) == []


def test_a_source_that_could_be_written_to_is_refused_unless_the_override_is_named(target: Target) -> None:
    target.mark()
    url = target.server.url(OWNER, OWNER_PASSWORD, STAGE)
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL=url), 3)
    assert f'the role "{OWNER}" of the source could change staging' in error
    assert "--allow-writable-source" in error
    assert target.is_untouched()
    done = target.manage(*COPY, "--allow-writable-source", STAGE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "WARNING: --allow-writable-source" in done.stderr


def test_sessions_on_the_source_are_read_only_whatever_the_role_may_do(
    server: PostgresServer, demo: Project
) -> None:
    assert demo
    settings = {"NAME": STAGE, "USER": OWNER, "PASSWORD": OWNER_PASSWORD, "HOST": str(server.socket)}
    source = Database.from_django("stage", settings).read_only()
    with source.connect() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM shop_event")
    assert source.environment()["PGOPTIONS"] == "-c default_transaction_read_only=on"


def test_a_pg_dump_older_than_the_sources_server_is_refused(
    target: Target, client: Callable[[str], str]
) -> None:
    target.mark()
    done = target.manage(*COPY, PATH=client('echo "pg_dump (PostgreSQL) 13.4 (Debian 13.4-1)"\n'))
    error = only_error(done, 3)
    assert "it is version 13" in error
    assert "PostgreSQL 18" in error
    assert target.is_untouched()


def test_without_a_stage_database_the_variable_to_set_is_named(target: Target) -> None:
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL=""), 2)
    assert "set STAGE_DATABASE_URL" in error


@pytest.mark.parametrize("alias", ["default", "stage"])
def test_a_wrong_password_is_one_clear_line(target: Target, alias: str) -> None:
    target.mark()
    wrong = {
        "default": {"DATABASE_URL": target.server.url(TESTER, "wrong", target.name)},
        "stage": {"STAGE_DATABASE_URL": target.server.url(READER, "wrong", STAGE)},
    }[alias]
    error = only_error(target.manage(*COPY, **wrong), 4)
    assert f'DATABASES["{alias}"]' in error
    assert "password authentication failed" in error
    assert target.is_untouched()


def test_a_server_that_does_not_answer_is_one_clear_line(target: Target) -> None:
    target.mark()
    error = only_error(target.manage(*COPY, STAGE_DATABASE_URL="postgres://a:b@127.0.0.1:1/staging"), 4)
    assert "Connection refused" in error


def test_a_missing_pg_dump_says_what_to_install(target: Target, tmp_path: Path) -> None:
    target.mark()
    error = only_error(target.manage(*COPY, PATH=str(tmp_path)), 4)
    assert "pg_dump is not on PATH" in error
    assert "postgresql-client" in error


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
    assert 'the schema could not be restored: could not execute query: ERROR:  language "sqm"' in error
    assert target.is_untouched()


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
        *("list_databases", "mark_disposable", "plan", "require_mask", "verify"),
    ]
    assert [dest for dest, text in helps.items() if "(default: " not in text] == []
    assert "Example: " in parser.description


def test_the_app_runs_without_the_tasks_and_the_sandbox(demo: Project) -> None:
    assert not {"scripts", "tasks.py"} & {path.name for path in demo.home.iterdir()}
    done = demo.manage(*COPY, "--help", DATABASE_URL="postgres://a:b@127.0.0.1:1/c")
    assert done.returncode == 0, done.stderr
