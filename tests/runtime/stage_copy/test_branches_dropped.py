"""Branches' databases are listed and dropped, and no other database is."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from django_testenv.stage_copy import branches, disposable_registry, engine, swap
from django_testenv.stage_copy.disposable_registry import COPYING, REPLACED
from django_testenv.stage_copy.problems import Failed
from tests.runtime.stage_copy.branches import PATIENCE, SPARED, STAGE, Shared, numbers
from tests.runtime.stage_copy.copies import PASSWORD, Attempt

if TYPE_CHECKING:
    from django_testenv.stage_copy.database import Connection, Database
    from django_testenv.stage_copy.model import Moved, Progress
    from django_testenv.stage_copy.options import Options

pytestmark = pytest.mark.usefixtures("staging")

WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


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


NOT_DROPPED = [
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
]


def test_what_is_no_branchs_database_is_not_dropped_and_no_other_is(shared: Shared) -> None:
    for suffix in ("_good", "_theirs", "_half"):
        assert shared.run(suffix) == 0
    for suffix in ("_unmarked", COPYING, f"_good{COPYING}", "_project", "_project_b"):
        shared.make(shared.name + suffix)
    shared.copies.target_server.run(f"ALTER DATABASE {shared.name}_theirs OWNER TO rdsadmin")
    shared.make(f"{shared.name}_half{REPLACED}", owner="rdsadmin")
    with shared.connect() as server:  # another project's database, and a branch's of it
        disposable_registry.mark(server, f"{shared.name}_project")
        disposable_registry.mark(server, f"{shared.name}_project_b", suffix="_b")
    for name, why in NOT_DROPPED:
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
