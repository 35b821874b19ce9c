"""A whole copy: what it keeps, waits for and tells, and how it ends where a server or a row fails."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field

import psycopg
import pytest

from django_testenv.stage_copy import engine
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.disposable_registry import COPYING, REPLACED
from django_testenv.stage_copy.model import Moved, Progress
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, run_command
from tests.runtime.stage_copy.servers import postgres_server
from tests.runtime.stage_copy.transfers import (
    PATIENCE,
    Listener,
    beside,
    change,
    make_target,
    numbers,
    only_error,
    persons,
    require_untouched,
)

SHOP, FAILING, WIDE = "transfer_shop", "transfer_failing", "transfer_wide"
RELEASE = {"branch": "feature", "commit": "1234567", "deploy": "one"}
LIMIT = 17 << 20  # bytes; more than a segment of the write-ahead log, less than the rows of WIDE
BY = ("by_check", "by_function", "by_domain")  # what makes a row fail


@pytest.fixture(scope="module", autouse=True)
def sources(copies: Copies) -> None:
    copies.make_source(
        SHOP,
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE)",
        "INSERT INTO person SELECT n, n || '@example.com' FROM generate_series(1, 200) n",
        "CREATE TABLE item (id int PRIMARY KEY, owner int REFERENCES person)",
        "INSERT INTO item SELECT n, 1 + n % 200 FROM generate_series(1, 500) n",
        "CREATE TABLE kind (id int PRIMARY KEY)",
        "INSERT INTO kind VALUES (1), (2), (3)",
        "CREATE TABLE nothing_yet (id int PRIMARY KEY)",
    )
    in_the_copy = f"current_database() LIKE '%{COPYING}'"
    wide = "words text DEFAULT repeat('.', 900)"
    copies.make_source(
        FAILING,
        "CREATE FUNCTION fits(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {in_the_copy} AND $1 = 3000 THEN "
        "RAISE E'row % does not fit\\nhere', $1 USING ERRCODE = 'ZZ001'; END IF; RETURN true; END $$",
        f"CREATE DOMAIN even AS int CHECK (NOT {in_the_copy} OR value % 2 = 0)",
        f"CREATE TABLE by_check (id int, {wide}, CONSTRAINT small CHECK (NOT {in_the_copy} OR id < 3000))",
        f"CREATE TABLE by_function (id int CHECK (public.fits(id)), {wide})",
        f"CREATE TABLE by_domain (id even, {wide})",
        *(f"INSERT INTO {name} (id) SELECT n FROM generate_series(2, 4001) n" for name in BY),
    )
    copies.make_source(
        WIDE,
        "CREATE TABLE wide (id int PRIMARY KEY, words text NOT NULL)",
        "ALTER TABLE wide ALTER words SET STORAGE PLAIN",
        "INSERT INTO wide SELECT n, repeat(chr(97 + n % 26), 7000) FROM generate_series(1, 2500) n",
    )


@pytest.fixture(scope="module")
def own(copies: Copies) -> Iterator[Copies]:
    """The same source, and a target's server that may crash and change its settings."""
    with postgres_server(durable=True) as server:  # its autovacuum works
        server.create_role("tester", PASSWORD, "CREATEDB")
        yield Copies(copies.source_server, server)


@pytest.fixture
def target() -> str:
    """A name: the copy makes the database."""
    return f"transfer{next(numbers)}x"


@pytest.fixture(scope="module")
def spared(copies: Copies) -> str:
    """A target that stays as it is, since all copies into it fail."""
    return make_target(copies)


def test_a_task_that_starts_again_keeps_what_testers_changed_and_does_not_look_at_staging(
    copies: Copies, target: str
) -> None:
    first = Attempt(copies, SHOP, target, release=RELEASE).run()
    change(copies, target)
    changed = persons(copies, target)
    again = Attempt(copies, "no_such_database", target, release=dict(reversed(RELEASE.items())))
    assert again.would() == (
        f"The target keeps its data of {first.copied_at}: they were copied for this release."
    )
    kept = again.run()
    assert (kept.how, again.guards, again.fills) == ("kept", 0, 0)
    assert persons(copies, target) == changed != 200
    assert (kept.source, kept.copied_at) == (SHOP, first.copied_at)
    assert (kept.tables, kept.rows, kept.bytes) == (first.tables, first.rows, 0)
    assert kept.release == RELEASE


def test_what_testers_changed_gives_way_to_another_release_to_none_and_to_fresh(
    copies: Copies, target: str
) -> None:
    Attempt(copies, SHOP, target, release=RELEASE).run()
    another_deploy = {**RELEASE, "deploy": "two"}
    following = [(RELEASE, True), (another_deploy, False), (None, False), (None, False), (RELEASE, False)]
    for release, fresh in following:
        change(copies, target)
        again = Attempt(copies, SHOP, target, release=release)
        assert again.would(fresh=fresh) == f'Staging is copied into "{target}".'
        assert again.run(fresh=fresh).how == "copied", (release, fresh)
        assert (again.guards, again.fills) == (1, 1)
        assert persons(copies, target) == 200


@dataclass
class Two:
    """Two copies into one target; the first fills only when the second waits, and `pause` seconds longer."""

    first: Attempt
    second: Attempt
    pause: float = 0
    begun: threading.Event = field(default_factory=threading.Event)
    waiting: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.first.fill = self._fill
        self.second.told = Listener(said=self.waiting)

    def _fill(self, source: Database, target: Database, options: Options, progress: Progress) -> Moved:
        self.begun.set()
        assert self.waiting.wait(PATIENCE), "the second copy does not wait"
        time.sleep(self.pause)
        return engine.fill(source, target, options, progress)

    def run(self) -> list[str]:
        with ThreadPoolExecutor() as pool:
            first = pool.submit(self.first.run)
            assert self.begun.wait(PATIENCE) or first.result()
            second = pool.submit(self.second.run)
            return [one.result(PATIENCE).how for one in (first, second)]


@pytest.mark.parametrize(
    ("deploy", "how"), [("one", "kept"), ("two", "copied")], ids=["one release", "another release"]
)
def test_of_two_copies_at_once_the_second_waits_and_copies_only_for_another_release(
    copies: Copies, target: str, deploy: str, how: str
) -> None:
    first = Attempt(copies, SHOP, target, release=RELEASE)
    second = Attempt(copies, SHOP, target, release={**RELEASE, "deploy": deploy})
    assert Two(first, second).run() == ["copied", how]
    assert second.fills == (how == "copied")
    assert second.told.lines[0] == f'another copy into "{target}" is running: waiting for it'
    assert beside(copies, target) == ([] if how == "kept" else [target + REPLACED])  # for a roll-back
    assert Attempt(copies, SHOP, target, release=second.release).run().how == "kept"


def test_copies_into_two_targets_do_not_wait_for_each_other(copies: Copies, target: str) -> None:
    def fill(source: Database, into: Database, options: Options, progress: Progress) -> Moved:
        assert Attempt(copies, SHOP, f"{target}too").run().how == "copied"
        return engine.fill(source, into, options, progress)

    assert Attempt(copies, SHOP, target, fill=fill).run().how == "copied"


def test_no_timeout_of_the_targets_role_ends_a_copy_that_waits(own: Copies, target: str) -> None:
    server = own.target_server
    timeouts = ("statement_timeout", "lock_timeout", "idle_session_timeout", "transaction_timeout")
    server.run(*(f"ALTER ROLE tester SET {timeout} = '250ms'" for timeout in timeouts))
    try:
        first, second = (Attempt(own, SHOP, target, release=RELEASE) for _ in range(2))
        assert Two(first, second, pause=0.5).run() == ["copied", "kept"]
    finally:
        server.run("ALTER ROLE tester RESET ALL")


def test_no_timeout_of_the_sources_role_ends_a_copy(copies: Copies, target: str) -> None:
    """The source's COPY lasts longer than the timeout: its rows are not taken for a while."""
    copies.source_server.run("ALTER ROLE reader SET statement_timeout = '200ms'")
    try:
        told = Listener(at_rows=lambda: time.sleep(0.5))
        assert Attempt(copies, WIDE, target, told=told).run().rows == 2500
        assert told.at_rows is None
    finally:
        copies.source_server.run("ALTER ROLE reader RESET statement_timeout")


def test_a_role_of_three_connections_to_the_source_is_enough(copies: Copies, target: str) -> None:
    """Those of the guards, of the snapshot, and of pg_dump or one thread, whatever is skipped."""
    with copies.source_server.connect(SHOP, "owner", PASSWORD) as connection:
        connection.execute("CREATE TABLE closed (id int)")
    copies.source_server.run("ALTER ROLE reader CONNECTION LIMIT 3")
    try:
        setting = {"jobs": 1, "verify": True, "skip": ["table public.closed"]}
        assert Attempt(copies, SHOP, target, setting).run().rows == 703
    finally:
        copies.source_server.run("ALTER ROLE reader CONNECTION LIMIT -1")
        copies.source_server.run("DROP TABLE closed", database=SHOP)


def test_the_receipt_tells_what_was_copied_and_in_which_phases(copies: Copies, target: str) -> None:
    began = time.monotonic()
    receipt = Attempt(copies, SHOP, target, {"verify": True}, RELEASE).run()
    lasted = time.monotonic() - began
    names = ["item", "kind", "nothing_yet", "person"]
    counts = [copies.rows(copies.source_server, SHOP, f"SELECT count(*) FROM {name}")[0][0] for name in names]
    with copies.source_server.connect(SHOP) as connection, connection.cursor() as cursor:
        payload = 0
        for name in names:
            with cursor.copy(f"COPY {name} TO STDOUT (FORMAT BINARY)".encode()) as rows_:
                payload += sum(len(piece) for piece in rows_)
    assert (receipt.how, receipt.source, receipt.target) == ("copied", SHOP, target)
    assert (receipt.tables, receipt.rows) == (len(names), 703) == (len(counts), sum(map(int, counts)))
    assert receipt.bytes == payload
    assert receipt.release == RELEASE
    phases = dict(receipt.phases)
    total, clearing = phases.pop("until the target serves"), phases.pop("clearing up")
    assert list(phases) == [
        *("schema", "rows", "indexes and foreign keys", "verification", "the rest of the schema")
    ]
    assert all(seconds > 0 for seconds in phases.values())
    assert sum(phases.values()) < total == receipt.seconds <= lasted
    assert 0 <= clearing <= lasted - total + 0.001  # both are rounded
    assert asdict(receipt).keys() == {
        *(
            "source",
            "target",
            "how",
            "copied_at",
            "tables",
            "rows",
            "bytes",
            "seconds",
            "phases",
            "release",
            "left",
        )
    }


def test_autovacuum_at_work_in_the_target_is_in_nobodys_way(own: Copies) -> None:
    target, server = make_target(own), own.target_server
    at_work = f"""SELECT 1 FROM pg_stat_activity
        WHERE backend_type = 'autovacuum worker' AND datname = '{target}' AND query LIKE '%public.dead%'"""
    settings = {"naptime": "1s", "vacuum_cost_delay": "100ms", "vacuum_cost_limit": "1"}
    server.run(
        "CREATE TABLE dead AS SELECT n, repeat('.', 500) FROM generate_series(1, 20000) n",
        "DELETE FROM dead",
        database=target,
    )
    server.run(
        *(f"ALTER SYSTEM SET autovacuum_{name} = '{value}'" for name, value in settings.items()),
        "SELECT pg_reload_conf()",
    )

    def fill(source: Database, into: Database, options: Options, progress: Progress) -> Moved:
        moved = engine.fill(source, into, options, progress)
        deadline = time.monotonic() + PATIENCE
        while not own.rows(server, "postgres", at_work):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return moved

    try:
        assert Attempt(own, SHOP, target, fill=fill).run().how == "copied"
        assert beside(own, target) == []
    finally:
        server.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def test_what_a_killed_copy_left_is_dropped_although_the_data_stay_and_we_are_in_it(
    copies: Copies, target: str
) -> None:
    Attempt(copies, SHOP, target, release=RELEASE).run()
    with copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        for suffix in (COPYING, REPLACED):
            connection.execute(f"CREATE DATABASE {target}{suffix}".encode())
    with closing(copies.target_server.connect(target + COPYING, "tester", PASSWORD)) as left:
        left.execute("CREATE TABLE person AS SELECT 1 AS half")
        assert Attempt(copies, SHOP, target, release=RELEASE).run().how == "kept"
        with pytest.raises(psycopg.OperationalError):
            left.execute("SELECT 1")
    assert beside(copies, target) == []
    assert persons(copies, target) == 200


def test_a_target_that_is_closed_to_connections_is_opened_although_its_data_stay(
    copies: Copies, target: str
) -> None:
    Attempt(copies, SHOP, target, release=RELEASE).run()
    copies.target_server.run(f"ALTER DATABASE {target} ALLOW_CONNECTIONS false")
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        persons(copies, target)
    assert Attempt(copies, SHOP, target, release=RELEASE).run().how == "kept"
    assert persons(copies, target) == 200


def test_a_role_that_may_make_no_database_is_told_so(
    copies: Copies, spared: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copies.target_server.run("ALTER ROLE tester NOCREATEDB")
    try:
        assert run_command(copies, SHOP, spared, {}) == Failed.exit_code
    finally:
        copies.target_server.run("ALTER ROLE tester CREATEDB")
    assert only_error(capsys) == (
        f'cannot create database "{spared}{COPYING}" beside the target: permission denied to create database'
    )
    require_untouched(copies, spared)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ("by_check", 'new row for relation "by_check" violates check constraint "small"'),
        ("by_function", "check constraint by_function_id_check: a function of the project failed (ZZ001)"),
        ("by_domain", "value for domain public.even violates check constraint"),
    ],
)
def test_a_row_that_the_target_does_not_take_ends_the_copy_in_one_line(
    copies: Copies, spared: str, table: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [name for name in BY if name != table]
    assert run_command(copies, FAILING, spared, {"exclude_data": others}) == Failed.exit_code
    error = only_error(capsys)
    assert f"public.{table} could not be copied: " in error
    assert why in error
    require_untouched(copies, spared)


@pytest.mark.parametrize("end", ["statement", "session"])
def test_a_source_that_breaks_off_while_rows_flow_ends_the_copy_in_one_line(
    copies: Copies, spared: str, end: str
) -> None:
    ending = {"statement": "pg_cancel_backend", "session": "pg_terminate_backend"}[end]
    why = {
        "statement": "canceling statement due to user request",
        "session": "terminating connection|server closed the connection",  # it can say so, or could not
    }[end]
    query = f"SELECT {ending}(pid) FROM pg_stat_progress_copy WHERE datname = '{WIDE}'"
    ended: list[tuple[object, ...]] = []
    told = Listener(at_rows=lambda: ended.extend(copies.rows(copies.source_server, "postgres", query)))
    with pytest.raises(Failed) as raised:
        Attempt(copies, WIDE, spared, told=told).run()
    assert ended == [(True,)]
    said = str(raised.value)
    assert said.startswith("public.wide could not be copied: ")
    assert re.search(why, said)
    assert "\n" not in said
    require_untouched(copies, spared)


def test_a_target_that_has_no_room_ends_the_copy_in_one_line(
    own: Copies, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for a full disk: the server fails at the same place."""
    target, server = make_target(own), own.target_server
    server.limit_files(str(LIMIT))
    try:
        assert run_command(own, WIDE, target, {}) == Failed.exit_code
    finally:
        server.limit_files("unlimited")
    error = only_error(capsys)
    assert error.startswith("public.wide could not be copied: ")
    assert "could not extend file" in error
    require_untouched(own, target)
    assert run_command(own, WIDE, target, {}) == 0
    assert own.rows(server, target, "SELECT count(*) FROM wide") == [(2500,)]
