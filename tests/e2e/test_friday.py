"""Friday evening in small; `python -m tests.friday` does it with thirty slots."""

from __future__ import annotations

import json
import random
import time

import pytest

from copilot_testenv.aws import Aws
from tests import friday
from tests.clone import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
BOTH_WAYS = True
LIGHT = True
SLOTS = 4


def test_a_sweep_that_is_killed_five_times_leaves_nothing_and_its_receipts_are_true(clone: Clone) -> None:
    friday.prepare(clone, SLOTS)
    friday.deploy(clone, friday.branches(SLOTS))
    assert len(friday.left(clone, SLOTS)) >= 5 * SLOTS  # else the look itself would see nothing
    figures, receipts = friday.friday(clone, SLOTS, 5, random.Random(SLOTS))  # noqa: S311 - no secret
    assert figures.killed == 5, figures
    assert figures.left == [], figures
    assert all(receipt["left"] == [] for receipt in receipts)


def test_a_deploy_and_a_second_sweep_change_nothing_while_a_sweep_has_the_slots(clone: Clone) -> None:
    names = friday.branches(3)
    friday.prepare(clone, len(names))
    friday.deploy(clone, names)
    (clone.folder / ".sandbox/timing.json").write_text('{"hurry": 6}')  # an update takes 13 s
    aws = Aws(clone.variables())
    first = clone.start(
        "teardown", "--all", "--yes", "--json", "--wait"
    )  # the second may hold the shared slot
    deadline = time.monotonic() + 60
    while not _sweeps(aws):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    second, deploy, waiting = (
        clone.start("teardown", "--all", "--yes"),
        clone.start("deploy-test", "--branch", names[0], "--isolated"),
        clone.start("deploy-test", "--branch", names[1], "--isolated", "--wait"),
    )
    for run in (second, deploy):
        _, err = run.communicate(timeout=120)
        assert run.returncode == 5, err
        assert "is being changed: ada@example.org, deleting 4 slots" in err
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert [receipt["left"] for receipt in json.loads(out)] == [[], [], [], []], err
    out, err = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, err
    assert [each["branch"] for each in clone.status() if each["isolated"]] == [names[1]]


def _sweeps(aws: Aws) -> bool:
    """Return True while a sweep holds its slots."""
    found = aws.object_content(aws.application_bucket("demo"), "test-environments/sweeps/test.json", 1 << 20)
    return bool(found and json.loads(found)["holder"])
