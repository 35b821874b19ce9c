"""A branch's database is marked, made and filled beside the shared one, or refused."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from django_testenv.stage_copy import disposable_registry
from django_testenv.stage_copy.disposable_registry import COPYING, REPLACED
from django_testenv.stage_copy.problems import Misconfigured
from tests.runtime.stage_copy.branches import PATIENCE, SPARED, SUFFIX, Shared, numbers
from tests.runtime.stage_copy.copies import PASSWORD, Copies

if TYPE_CHECKING:
    from pathlib import Path

    from django_testenv.stage_copy.database import Connection

pytestmark = pytest.mark.usefixtures("staging")


def test_settings_that_ignore_the_suffix_are_refused_whatever_is_asked(shared: Shared) -> None:
    assert shared.run(SUFFIX) == 0
    marking = ("--mark-disposable", shared.name, "--confirm", shared.name)
    asked = [(), ("--fresh",), ("--plan",), ("--list-databases",), shared.drop(shared.name + SUFFIX), marking]
    for words in asked:
        assert shared.refused(SUFFIX, *words, target=shared.name) == (
            f'the settings ignore DATABASE_SUFFIX, which is "{SUFFIX}": the default database is '
            f'"{shared.name}", so two branches would share one database: append it to '
            'DATABASES["default"]["NAME"]'
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


def test_a_branchs_database_with_anything_in_it_and_no_mark_is_refused(shared: Shared) -> None:
    shared.make(shared.name + SUFFIX)
    for kind, made in {
        "TABLE": "precious ()",
        "VIEW": "precious AS SELECT 1",
        "SEQUENCE": "precious",
        "TYPE": "precious AS ENUM ('a')",
        "FUNCTION": "precious() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SCHEMA": "precious CREATE TABLE precious.precious ()",
    }.items():
        shared.copies.target_server.run(f"CREATE {kind} {made}", database=shared.name + SUFFIX)
        assert "carries no disposable mark" in shared.refused(SUFFIX)
        dropping = f"DROP {kind} precious CASCADE"
        shared.copies.target_server.run(dropping, database=shared.name + SUFFIX)


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


@pytest.mark.parametrize(
    "suffix",
    [
        "_fix_staging_1a2b3c4",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("_live", "_Prod_2", "_postgres")),
    ],
)
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
