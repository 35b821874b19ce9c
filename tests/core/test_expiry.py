from __future__ import annotations

from datetime import UTC, datetime

import pytest

from copilot_testenv.core.errors import SettingsError, UsageError
from copilot_testenv.core.expiry import KEPT, auto_stop_in, expiry, is_over, later

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


def test_a_date_is_one_in_utc_unless_it_says_otherwise() -> None:
    assert expiry("2026-12-01", SUNDAY) == datetime(2026, 12, 1, tzinfo=UTC)
    assert expiry("2026-12-01 18:00", SUNDAY) == datetime(2026, 12, 1, 18, tzinfo=UTC)
    assert expiry("2026-12-01T18:00+02:00", SUNDAY) == datetime(2026, 12, 1, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "said"), [("2026-11-01", "is past"), ("2026-13-01", "is not a date"), ("soon", "a duration")]
)
def test_a_date_that_cannot_be_meant_is_refused_by_the_flags_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--until='{text}'.*{said}"):
        expiry(text, SUNDAY, "--until")


@pytest.mark.parametrize(
    ("tag", "over"),
    [
        ("2026-11-22T12:00:00Z", True),
        ("2026-11-22T12:00:01Z", False),
        (KEPT, False),
        (None, False),
        ("when it is done", False),
        ("2026-11-22", False),  # no time zone: nobody of ours wrote that
    ],
)
def test_only_a_deployment_with_a_readable_end_in_the_past_is_over(tag: str | None, over: bool) -> None:  # noqa: FBT001
    assert is_over(tag, SUNDAY) is over


def test_a_redeploy_never_shortens_a_life() -> None:
    friday = datetime(2026, 11, 27, 18, tzinfo=UTC)
    assert later("2026-12-24T00:00:00Z", friday) == datetime(2026, 12, 24, tzinfo=UTC)
    assert later("2026-11-23T00:00:00Z", friday) == friday
    assert later(None, friday) == friday
    assert later("nonsense", friday) == friday
    assert later(KEPT, friday) is None


def test_gitlab_is_told_the_minutes_that_are_left_and_never_fewer() -> None:
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    for expires_at, told in {
        "2026-11-24T13:00:00+00:00": "60min",
        "2026-11-24T12:00:01Z": "1min",
        "2026-11-24T13:00:30Z": "61min",
        "2026-11-24T11:00:00Z": "1min",
        None: "never",
        "soon": "never",
        "2026-11-24T13:00:00": "never",
    }.items():
        assert auto_stop_in(expires_at, now) == told
