"""A release that fails gives its database back: the former one finds its data with what testers changed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from django_testenv.stage_copy import copy_metadata, disposable_registry, previous
from django_testenv.stage_copy.disposable_registry import COPYING, REPLACED
from django_testenv.stage_copy.model import Moved
from django_testenv.stage_copy.problems import Failed
from django_testenv.stage_copy.transfer import Receipt
from tests.runtime.stage_copy.copies import PASSWORD, Attempt, Copies
from tests.runtime.stage_copy.transfers import beside, change, numbers, persons

SHOP = "rollback_shop"
CHANGED = 7  # persons that `change` leaves


@pytest.fixture(scope="module", autouse=True)
def source(copies: Copies) -> None:
    copies.make_source(
        SHOP,
        "CREATE TABLE person (id int PRIMARY KEY)",
        "INSERT INTO person SELECT generate_series(1, 200)",
        "CREATE TABLE item (id int PRIMARY KEY)",
    )


@pytest.fixture
def target() -> str:
    return f"rollback{next(numbers)}x"


def release(deploy: str) -> dict[str, str]:
    return {"branch": "feature", "commit": "1234567", "deploy": deploy}


def start(
    copies: Copies,
    target: str,
    deploy: str,
    setting: Mapping[str, object] | None = None,
    *,
    fresh: bool = False,
) -> Receipt:
    """What the container that copies does when a task of this deploy starts."""
    return Attempt(copies, SHOP, target, setting or {}, release(deploy)).run(fresh=fresh)


@pytest.mark.parametrize("setting", [{}, {"golden": {"max_age": "2h"}}], ids=["copied", "cloned"])
def test_a_roll_back_finds_what_testers_changed_and_does_not_look_at_staging(
    copies: Copies, target: str, setting: Mapping[str, object]
) -> None:
    first = start(copies, target, "one", setting)
    change(copies, target)
    start(copies, target, "two", setting)
    assert persons(copies, target) == 200
    assert start(copies, target, "two", setting).how == "kept"  # ECS tries a task that fails several times
    back = Attempt(copies, "no_such_database", target, setting, release("one"))
    assert back.would() == f"The data of {first.copied_at} are put back: they were copied for this release."
    receipt = back.run()
    assert (receipt.how, receipt.copied_at, receipt.rows) == ("put back", first.copied_at, first.rows)
    assert (back.guards, back.fills) == (0, 0)
    assert persons(copies, target) == CHANGED
    assert beside(copies, target) == []
    assert start(copies, target, "one", setting).how == "kept"


def test_a_release_that_failed_before_its_data_took_the_place_leaves_those_of_the_former(
    copies: Copies, target: str
) -> None:
    start(copies, target, "one")
    change(copies, target)
    with pytest.raises(Failed):
        Attempt(copies, SHOP, target, release=release("two"), fill=_fails).run()
    assert start(copies, target, "one").how == "kept"
    assert persons(copies, target) == CHANGED


def _fails(*_: object) -> Moved:
    raise Failed("the rows could not be copied")


def test_data_that_are_not_kept_any_more_are_copied_again_and_that_is_said(
    copies: Copies, target: str
) -> None:
    start(copies, target, "one")
    start(copies, target, "two")
    copies.target_server.run(f"DROP DATABASE {target}{REPLACED}")
    back = Attempt(copies, SHOP, target, release=release("one"))
    assert back.run().how == "copied"
    (said,) = back.told.lines
    assert said.endswith("that this release had are not kept any more: staging is copied again")


def test_there_is_one_kept_database_at_most_that_of_the_release_before(copies: Copies, target: str) -> None:
    for deploy in ("one", "two", "three"):
        start(copies, target, deploy)
        change(copies, target)
    assert beside(copies, target) == [target + REPLACED]
    assert start(copies, target, "two").how == "put back"
    assert start(copies, target, "one").how == "copied"


@pytest.mark.parametrize("given", [None, "two"], ids=["by hand", "afresh"])
def test_a_copy_that_somebody_asked_for_keeps_nothing(copies: Copies, target: str, given: str | None) -> None:
    start(copies, target, "one")
    start(copies, target, "two")
    Attempt(copies, SHOP, target, release=release(given) if given else None).run(fresh=True)
    assert beside(copies, target) == []


def test_a_kept_database_goes_after_hours_with_the_next_copy_into_any_other(
    copies: Copies, target: str
) -> None:
    with copies.target_server.connect(role="tester", password=PASSWORD) as server:
        disposable_registry.mark(server, target)
        start(copies, target, "one")
        start(copies, target, "two")
        start(copies, f"{target}too", "one")
        assert beside(copies, target) == [target + REPLACED]
        stamp = copy_metadata.of(server, target) or {}
        stamp["replaces"]["at"] = "2026-11-24T10:00:00+00:00"
        copy_metadata.write(server, target, stamp)
        start(copies, f"{target}too", "one")
        assert beside(copies, target) == []
        disposable_registry.unmark(server, target)


def test_a_kept_database_into_whose_place_a_copy_runs_is_left_to_that_copy(
    copies: Copies, target: str
) -> None:
    start(copies, target, "one")
    with (
        copies.target_server.connect(role="tester", password=PASSWORD) as server,
        copies.target_server.connect(role="tester", password=PASSWORD) as other,
    ):
        server.execute(f"CREATE DATABASE {target}{REPLACED}".encode())
        key = f"stage_copy {target}"
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
        previous.drop_old(server, target)
        assert beside(copies, target) == [target + REPLACED]
        other.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [key])
        previous.drop_old(server, target)
    assert beside(copies, target) == []


def test_a_roll_back_that_was_killed_after_the_swap_is_complete_and_the_rest_goes_next_time(
    copies: Copies, target: str
) -> None:
    start(copies, target, "one")
    change(copies, target)
    start(copies, target, "two")
    with copies.target_server.connect(role="tester", password=PASSWORD) as server:
        for old, new in ((target, target + COPYING), (target + REPLACED, target)):
            server.execute(f"ALTER DATABASE {old} RENAME TO {new}".encode())
    assert start(copies, target, "one").how == "kept"
    assert persons(copies, target) == CHANGED
    assert beside(copies, target) == []
