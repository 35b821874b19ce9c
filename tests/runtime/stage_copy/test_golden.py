from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from django_testenv.stage_copy import copy_metadata, disposable_registry, engine
from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.disposable_registry import COPYING
from django_testenv.stage_copy.golden import PREFIX, SPARE, GoldenCopy
from django_testenv.stage_copy.model import Moved, Progress
from django_testenv.stage_copy.options import Options
from django_testenv.stage_copy.problems import Failed, Refused
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies, run_command

PATIENCE = 60  # seconds after which something counts as never happening
STAGE = "golden_stage"
numbers = itertools.count(1)


@pytest.fixture(scope="module", autouse=True)
def staging(copies: Copies) -> None:
    copies.make_source(
        STAGE,
        "CREATE TABLE marker (round int)",
        "INSERT INTO marker VALUES (0)",
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE)",
        "INSERT INTO person SELECT n, n || '@example.com' FROM generate_series(1, 200) n",
    )


@dataclass
class Project:
    """What a project's branches share: the options, and so the golden copy on the target's server."""

    copies: Copies
    setting: dict[str, Any]
    targets: Iterator[str] = field(default_factory=lambda: (f"golden{next(numbers)}x" for _ in iter(int, 1)))

    def branch(self) -> Attempt:
        """The copy of a branch that has no data yet."""
        release = {"branch": f"branch-{next(numbers)}", "commit": "1234567", "deploy": "one"}
        return Attempt(self.copies, STAGE, next(self.targets), self.setting, release)

    def with_setting(self, **setting: object) -> Project:
        return Project(self.copies, {**self.setting, **setting})

    @property
    def golden(self) -> str:
        """The name of the golden copy."""
        with self._server() as server:
            made = GoldenCopy.of(self._source(), server, Options.read(self.setting, key="made-up"))
        assert made
        return made.name

    def stamp(self) -> dict[str, Any] | None:
        with self._server() as server:
            return copy_metadata.of(server, self.golden)

    def grow_older(self, hours: float) -> None:
        """Let the golden copy have been made so long ago."""
        with self._server() as server:
            found = copy_metadata.of(server, self.golden)
            assert found
            copied_at = datetime.fromisoformat(found["copied_at"]) - timedelta(hours=hours)
            copy_metadata.write(server, self.golden, {**found, "copied_at": copied_at.isoformat()})

    def made(self) -> dict[str, tuple[bool, int]]:
        """The databases that begin with the golden copy's name: whether they let anybody in, and the oid."""
        query = (
            f"SELECT datname::text, datallowconn, oid::int FROM pg_database WHERE datname ~ '^{self.golden}'"
        )
        found = self.copies.rows(self.copies.target_server, "postgres", query)
        return {name: (allows, oid) for name, allows, oid in found}

    def spare(self) -> tuple[str, int]:
        """Wait for the server to have made the spare clone; its name and oid."""
        deadline = time.monotonic() + PATIENCE
        while not (found := [(name, oid) for name, (_, oid) in self.made().items() if SPARE in name]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return found[0]

    def _source(self) -> Database:
        return self.copies.database(STAGE, reader=True).read_only()

    def _server(self) -> closing[psycopg.Connection[tuple[Any, ...]]]:
        return closing(self.copies.database("postgres", reader=False).connect())


def new_project(copies: Copies, **golden: object) -> Project:
    return Project(copies, {"mask_key": str(next(numbers)), "golden": {"max_age": "2h", **golden}})


@pytest.fixture
def project(copies: Copies) -> Project:
    """One whose golden copy no other test's project has."""
    return new_project(copies)


def change_staging(copies: Copies) -> int:
    """Make the next copy of staging differ from those before; its round."""
    copies.source_server.run("UPDATE marker SET round = round + 1", database=STAGE)
    return one_number(copies.rows(copies.source_server, STAGE, "TABLE marker"))


def seen(attempt: Attempt) -> int:
    """The round of staging that a branch sees."""
    server = attempt.copies.target_server
    assert attempt.copies.rows(server, attempt.target, "SELECT count(*) FROM person") == [(200,)]
    return one_number(attempt.copies.rows(server, attempt.target, "TABLE marker"))


def one_number(rows: list[tuple[Any, ...]]) -> int:
    [(number,)] = rows
    return int(number)


def test_the_first_branch_copies_staging_and_the_others_are_cloned_without_a_look_at_its_tables(
    copies: Copies, project: Project
) -> None:
    number = change_staging(copies)
    first, second = project.branch(), project.branch()
    assert first.would() == f'Staging is copied into the golden copy, and "{first.target}" cloned from that.'
    copied = first.run()
    assert (copied.how, first.guards, first.fills) == ("cloned", 1, 1)
    assert copied.bytes > 0
    assert second.would() == f'"{second.target}" is cloned of the golden copy, which is 0.0 hours old.'
    copies.source_server.run("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM reader", database=STAGE)
    try:
        cloned = second.run()
    finally:
        copies.source_server.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=STAGE)
    assert (cloned.how, second.guards, second.fills) == ("cloned", 1, 0)
    assert (cloned.copied_at, cloned.rows, cloned.tables) == (copied.copied_at, 201, 2)
    assert cloned.bytes == 0
    change_staging(copies)
    assert seen(first) == seen(second) == number
    assert second.run().how == "kept"
    assert second.guards == 1


def test_a_branchs_changes_reach_neither_the_golden_copy_nor_another_branch(project: Project) -> None:
    first, second = project.branch(), project.branch()
    first.run()
    first.copies.target_server.run("DELETE FROM person", database=first.target)
    second.run()
    seen(second)


def test_a_golden_copy_that_is_too_old_is_refreshed_and_one_that_is_not_stays(
    copies: Copies, project: Project
) -> None:
    project.branch().run()
    number = change_staging(copies)
    project.grow_older(hours=1.9)
    before = project.branch()
    assert "which is 1.9 hours old" in before.would()
    before.run()
    assert (before.fills, seen(before)) == (0, number - 1)
    project.grow_older(hours=0.2)
    after = project.branch()
    assert after.would() == f'Staging is copied into the golden copy, and "{after.target}" cloned from that.'
    assert after.run().how == "cloned"
    assert (after.fills, seen(after)) == (1, number)
    assert list(project.made()) == [project.golden]


def test_fresh_refreshes_the_golden_copy_for_all(copies: Copies, project: Project) -> None:
    first, second = project.branch(), project.branch()
    first.run()
    number = change_staging(copies)
    assert first.run(fresh=True).how == "cloned"
    assert (first.fills, seen(first)) == (2, number)
    second.run()
    assert (second.fills, seen(second)) == (0, number)


def test_of_two_branches_at_once_one_makes_the_golden_copy_and_the_other_waits_for_it(
    project: Project,
) -> None:
    begun, waiting = threading.Event(), threading.Event()

    def fill(source: Database, target: Database, options: Options, progress: Progress) -> Moved:
        begun.set()
        assert waiting.wait(PATIENCE)
        return engine.fill(source, target, options, progress)

    def say(line: str) -> None:
        assert line == f'another copy into "{project.golden}" is running: waiting for it'
        waiting.set()

    first, second = project.branch(), project.branch()
    first.fill = fill
    second.told.say = say  # type: ignore[method-assign]
    with ThreadPoolExecutor() as pool:
        running = pool.submit(first.run)
        assert begun.wait(PATIENCE) or running.result()
        assert second.run().how == running.result().how == "cloned"
    assert (first.fills, second.fills) == (1, 0)


def test_a_refresh_that_fails_leaves_the_golden_copy_and_the_target_as_they_were(project: Project) -> None:
    def fill(*_: object) -> Moved:
        raise Failed("staging went away")

    branch, another = project.branch(), project.branch()
    branch.run()
    before, stamped = project.made(), project.stamp()
    failing = Attempt(branch.copies, STAGE, branch.target, branch.setting, branch.release, fill=fill)
    with pytest.raises(Failed, match="staging went away"):
        failing.run(fresh=True)
    assert (project.made(), project.stamp()) == (before, stamped)
    assert branch.run().how == "kept"
    assert another.run().how == "cloned"
    assert another.fills == 0


def test_what_a_killed_refresh_left_is_dropped(project: Project) -> None:
    with project.copies.target_server.connect(role="tester", password=PASSWORD) as connection:
        connection.execute(f"CREATE DATABASE {project.golden}{COPYING}".encode())
    project.branch().run()
    assert list(project.made()) == [project.golden]


def test_a_golden_copy_holds_what_its_own_rules_say(project: Project) -> None:
    masking = project.with_setting(mask={"person.email": "email"})
    plain, masked = project.branch(), masking.branch()
    plain.run()
    masked.run()
    assert masked.fills == 1
    for branch, raw in ((plain, 200), (masked, 0)):
        query = "SELECT count(*) FROM person WHERE email LIKE '%@example.com'"
        assert branch.copies.rows(branch.copies.target_server, branch.target, query) == [(raw,)]


SETTING: dict[str, Any] = {
    "mask": {"person.email": "email", "person.id": "keep"},
    "exclude_data": ["log", "session"],
    "golden": {"max_age": "2h"},
}


def test_every_other_rule_asks_for_another_golden_copy(copies: Copies) -> None:
    others: list[dict[str, object]] = [
        {"mask": {}},
        {"mask": {"person.email": "email"}},
        {"mask": {"person.email": "name"}},
        {"mask": {"person.name": "name"}},
        {"mask": {"person.email": {"value": "a"}}},
        {"mask": {"person.email": {"value": "b"}}},
        {"mask": {"person.email": {"call": "urllib.parse.quote"}}},
        {"mask": {"person.email": {"call": "shlex.quote"}}},
        {"exclude_data": ["log"]},
        {"exclude_data": []},
        {"mask_key": "another"},
        {"sample": {"person": 10}},
        {"sample": {"person": "10%"}},
    ]
    names = [Project(copies, {**SETTING, **other}).golden for other in ({}, *others)]
    assert len(set(names)) == len(names)
    assert all(name.startswith(PREFIX) for name in names)


def test_the_same_rules_written_otherwise_share_a_golden_copy(copies: Copies) -> None:
    others: list[dict[str, object]] = [
        {"mask": dict(reversed(SETTING["mask"].items())), "exclude_data": ("session", "log")},
        {"golden": {"max_age": "7d", "spare": True}},
        {"jobs": 4, "memory": 64, "verify": True, "personal": ["nick"]},
    ]
    names = {Project(copies, {**SETTING, **other}).golden for other in ({}, *others)}
    assert len(names) == 1


def test_golden_copies_that_nobody_asks_for_any_more_are_dropped_past_their_age(copies: Copies) -> None:
    old, young = new_project(copies, spare=True), new_project(copies)
    old.branch().run()
    old.spare()
    young.branch().run()
    assert len(old.made()) == 2
    old.grow_older(hours=2.1)
    branch = new_project(copies).branch()
    branch.run()
    assert old.made() == {}
    assert list(young.made()) == [young.golden]
    said = [line for line in branch.told.lines if f'"{old.golden}' in line]
    assert len(said) == 2
    assert all(line.endswith("is not asked for any more: it is dropped") for line in said)


def test_a_spare_clone_is_taken_as_it_is_and_replaced(copies: Copies) -> None:
    project = new_project(copies, spare=True)
    first, second = project.branch(), project.branch()
    assert first.run().how == "cloned"
    _, spare = project.spare()
    assert second.would().startswith(f'"{second.target}" takes the spare clone of the golden copy')
    receipt = second.run()
    assert (receipt.how, receipt.rows, receipt.bytes, second.fills) == ("spare", 201, 0, 0)
    query = f"SELECT oid::int FROM pg_database WHERE datname = '{second.target}'"
    assert copies.rows(copies.target_server, "postgres", query) == [(spare,)]
    assert seen(second) == seen(first)
    _, following = project.spare()
    assert following != spare


def test_nobody_is_let_into_the_golden_copy_and_its_spare_clone(copies: Copies) -> None:
    project = new_project(copies, spare=True)
    project.branch().run()
    names = {project.golden, project.spare()[0]}
    assert {name: allows for name, (allows, _) in project.made().items()} == dict.fromkeys(names, False)
    for name in names:
        with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
            copies.target_server.connect(name)


def test_a_spare_clone_of_an_older_golden_copy_is_never_taken(copies: Copies) -> None:
    project = new_project(copies, spare=True)
    first, second = project.branch(), project.branch()
    first.run()
    stale, _ = project.spare()
    project.grow_older(hours=0.1)  # so that it is not the one that the spare clone was made of
    assert second.run().how == "cloned"
    assert stale not in project.made()
    of_this, _ = project.spare()
    number = change_staging(copies)
    assert first.run(fresh=True).how == "cloned"
    assert seen(first) == number
    assert of_this not in project.made()
    assert project.spare()[0] > of_this
    without = project.with_setting(golden={"max_age": "2h"}).branch()
    assert without.run(fresh=True).how == "cloned"
    assert list(project.made()) == [project.golden]


@pytest.mark.parametrize("suffix", ["", f"{SPARE}_20260101000000"], ids=["golden copy", "spare clone"])
def test_a_database_of_that_name_that_another_role_owns_is_refused_and_nothing_changes(
    copies: Copies, project: Project, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, target, server = project.golden + suffix, next(project.targets), copies.target_server
    server.run(f"CREATE DATABASE {name}", f"CREATE DATABASE {target} OWNER tester")
    with server.connect(role="tester", password=PASSWORD) as connection:
        disposable_registry.mark(connection, target)
    every = "SELECT oid::int, datname::text, datallowconn FROM pg_database ORDER BY 1"
    before = copies.rows(server, "postgres", every)
    try:
        assert run_command(copies, STAGE, target, project.setting) == Refused.exit_code
        assert copies.rows(server, "postgres", every) == before
    finally:
        server.run(f"DROP DATABASE {name}")
    assert capsys.readouterr().err == (
        f'CommandError: the golden copy would be database "{project.golden}", but "{name}" belongs to '
        'another role: have its owner drop it, or take STAGE_COPY["golden"] out\n'
    )
