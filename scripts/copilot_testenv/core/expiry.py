"""Until when a deployment is wanted, as people write it and as the stack's tag says it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.settings import seconds

_FORMS = "a duration (5d), a week's end (friday 18:00 Europe/London) or a date (2026-12-01 18:00)"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKS_END = re.compile(r"([a-z]+)\s+(\d{1,2}):(\d{2})(?:\s+(\S+))?", re.IGNORECASE)


KEPT = "never"  # the tag's value where a deployment has no end


def expiry(ttl: str, now: datetime, name: str = "DEPLOY_TTL") -> datetime:
    """Return when a deployment made `now` ends, in UTC, to the second.

    `ttl` is a duration (`5d`), the next such weekday and time (`friday 18:00 Europe/London`; without a time
    zone: UTC) or a moment to come (`2026-12-01 18:00`, in UTC unless it says otherwise). Raises
    SettingsError, which calls it `name`.
    """
    text = ttl.strip()
    if match := _WEEKS_END.fullmatch(text):
        return _weeks_end(match, now, f"{name}={ttl!r}")
    if re.match(r"\d{4}-", text):
        return _moment(text, now, f"{name}={ttl!r}")
    if not re.match(r"\d", text):
        raise SettingsError(f"{name}={ttl!r}: write {_FORMS}.")
    try:
        end = now + timedelta(seconds=seconds(ttl, name))
    except OverflowError as error:
        raise SettingsError(f"{name}={ttl!r} is beyond the calendar: write for example 5d.") from error
    return end.astimezone(UTC).replace(microsecond=0)


def is_over(tag: str | None, now: datetime) -> bool:
    """Return True if a deployment with that tag has come to its end; one without a readable end has not."""
    try:
        return datetime.fromisoformat(tag or "") <= now
    except (ValueError, TypeError):
        return False


def later(tag: str | None, end: datetime) -> datetime | None:
    """Return the later of the end that a deployment has and a new one; None where it has none."""
    if tag == KEPT:
        return None
    try:
        return max(datetime.fromisoformat(tag or "").astimezone(UTC), end)
    except (ValueError, TypeError, OverflowError):  # the last: beyond the calendar in UTC
        return end


def _moment(text: str, now: datetime, what: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{what} is no date: write {_FORMS}.") from error
    end = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    if end <= now:
        raise SettingsError(f"{what} is past: write a moment to come.")
    return end


def _weeks_end(match: re.Match[str], now: datetime, what: str) -> datetime:
    try:
        zone = ZoneInfo(match[4] or "UTC")
        day, at = _DAYS.index(match[1].lower()), time(int(match[2]), int(match[3]))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(f"{what}: {error}. Write {_FORMS}.") from error
    local = now.astimezone(zone)
    date = local.date() + timedelta(days=(day - local.weekday()) % 7)
    end = datetime.combine(date, at, zone)
    if end <= local:
        end = datetime.combine(date + timedelta(days=7), at, zone)
    return end.astimezone(UTC)
