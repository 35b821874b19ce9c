from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from copilot_testenv.core import office_hours
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.office_hours import OfficeHours
from copilot_testenv.core.settings import load

LONDON = "mon-fri 08:00-19:00 Europe/London"


def parsed(text: str) -> OfficeHours:
    found = office_hours.parse(text)
    assert found
    return found


@pytest.mark.parametrize(
    ("text", "shown", "a_week"),
    [
        (LONDON, LONDON, 55),
        ("Mon, Wed,fri 9:30-12:00", "mon,wed,fri 09:30-12:00 UTC", 7.5),
        ("fri-mon 00:00-23:59 Asia/Tokyo", "fri-mon 00:00-23:59 Asia/Tokyo", 4 * (24 - 1 / 60)),
        ("sat 10:00-14:00 UTC", "sat 10:00-14:00 UTC", 4),
    ],
)
def test_hours_are_days_times_and_a_time_zone(text: str, shown: str, a_week: float) -> None:
    hours = parsed(text)
    assert str(hours) == shown
    assert parsed(shown) == hours
    assert hours.a_week == pytest.approx(a_week)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("always", "is not understood"),
        ("08:00-19:00", "is not understood"),
        ("mon-fri 08:00-19:00 Europe/London; rm", "is not understood"),
        ("mon-fri 08:00-19:00 " + "x" * 200, "is not understood"),
        ("weekdays 08:00-19:00", "'weekdays' is no day"),
        ("mon-fri- 08:00-19:00", "'mon-fri-' is no day"),
        ("mon-fri 08:00-25:00", "hour must be in 0..23"),
        ("mon-fri 19:00-08:00", "the end must be after the start"),
        ("mon-fri 08:00-08:00", "the end must be after the start"),
        ("mon-fri 08:00-19:00 Europe/Lundon", "'Europe/Lundon' is no time zone"),
        ("mon-fri 08:00-19:00 Europe", "'Europe' is no time zone"),
        ("mon-fri 08:00-19:00 ../../etc/passwd", "is no time zone"),
    ],
)
def test_what_are_no_hours_is_told_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as told:
        office_hours.parse(text, "hours")
    assert reason in str(told.value)
    assert str(told.value).startswith("hours=")
    assert "write for example mon-fri 08:00-19:00 Europe/London" in str(told.value)
    assert "\n" not in str(told.value)


def test_the_schedules_wake_on_the_days_and_sleep_every_day() -> None:
    hours = parsed("mon-wed,sat 08:05-19:30 Europe/London")
    assert hours.wakes == "cron(5 8 ? * MON,TUE,WED,SAT *)"
    assert hours.sleeps == "cron(30 19 * * ? *)"


def test_the_hours_awake_are_counted_also_over_the_change_of_the_clocks() -> None:
    hours = parsed(LONDON)
    monday = datetime(2026, 3, 23, 0, tzinfo=UTC)
    assert hours.within(monday, monday + timedelta(weeks=1)) == 55
    # On 29 March London's clocks change: on 30 March 08:00 there is 07:00 UTC.
    assert hours.within(datetime(2026, 3, 27, 8, tzinfo=UTC), datetime(2026, 3, 27, 9, tzinfo=UTC)) == 1
    assert hours.within(datetime(2026, 3, 30, 7, tzinfo=UTC), datetime(2026, 3, 30, 8, tzinfo=UTC)) == 1
    assert hours.within(datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC)) == 0
    assert hours.within(monday, monday - timedelta(days=1)) == 0
    assert hours.within(monday, monday + timedelta(weeks=52, hours=10)) == 52 * 55 + 2


def test_the_next_wake_is_the_next_day_of_the_hours() -> None:
    hours = parsed(LONDON)
    friday = datetime(2026, 3, 27, 20, tzinfo=UTC)
    assert hours.next_wake(friday) == datetime(2026, 3, 30, 7, tzinfo=UTC)
    assert parsed("mon 08:00-09:00").next_wake(datetime(2026, 3, 23, 8, tzinfo=UTC)) == datetime(
        2026, 3, 30, 8, tzinfo=UTC
    )


def test_hours_are_a_committed_setting_and_one_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "copilot/environments/test").mkdir(parents=True)
    (tmp_path / "copilot/environments/test/manifest.yml").write_text("name: test\n")
    (tmp_path / "copilot/.workspace").write_text("application: demo\n")
    assert load(tmp_path, {"DEPLOY_TARGET": "sandbox"}).hours is None
    (tmp_path / "copilot-testenv.toml").write_text(f'hours = "{LONDON}"\n')
    assert load(tmp_path, {"DEPLOY_TARGET": "sandbox"}).hours == parsed(LONDON)
    assert load(tmp_path, {"DEPLOY_TARGET": "sandbox", "OFFICE_HOURS": ""}).hours is None
    with pytest.raises(SettingsError, match="OFFICE_HOURS='never' is not understood"):
        load(tmp_path, {"DEPLOY_TARGET": "sandbox", "OFFICE_HOURS": "never"})


def test_a_tag_that_somebody_edited_names_no_hours() -> None:
    assert office_hours.of_tags({"hours": LONDON}) == parsed(LONDON)
    assert office_hours.of_tags({"hours": "always"}) is None
    assert office_hours.of_tags({}) is None
