"""People see the day, the time and how far away it is; programs see ISO 8601."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from copilot_testenv.core import moments

NOW = datetime.fromisoformat("2026-11-27T08:00:00Z")  # a Friday


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-11-27T17:00:00Z", "Fri 18:00, in 9 h"),
        ("2026-11-27T07:57:00+00:00", "Fri 08:57, 3 min ago"),
        ("2026-11-27T08:00:20", "Fri 09:00, now"),
        ("2026-12-02T17:00:00Z", "Wed 18:00, in 5 days"),
        ("2026-12-11T17:00:00Z", "11 Dec 18:00, in 14 days"),
        ("2027-01-02T17:00:00Z", "2 Jan 2027 18:00, in 36 days"),
        ("never", "never"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        (None, "?"),
    ],
)
def test_a_moment_is_shown_in_local_time_with_its_distance(moment: str | None, shown: str) -> None:
    assert moments.shown(moment, NOW) == shown
