"""Deployments that sleep and wake, by hand and by their office hours, on a clock that the tests move."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from tests.clone import Clone, get
from tests.e2e.looks import deployed, query

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
LIGHT = True
BOTH_WAYS = True
HOURS = "mon-fri 08:00-19:00 Europe/London"
DATABASES = {"main": "test", "own": "test_own"}


@pytest.fixture(scope="module", autouse=True)
def slots(clone: Clone) -> None:
    """The shared slot and a branch's own, deployed on a Monday at noon, and a row of a tester's in each."""
    (clone.folder / "copilot-testenv.toml").write_text(f'hours = "{HOURS}"\n')
    clone.commit("Agree on office hours")
    clone.branch("own", {"note.txt": "own"})
    clone.do("sandbox")
    move_to(clone, "2026-11-30T12:00")
    for branch, own in (("main", ()), ("own", ("--isolated",))):
        deployed(clone.invoke("deploy-test", "--branch", branch, *own))
        query(clone, "INSERT INTO shop_product VALUES (2, 'of a tester')", database=DATABASES[branch])


def move_to(clone: Clone, moment: str) -> None:
    """Move the clock of the sandbox's schedules to a moment in UTC, which is London's time in winter."""
    ahead = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() - time.time()
    file = clone.folder / ".sandbox/clock.json"
    file.with_suffix(".new").write_text(json.dumps({"ahead": ahead}))
    file.with_suffix(".new").replace(file)
    time.sleep(1.2)  # until the sandbox has looked at its schedules


def found(clone: Clone) -> dict[str, dict[str, Any]]:
    return {each["branch"]: each for each in clone.status()}


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def rows(clone: Clone, branch: str) -> list[list[Any]]:
    return query(clone, "SELECT name FROM shop_product ORDER BY id", database=DATABASES[branch])


def all_answer(clone: Clone, status: int) -> bool:
    return all(get(each["url"])[0] == status for each in clone.status())


def test_a_night_and_a_weekend_are_slept_and_no_row_is_lost(clone: Clone) -> None:
    before = found(clone)
    assert [(each["hours"], each["asleep"]) for each in before.values()] == [(HOURS, False)] * 2
    for moment, asleep in (
        ("2026-11-30T18:59", False),
        ("2026-11-30T19:01", True),
        ("2026-12-01T08:01", False),
        ("2026-12-05T12:00", True),  # a Saturday
        ("2026-12-07T08:01", False),
    ):
        move_to(clone, moment)
        assert [each["asleep"] for each in clone.status()] == [asleep] * 2, moment
        until(lambda: all_answer(clone, 503 if asleep else 200))  # noqa: B023 - it is called at once
    assert found(clone) == before
    for branch in DATABASES:
        assert rows(clone, branch) == [["one"], ["of a tester"]]
        said = clone.do("logs", "--branch", branch, "--container", "startup").out
        assert "Kept" in said
        assert "were copied for this release" in said


def test_somebody_lets_one_sleep_and_wakes_it_with_its_data(clone: Clone) -> None:
    ran = clone.do("sleep", "--branch", "own", "--json")
    assert json.loads(ran.out)["asleep"] is True
    assert "It wakes at 20" in ran.err
    assert "`invoke wake --branch own`" in ran.err
    assert "sleeps already" in clone.do("sleep", "--branch", "own").err
    now = found(clone)
    assert (now["own"]["asleep"], now["main"]["asleep"]) == (True, False)
    assert "asleep" in clone.do("status").out
    url = clone.do("open", "--branch", "own")
    assert "own sleeps. It wakes at " in url.err
    assert clone.do("exec", "--branch", "own", "--command", "echo $DATABASE_SUFFIX").out == "_own\n"
    clone.do("copy-db", "--branch", "own", "--yes")
    assert rows(clone, "own") == [["one"]]
    query(clone, "INSERT INTO shop_product VALUES (2, 'of a tester')", database="test_own")
    assert "Would start the tasks" in clone.do("wake", "--branch", "own", "--plan").err
    ran = clone.do("wake", "--branch", "own")
    assert get(ran.out.strip())[0] == 200
    assert rows(clone, "own") == [["one"], ["of a tester"]]
    assert "is awake." in clone.do("wake", "--branch", "own").err
    assert clone.invoke("wake", "--branch", "feature/none").code == 4


def test_a_deploy_wakes_what_sleeps(clone: Clone) -> None:
    clone.do("sleep")
    assert "sleeps: would start its tasks" in clone.do("deploy-test", "--branch", "main", "--plan").err
    ran = clone.invoke("deploy-test", "--branch", "main")
    deployed(ran)
    assert "was asleep with this commit" in ran.err
    assert rows(clone, "main") == [["one"], ["of a tester"]]
    move_to(clone, "2026-12-12T12:00")  # a Saturday
    (clone.folder / "note.txt").write_text("another commit")
    commit = clone.commit("Work at the weekend")
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert json.loads(get(url)[1])["commit"] == commit
    now = found(clone)
    assert (now["main"]["asleep"], now["own"]["asleep"]) == (False, True)
    move_to(clone, "2026-12-12T19:01")
    assert [each["asleep"] for each in clone.status()] == [True, True]


def test_without_the_setting_a_deploy_ends_the_hours_and_a_range_is_refused(clone: Clone) -> None:
    scaled = Aws(clone.variables()).client("application-autoscaling").describe_scalable_targets
    assert len(scaled(ServiceNamespace="ecs")["ScalableTargets"]) == 2
    deployed(clone.invoke("deploy-test", "--branch", "main", OFFICE_HOURS=""))
    assert found(clone)["main"]["hours"] is None
    assert len(scaled(ServiceNamespace="ecs")["ScalableTargets"]) == 1
    ran = clone.invoke("deploy-test", "--branch", "main", OFFICE_HOURS="at night")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "OFFICE_HOURS='at night' is not understood" in ran.err
    manifest = (clone.folder / "copilot/web/manifest.yml").read_text()
    one = "    count:\n      spot: 1                   # one small task on Spot\n"
    assert one in manifest
    scaling = manifest.replace(one, "    count:\n      range: 1-3\n      cpu_percentage: 70\n")
    clone.branch("feature/scales", {"copilot/web/manifest.yml": scaling})
    ran = clone.invoke("deploy-test", "--branch", "feature/scales", "--isolated")
    assert ran.code == 2
    assert "is a range in test" in ran.err


def test_a_teardown_of_what_sleeps_leaves_no_schedule(clone: Clone) -> None:
    clone.do("teardown", "--all", "--yes")
    assert clone.status() == []
    scaled = Aws(clone.variables()).client("application-autoscaling").describe_scalable_targets
    assert scaled(ServiceNamespace="ecs")["ScalableTargets"] == []
