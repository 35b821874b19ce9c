"""A copy that is killed leaves the target old or new, never between, and the next one clears up."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from django_testenv.stage_copy.disposable_registry import beside
from tests.runtime.stage_copy.copies import Copies
from tests.runtime.stage_copy.scenes import (
    GOLDEN,
    PHASES,
    SHOP,
    Scene,
    deploys,
    kill,
    source_database,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", autouse=True)
def shop(copies: Copies) -> Iterator[None]:
    with source_database(copies.source_server, SHOP):
        yield


@pytest.mark.parametrize(
    "moments",
    [pytest.param(PHASES, id="each phase"), pytest.param(spread(45), id="swept", marks=pytest.mark.nightly)],
)
def test_a_copy_that_is_killed_leaves_the_target_old_or_new(
    copies: Copies, tmp_path: Path, moments: list[str | float]
) -> None:
    again = 6
    with contextlib.closing(Scene(copies, SHOP, "killed", tmp_path)) as scene:
        _, seconds = scene.complete(next(deploys))
        ended, phases = Counter[str](), set()
        for number, moment in enumerate(moments, 1):
            old, new = scene.known, scene.change_source(deploy := next(deploys))
            phases.add(kill(scene, deploy, moment, seconds))
            which = scene.which(old, new)
            ended[which] += 1
            if number % again == 0 or number == len(moments):
                how, needed = scene.complete(deploy)
                assert how == ("kept" if which == "new" else "copied")
                seconds = seconds if how == "kept" else needed
    assert ended["old"] >= min(7, len(moments))
    assert len(phases) >= 3, phases


@pytest.mark.nightly
def test_a_copy_that_is_killed_while_it_refreshes_the_golden_copy_leaves_the_target_old_or_new(
    copies: Copies, tmp_path: Path
) -> None:
    kills, again = 8, 4
    with contextlib.closing(Scene(copies, SHOP, "killed", tmp_path, GOLDEN)) as scene:
        _, seconds = scene.complete(next(deploys))
        ended, phases = Counter[str](), set()
        for number in range(kills):
            old, new = scene.known, scene.change_source(deploy := next(deploys))
            phases.add(kill(scene, deploy, (number + 0.5) / kills, seconds, fresh=True))
            which = scene.which(old, new)
            ended[which] += 1
            if number % again == again - 1:
                how, needed = scene.complete(deploy, fresh=which == "old")
                assert how == ("kept" if which == "new" else "cloned")
                seconds = seconds if how == "kept" else needed
    assert ended["old"]
    assert len(phases) >= 2, phases


@pytest.mark.parametrize("moments", [[0, 0.6], pytest.param(spread(7), marks=pytest.mark.nightly)])
def test_a_copy_that_is_killed_while_it_takes_the_spare_clone_leaves_the_target_old_or_new(
    copies: Copies, tmp_path: Path, moments: list[float]
) -> None:
    with contextlib.closing(Scene(copies, SHOP, "killed", tmp_path, GOLDEN)) as scene:
        scene.complete(next(deploys))
        scene.wait_for_spare()
        how, seconds = scene.complete(next(deploys))
        assert how == "spare"
        ended = Counter[str]()
        for number, moment in enumerate(moments):
            scene.wait_for_spare()
            copies.target_server.run(f"UPDATE marker SET round = -1 - {number}", database="killed")
            old, new = scene.arrived(), scene.sent(deploy := next(deploys))
            kill(scene, deploy, moment, seconds)
            which = scene.which(old, new)
            ended[which] += 1
            how, _ = scene.complete(deploy)
            assert (how == "kept") == (which == "new")
            if how == "kept":  # nobody has ordered a spare
                scene.complete(next(deploys))
    assert ended["old"]


@pytest.mark.nightly
def test_a_killed_refresh_of_the_golden_copy_leaves_the_target_and_the_next_copy_drops_its_rest(
    copies: Copies, tmp_path: Path
) -> None:
    with contextlib.closing(Scene(copies, SHOP, "killed", tmp_path, GOLDEN)) as scene:
        scene.complete(next(deploys))
        old, new = scene.known, scene.change_source(deploy := next(deploys))
        kill(scene, deploy, "phase rows", fresh=True)
        assert scene.which(old, new) == "old"
        how, _ = scene.complete(deploy, fresh=True)
        assert how in {"cloned", "spare"}


def test_a_copy_that_is_killed_between_the_two_renames_leaves_the_target_old(
    copies: Copies, tmp_path: Path
) -> None:
    incoming, _ = beside("killed")
    renaming = f"SELECT 1 FROM pg_stat_activity WHERE query ~ '{incoming}. RENAME' AND state = 'active'"
    with contextlib.closing(Scene(copies, SHOP, "killed", tmp_path)) as scene:
        scene.complete(next(deploys))
        old, new = scene.known, scene.change_source(deploy := next(deploys))
        copying = scene.start(deploy)
        copying.reach("phase schema")
        # The second rename waits for this session, which the role of the target cannot end.
        with copies.target_server.connect(incoming) as connection:
            while not connection.execute(f"{renaming} AND pid <> pg_backend_pid()".encode()).fetchone():
                assert copying.running
            copying.kill()
            copying.end()
            scene.require_target_to_be_there()
        scene.wait_for_sessions()
        assert scene.which(old, new) == "old"
        assert scene.complete(deploy)[0] == "copied"
