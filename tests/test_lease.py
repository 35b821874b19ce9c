from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scripts.errors import SettingsError
from scripts.lease import expiry

SUNDAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_a_duration_counts_from_now() -> None:
    assert expiry("5d", SUNDAY) == datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def test_a_weeks_end_is_the_next_one_in_its_own_time_zone() -> None:
    assert expiry("friday 18:00 Europe/London", SUNDAY) == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    summer = datetime(2026, 7, 5, 12, 0, tzinfo=UTC)
    assert expiry("Friday 18:00 Europe/London", summer) == datetime(2026, 7, 10, 17, 0, tzinfo=UTC)


def test_on_the_day_itself_the_hour_decides() -> None:
    friday = datetime(2026, 11, 27, 17, 59, tzinfo=UTC)
    assert expiry("friday 18:00", friday) == datetime(2026, 11, 27, 18, 0, tzinfo=UTC)
    assert expiry("friday 17:59", friday) == datetime(2026, 12, 4, 17, 59, tzinfo=UTC)


def test_a_week_that_changes_the_clock_keeps_the_hour_on_the_wall() -> None:
    before = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    assert expiry("sunday 18:00 Europe/London", before) == datetime(2026, 10, 25, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "ttl", ["", "someday 18:00", "friday 25:00", "friday 18:00 Mars/Base", "5 years", "99999999w"]
)
def test_what_is_neither_says_what_to_write(ttl: str) -> None:
    with pytest.raises(SettingsError, match="DEPLOY_TTL"):
        expiry(ttl, SUNDAY)
