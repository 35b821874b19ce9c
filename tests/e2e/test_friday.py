"""Friday evening in small; `python -m tests.friday` does it with thirty slots."""

from __future__ import annotations

import random

import pytest

from tests import friday
from tests.clone import Clone

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
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
