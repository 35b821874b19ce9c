from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from django_testenv.stage_copy import branches, disposable_registry, engine, swap
from django_testenv.stage_copy.disposable_registry import COPYING, REPLACED
from django_testenv.stage_copy.problems import Failed, Misconfigured, Refused
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, run_command

if TYPE_CHECKING:
    from pathlib import Path

    from django_testenv.stage_copy.database import Connection, Database
    from django_testenv.stage_copy.model import Moved, Progress
    from django_testenv.stage_copy.options import Options

PATIENCE = 60  # seconds after which something counts as never happening
STAGE = "branches_stage"
SUFFIX = "_feature_x_1a2b3c4"
EVERY_DATABASE = """SELECT oid::int, datname::text, datallowconn, shobj_description(oid, 'pg_database')
    FROM pg_database ORDER BY 1"""
WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def staging(copies: Copies) -> None:
    copies.make_source(
        STAGE,
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE)",
        "INSERT INTO person SELECT n, n || '@example.com' FROM generate_series(1, 200) n",
    )


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


@pytest.fixture
def unmarked(copies: Copies, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shared:
    made = Shared(copies, f"branches{next(numbers)}x", monkeypatch, capsys)
    made.make(made.name)
    return made


@pytest.fixture
def shared(unmarked: Shared) -> Shared:
    with unmarked.connect() as server:
        disposable_registry.mark(server, unmarked.name)
    return unmarked


@pytest.mark.parametrize(
    "words",
    [(), ("--fresh",), ("--plan",), ("--list-databases",), ("--drop-database", "{branch}"),
     ("--mark-disposable", "{shared}", "--confirm", "{shared}")],
)  # fmt: skip
def test_settings_that_ignore_the_suffix_are_refused_whatever_is_asked(
    shared: Shared, words: tuple[str, ...]
) -> None:
    assert shared.run(SUFFIX) == 0
    names = {"branch": shared.name + SUFFIX, "shared": shared.name}
    filled = [word.format(**names) for word in words]
    assert shared.refused(SUFFIX, *filled, target=shared.name) == (
        f'the settings ignore DATABASE_SUFFIX, which is "{SUFFIX}": the default database is "{shared.name}", '
        'so two branches would share one database: append it to DATABASES["default"]["NAME"]'
    )


def test_a_name_that_is_nothing_but_the_suffix_is_refused(shared: Shared) -> None:
    assert "the settings ignore DATABASE_SUFFIX" in shared.refused(SUFFIX, target=SUFFIX)


@pytest.mark.parametrize("suffix", ["x", "_", "-x", "_a-b", "_a b", "_a\n", "_é", "_a;--", '_"'])
def test_a_suffix_that_is_none_is_a_settings_error(shared: Shared, suffix: str) -> None:
    before = shared.server()
    assert shared.run(suffix) == Misconfigured.exit_code
    assert shared.server() == before
    assert shared.err == (
        f"CommandError: DATABASE_SUFFIX is {suffix!r}: it must begin with _ and hold nothing but letters, "
        "digits and _\n"
    )


SPARED = {"golden": {"max_age": "2h", "spare": True}}


@pytest.mark.parametrize(
    ("setting", "ways"),
    [
        ({}, {"copied"}),
        ({"golden": {"max_age": "2h"}}, {"cloned"}),
        (SPARED, {"cloned", "spare"}),
    ],
    ids=["none", "golden copy", "spare clone"],
)
def test_a_branchs_database_that_is_not_there_is_marked_made_and_kept_for_its_release(
    shared: Shared, tmp_path: Path, setting: dict[str, object], ways: set[str]
) -> None:
    (tmp_path / "release.json").write_text('{"deploy": "one"}')
    setting = {**setting, "mask_key": shared.name, "release_file": str(tmp_path / "release.json")}
    found = set()
    for suffix in ("_a", "_b"):
        assert shared.run(suffix, "--json", setting=setting) == 0
        receipt = json.loads(shared.out)
        assert receipt["target"] == shared.name + suffix
        found.add(receipt["how"])
        last = shared.err.splitlines()[-1]
        assert last == f'copy_stage_db: data of {receipt["copied_at"]} in "{shared.name}{suffix}"'
        if setting.get("golden") == SPARED["golden"]:
            wait_for(shared, r"datname ~ 'stage_copy_golden_.*_spare_' AND NOT datallowconn")
    assert found == ways
    assert shared.databases() == [f"{shared.name}_a", f"{shared.name}_b"]
    assert shared.marks() == {
        shared.name: None, f"{shared.name}_a": shared.name, f"{shared.name}_b": shared.name
    }  # fmt: skip
    shared.copies.target_server.run("DELETE FROM person WHERE id > 7", database=f"{shared.name}_a")
    assert shared.run("_a", "--json", setting=setting) == 0
    assert json.loads(shared.out)["how"] == "kept"
    assert (shared.persons("_a"), shared.persons("_b")) == (7, 200)
    assert shared.run("_a", "--fresh", "--json", setting=setting) == 0
    assert json.loads(shared.out)["how"] == ("copied" if found == {"copied"} else "cloned")
    assert shared.persons("_a") == 200


def wait_for(shared: Shared, condition: str) -> None:
    query = f"SELECT 1 FROM pg_database WHERE {condition}"
    deadline = time.monotonic() + PATIENCE
    while not shared.copies.rows(shared.copies.target_server, "postgres", query):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_branchs_database_that_is_there_and_carries_no_mark_is_refused(shared: Shared) -> None:
    name = shared.name + SUFFIX
    shared.make(name)
    shared.copies.target_server.run("CREATE TABLE precious ()", database=name)
    assert shared.refused(SUFFIX).startswith(f'database "{name}" carries no disposable mark')
    assert shared.run(SUFFIX, "--mark-disposable", name, "--confirm", name) == 0
    assert shared.marks()[name] == shared.name
    assert shared.run(SUFFIX) == 0
    assert shared.persons(SUFFIX) == 200


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE precious ()",
        "CREATE VIEW precious AS SELECT 1",
        "CREATE SEQUENCE precious",
        "CREATE TYPE precious AS ENUM ('a')",
        "CREATE FUNCTION precious() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine; CREATE TABLE mine.precious ()",
    ],
)
def test_a_branchs_database_with_anything_in_it_and_no_mark_is_refused(shared: Shared, made: str) -> None:
    shared.make(shared.name + SUFFIX)
    shared.copies.target_server.run(made, database=shared.name + SUFFIX)
    assert "carries no disposable mark" in shared.refused(SUFFIX)


@pytest.mark.parametrize("made", ["SELECT 1", "CREATE EXTENSION citext", "CREATE SCHEMA mine"])
def test_one_that_reset_db_has_just_made_empty_is_marked_and_filled(shared: Shared, made: str) -> None:
    shared.make(shared.name + SUFFIX)
    shared.copies.target_server.run(made, database=shared.name + SUFFIX)
    assert shared.run(SUFFIX) == 0
    assert shared.persons(SUFFIX) == 200
    assert shared.marks()[shared.name + SUFFIX] == shared.name


def test_a_branchs_own_database_is_dropped_and_the_shared_one_never_is(shared: Shared) -> None:
    assert shared.run("_a") == shared.run("_b") == 0
    assert shared.run("_a", "--drop-own-database") == 0
    assert f'dropped "{shared.name}_a"' in shared.err
    assert shared.databases() == [f"{shared.name}_b"]
    assert shared.run("_a", "--drop-own-database") == 0
    assert "was not there" in shared.err
    assert "which is only ever copied afresh" in shared.refused("", "--drop-own-database")


def test_beside_a_shared_database_without_a_mark_none_is_made(unmarked: Shared) -> None:
    name = unmarked.name
    assert unmarked.refused(SUFFIX) == (
        f'database "{name}{SUFFIX}" is not made, since the shared one, "{name}", carries no disposable mark: '
        f'if everything in "{name}" may go, run without DATABASE_SUFFIX: '
        f"python manage.py copy_stage_db --mark-disposable {name} --confirm {name}"
    )
    assert unmarked.marks() == {}


def test_without_a_suffix_nothing_is_marked_by_a_copy(shared: Shared) -> None:
    absent = f"{shared.name}_absent"
    assert "carries no disposable mark" in shared.refused("", target=absent)
    assert shared.marks() == {shared.name: None}


@pytest.mark.parametrize("suffix", ["_fix_staging_1a2b3c4", "_live", "_Prod_2", "_postgres"])
def test_a_branch_may_be_about_what_is_protected(shared: Shared, suffix: str) -> None:
    assert shared.run(suffix) == 0
    assert shared.persons(suffix) == 200


@pytest.mark.parametrize(
    ("suffix", "why"),
    [
        (COPYING, "are those of copies under way"),
        (f"_a{REPLACED}", "are those of copies under way"),
        ("_" + "a" * 50, "its name is too long: use 54 bytes at most"),
    ],
)
def test_a_name_that_copies_need_or_that_is_too_long_for_them_is_refused(
    shared: Shared, suffix: str, why: str
) -> None:
    name = shared.name + suffix
    error = shared.refused(suffix)
    assert error.startswith(f'database "{name}" is not marked: ')
    assert why in error


def test_a_branch_whose_copy_needs_a_name_that_is_taken_is_refused(shared: Shared) -> None:
    shared.make(f"{shared.name}{SUFFIX}{COPYING}")
    assert f'copies need the name "{shared.name}{SUFFIX}{COPYING}", which exists' in shared.refused(SUFFIX)


@pytest.fixture
def newcomer(copies: Copies) -> Callable[[], contextlib.closing[psycopg.Connection[tuple[Any, ...]]]]:
    """Opens sessions of a role that has marked nothing yet."""
    role = f"newcomer{next(numbers)}"
    copies.target_server.create_role(role, PASSWORD, "CREATEDB")
    return lambda: contextlib.closing(copies.target_server.connect(role=role, password=PASSWORD))


def test_marks_that_are_made_at_once_are_all_there(
    newcomer: Callable[[], contextlib.closing[Connection]],
) -> None:
    sessions, each = 8, 6
    barrier = threading.Barrier(sessions)

    def mark(session: int) -> None:
        with newcomer() as server:
            barrier.wait(PATIENCE)
            for number in range(each):
                disposable_registry.mark(
                    server, f"one{session}n{number}_x", suffix="_x" if number % 2 else ""
                )
                if number % 3 == 2:
                    disposable_registry.unmark(server, f"one{session}n{number}_x")

    with ThreadPoolExecutor(sessions) as pool:
        list(pool.map(mark, range(sessions)))
    with newcomer() as server:
        found = disposable_registry.read(server)
    left = [(session, number) for session in range(sessions) for number in range(each) if number % 3 != 2]
    assert found.disposable == {f"one{session}n{number}_x" for session, number in left}
    assert found.branches == {
        f"one{session}n{number}_x": f"one{session}n{number}" for session, number in left if number % 2
    }


@pytest.mark.parametrize(
    "comment", ["no JSON", "[]", '{"disposable": 5}', '{"disposable": ["{name}"], "branches": []}']
)
def test_a_registry_that_cannot_be_read_marks_nothing(
    newcomer: Callable[[], contextlib.closing[Connection]], comment: str
) -> None:
    with newcomer() as server:
        disposable_registry.mark(server, "readable")
        server.execute(f"COMMENT ON DATABASE stage_copy_marks_{server.info.user} IS '{comment}'".encode())
        assert disposable_registry.read(server) == disposable_registry.Marks()


def test_marks_of_a_registry_from_before_branches_stay(
    newcomer: Callable[[], contextlib.closing[Connection]],
) -> None:
    with newcomer() as server:
        disposable_registry.mark(server, "older")
        comment = '{"disposable": ["older"]}'
        server.execute(f"COMMENT ON DATABASE stage_copy_marks_{server.info.user} IS '{comment}'".encode())
        disposable_registry.mark(server, "older_x", suffix="_x")
        assert disposable_registry.read(server) == disposable_registry.Marks(
            frozenset({"older", "older_x"}), {"older_x": "older"}
        )
        disposable_registry.mark(server, "older_x")  # by hand, as one that stands for itself
        assert disposable_registry.read(server) == disposable_registry.Marks(frozenset({"older", "older_x"}))


def test_branches_databases_are_dropped_with_their_marks_and_what_copies_left_beside_them(
    shared: Shared,
) -> None:
    for suffix in ("_b", "_a", "_stays"):
        assert shared.run(suffix) == 0
    for rest in (COPYING, REPLACED):
        shared.make(f"{shared.name}_a{rest}")
    names = [f"{shared.name}{suffix}" for suffix in ("_b", "_gone", "_a", "_b")]
    assert shared.run("_stays", *shared.drop(*names)) == 0
    assert shared.out == ""
    assert shared.err == (
        f'copy_stage_db: dropped "{shared.name}_a"\n'
        f'copy_stage_db: dropped "{shared.name}_b"\n'
        f'copy_stage_db: "{shared.name}_gone" was not there\n'
    )
    assert shared.databases() == [f"{shared.name}_stays"]
    assert shared.marks() == {shared.name: None, f"{shared.name}_stays": shared.name}
    assert shared.run("", "--json", *shared.drop(*names[2:])) == 0
    assert json.loads(shared.out) == [
        {"database": f"{shared.name}_a", "dropped": False},
        {"database": f"{shared.name}_b", "dropped": False},
    ]
    assert shared.run("_a") == 0
    assert shared.persons("_a") == 200


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{0}", "is the shared database itself: only branches' are dropped"),
        ("{0}x", "is not the name of a branch's database"),
        ("{0}_", "is not the name of a branch's database"),
        ("", "is not the name of a branch's database"),
        ("postgres", "is not the name of a branch's database"),
        ("{0}_a\nb", "is not the name of a branch's database"),
        ('{0}_a"', "is not the name of a branch's database"),
        ("{0}_unmarked", "carries no disposable mark"),
        (f"{{0}}{COPYING}", "carries no disposable mark"),
        (f"{{0}}_good{COPYING}", "carries no disposable mark"),
        ("{0}_project", "is disposable, but not marked as a branch's"),
        ("{0}_project_b", "is disposable, but not marked as a branch's"),
        ("{0}_theirs", "belongs to rdsadmin, and tester may not drop it"),
        ("{0}_half", f'_half{REPLACED}" belongs to rdsadmin, and tester may not drop it'),
    ],
)
def test_what_is_no_branchs_database_is_not_dropped_and_no_other_is(
    shared: Shared, name: str, why: str
) -> None:
    for suffix in ("_good", "_theirs", "_half"):
        assert shared.run(suffix) == 0
    for suffix in ("_unmarked", COPYING, f"_good{COPYING}", "_project", "_project_b"):
        shared.make(shared.name + suffix)
    shared.copies.target_server.run(f"ALTER DATABASE {shared.name}_theirs OWNER TO rdsadmin")
    shared.make(f"{shared.name}_half{REPLACED}", owner="rdsadmin")
    with shared.connect() as server:  # another project's database, and a branch's of it
        disposable_registry.mark(server, f"{shared.name}_project")
        disposable_registry.mark(server, f"{shared.name}_project_b", suffix="_b")
    wrong = name.format(shared.name)
    error = shared.refused("", *shared.drop(f"{shared.name}_good", wrong))
    assert json.dumps(wrong) in error or name == "{0}_half"
    assert why in error
    assert shared.run("", *shared.drop(f"{shared.name}_good")) == 0
    assert shared.err == f'copy_stage_db: dropped "{shared.name}_good"\n'
    assert f"{shared.name}_good" not in shared.databases()


def test_what_stands_beside_a_name_that_nobody_marked_is_not_ours_to_drop(shared: Shared) -> None:
    shared.make(f"{shared.name}_a{COPYING}")
    shared.make(f"{shared.name}_a{REPLACED}", owner="rdsadmin")
    before = shared.server()
    assert shared.run("", *shared.drop(f"{shared.name}_a")) == 0
    assert shared.err == f'copy_stage_db: "{shared.name}_a" was not there\n'
    assert shared.server() == before


def test_a_database_whose_service_comes_back_again_and_again_is_dropped(shared: Shared) -> None:
    assert shared.run("_a") == 0
    name, over, came_in = f"{shared.name}_a", threading.Event(), itertools.count()

    def serve() -> int:
        while not over.is_set():
            with (
                contextlib.suppress(psycopg.Error),
                shared.copies.target_server.connect(name, "tester", PASSWORD) as connection,
            ):
                next(came_in)
                while not over.is_set():
                    connection.execute("SELECT 1")
        return next(came_in)

    with ThreadPoolExecutor(3) as pool:
        serving = [pool.submit(serve) for _ in range(3)]
        try:
            deadline = time.monotonic() + PATIENCE
            sessions = f"SELECT count(*) >= 3 FROM pg_stat_activity WHERE datname = '{name}'"
            while shared.copies.rows(shared.copies.target_server, "postgres", sessions) != [(True,)]:
                assert time.monotonic() < deadline
            assert shared.run("", *shared.drop(name)) == 0
        finally:
            over.set()
        assert sum(one.result(PATIENCE) for one in serving) >= 3
    assert shared.databases() == []


def test_a_session_that_is_not_ours_to_end_keeps_the_database_its_mark_and_its_visitors(
    shared: Shared,
) -> None:
    assert shared.run("_a") == 0
    name, server = f"{shared.name}_a", shared.copies.target_server
    visitor = f"visitor{next(numbers)}"
    server.create_role(visitor, PASSWORD)
    with server.connect(name, visitor, PASSWORD) as visiting:
        assert shared.run("", *shared.drop(name)) == Failed.exit_code
        assert shared.err == (
            f'CommandError: database "{name}" was not dropped: database "{name}" is being accessed by other '
            "users: run it again\n"
        )
        assert visiting.execute("SELECT 1").fetchone() == (1,)
    assert shared.persons("_a") == 200
    assert shared.marks()[name] == shared.name
    assert shared.run("", *shared.drop(name)) == 0


@pytest.mark.parametrize(
    "statement", ["ALTER DATABASE {shared} ALLOW_CONNECTIONS false", "DROP DATABASE {shared}"]
)
def test_the_shared_database_need_not_be_reachable(shared: Shared, statement: str) -> None:
    shared.copies.target_server.run(statement.format(shared=shared.name))
    assert shared.run("_a") == 0
    assert shared.run("", "--list-databases", "--json") == 0
    assert json.loads(shared.out) == [f"{shared.name}_a"]
    assert shared.run("", *shared.drop(f"{shared.name}_a")) == 0
    assert shared.databases() == []


def test_a_drop_waits_for_the_copy_that_is_under_way(shared: Shared) -> None:
    name = f"{shared.name}_a"
    begun, waiting = threading.Event(), threading.Event()

    def fill(source: Database, target: Database, options: Options, progress: Progress) -> Moved:
        begun.set()
        assert waiting.wait(PATIENCE)
        return engine.fill(source, target, options, progress)

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        waiting.set()

    with shared.connect() as server, ThreadPoolExecutor() as pool:
        branches.claim(server, shared.target("_a"), "_a")
        copying = pool.submit(Attempt(shared.copies, STAGE, name, fill=fill).run)
        assert begun.wait(PATIENCE) or copying.result()
        assert branches.drop(server, shared.name, [name], say) == {name: True}
        assert copying.result().how == "copied"
    assert said == [f'a copy into "{name}" is running: waiting for it', f'dropped "{name}"']
    assert shared.databases() == []


def test_a_copy_that_waited_for_a_drop_marks_its_database_anew(shared: Shared) -> None:
    name = f"{shared.name}_a"
    assert shared.run("_a") == 0
    with shared.connect() as server, ThreadPoolExecutor() as pool:
        with swap.locked(server, name, waiting=lambda: None):  # as a drop has it
            copying = pool.submit(shared.run, "_a")
            deadline = time.monotonic() + PATIENCE
            while not shared.copies.rows(shared.copies.target_server, "postgres", WAITING):
                assert time.monotonic() < deadline
                assert not copying.done()
                time.sleep(0.01)
            branches.drop(server, shared.name, [name], lambda _: None)
        assert copying.result() == 0
    assert shared.marks()[name] == shared.name
    assert shared.run("_a") == 0


def test_two_drops_of_the_same_databases_at_once_never_wait_for_each_other(shared: Shared) -> None:
    names = [f"{shared.name}_a", f"{shared.name}_b"]
    with shared.connect() as server:
        for name in names:
            disposable_registry.mark(server, name, suffix=name.removeprefix(shared.name))
            shared.make(name)

    def drop(order: list[str], waiting: threading.Event) -> dict[str, bool]:
        with shared.connect() as session:
            return branches.drop(session, shared.name, order, lambda _: waiting.set())

    dropping = []
    with shared.connect() as server, ThreadPoolExecutor() as pool:
        with swap.locked(server, names[0], waiting=lambda: None):
            for order in (names, names[::-1]):
                dropping.append(pool.submit(drop, order, waiting := threading.Event()))
                assert waiting.wait(PATIENCE)
        # Whichever comes first, each database is dropped once.
        ended = [set(one.result(PATIENCE).values()) for one in dropping]
        assert sorted(ended, key=list) == [{False}, {True}]
    assert shared.databases() == []


def test_the_list_names_the_branches_databases_that_are_there_and_no_others(shared: Shared) -> None:
    assert shared.run("", "--list-databases") == 0
    assert (shared.out, shared.err) == ("", "copy_stage_db: databases []\n")
    setting = {**SPARED, "mask_key": shared.name}
    for suffix in ("_b", "_a"):
        assert shared.run(suffix, setting=setting) == 0
    for suffix in ("_unmarked", "_project", f"_a{COPYING}", REPLACED):
        shared.make(shared.name + suffix)
    with shared.connect() as server:
        disposable_registry.mark(server, f"{shared.name}_project")
        disposable_registry.mark(server, f"{shared.name}_project_b", suffix="_b")
        disposable_registry.mark(server, f"{shared.name}_absent", suffix="_absent")
    wanted = [f"{shared.name}_a", f"{shared.name}_b"]
    for suffix in ("", "_b", "_new"):
        assert shared.run(suffix, "--list-databases") == 0
        assert shared.out == ""
        assert shared.err == f"copy_stage_db: databases {json.dumps(wanted)}\n"
    assert shared.run("", "--list-databases", "--json") == 0
    assert shared.out == f"{json.dumps(wanted)}\n"
    assert shared.err == f"copy_stage_db: databases {json.dumps(wanted)}\n"


def test_what_a_killed_first_copy_of_a_branch_left_is_listed_and_dropped(shared: Shared) -> None:
    with shared.connect() as server:
        branches.claim(server, shared.target("_a"), "_a")
    shared.make(f"{shared.name}_a{COPYING}")
    assert shared.run("", "--list-databases", "--json") == 0
    assert json.loads(shared.out) == [f"{shared.name}_a"]
    assert shared.run("", *shared.drop(f"{shared.name}_a")) == 0
    assert shared.databases() == []
    assert shared.marks() == {shared.name: None}


@pytest.mark.parametrize("words", [("--plan",), ("--mark-disposable", "x", "--confirm", "x")])
def test_a_drop_and_something_else_at_once_are_not_understood_and_nothing_is_done(
    shared: Shared, words: tuple[str, ...]
) -> None:
    assert shared.run("_a") == 0
    before = shared.server()
    assert shared.run("_a", *words, *shared.drop(f"{shared.name}_a")) == 2
    assert "not allowed with argument" in shared.err
    assert shared.server() == before


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ctrl-C, when the drop of the second database begins."""
    calls = itertools.count()
    really = disposable_registry.unmark

    def unmark(connection: Connection, name: str) -> None:
        if next(calls):
            raise KeyboardInterrupt
        really(connection, name)

    monkeypatch.setattr(disposable_registry, "unmark", unmark)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("interrupting")
def test_an_interrupted_drop_says_what_it_dropped_and_the_next_one_does_the_rest(shared: Shared) -> None:
    names = [f"{shared.name}_a", f"{shared.name}_b"]
    for suffix in ("_a", "_b"):
        assert shared.run(suffix) == 0
    assert shared.run("", *shared.drop(*names)) == 130
    assert shared.err == (
        f'copy_stage_db: dropped "{names[0]}"\ncopy_stage_db: interrupted: run it again for the rest\n'
    )
    assert list(shared.marks()) == [shared.name, names[1]]


def test_a_drop_goes_on_where_one_was_killed(shared: Shared) -> None:
    name = f"{shared.name}_a"
    assert shared.run("_a") == 0
    shared.copies.target_server.run(f"DROP DATABASE {name}")  # the mark goes last
    shared.make(f"{name}{REPLACED}")
    assert shared.run("", *shared.drop(name)) == 0
    assert shared.err == f'copy_stage_db: "{name}" was not there\n'
    assert shared.databases() == []
    assert list(shared.marks()) == [shared.name]
