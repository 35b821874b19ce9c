"""Calculate when a deployment expires, from the user's text and from the stack's tag."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from copilot_testenv.core.errors import malformed
from copilot_testenv.core.settings import seconds

_FORMS = "a duration (5d), a week's end (friday 18:00 Europe/London) or a date (2026-12-01 18:00)"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKS_END = re.compile(r"([a-z]+)\s+(\d{1,2}):(\d{2})(?:\s+(\S+))?", re.IGNORECASE)


KEPT = "never"  # the tag's value for a deployment that never expires


def expiry(ttl: str, now: datetime, name: str = "DEPLOY_TTL") -> datetime:
    """Return when a deployment that is made `now` expires, in UTC, to the second.

    `ttl` is a duration (`5d`), the next such weekday and time (`friday 18:00 Europe/London`; without a time
    zone: UTC) or a date in the future (`2026-12-01 18:00`; without a time zone: UTC). Raises SettingsError,
    and UsageError where `name` is a flag; the message uses `name`.
    """
    text = ttl.strip()
    if match := _WEEKS_END.fullmatch(text):
        return _weeks_end(match, now, name)
    if re.match(r"\d{4}-", text):
        return _moment(text, now, name)
    if not re.match(r"\d", text):
        raise malformed(name, f"{name}={ttl!r}: write {_FORMS}.")
    try:
        expires = now + timedelta(seconds=seconds(ttl, name))
    except OverflowError as error:
        raise malformed(name, f"{name}={ttl!r} is after the year 9999: write for example 5d.") from error
    return expires.astimezone(UTC).replace(microsecond=0)


def is_over(tag: str | None, now: datetime) -> bool:
    """Return True if a deployment with that tag has expired; without a readable date it has not."""
    try:
        return datetime.fromisoformat(tag or "") <= now
    except (ValueError, TypeError):
        return False


def auto_stop_in(expires_at: str | None, now: datetime) -> str:
    """Return the time until a deployment expires in the words of GitLab's `auto_stop_in`, rounded up.

    Source: https://docs.gitlab.com/ci/yaml/#environmentauto_stop_in
    """
    try:
        minutes = -((now - datetime.fromisoformat(expires_at or "")) // timedelta(minutes=1))
    except (ValueError, TypeError):  # it never expires, or somebody else wrote the tag
        return "never"
    return f"{max(1, minutes)}min"


def later(tag: str | None, expires: datetime) -> datetime | None:
    """Return the later of the tag's date and a new one; None where the deployment never expires."""
    if tag == KEPT:
        return None
    try:
        return max(datetime.fromisoformat(tag or "").astimezone(UTC), expires)
    except (ValueError, TypeError, OverflowError):  # the last: after the year 9999 in UTC
        return expires


def _moment(text: str, now: datetime, name: str) -> datetime:
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise malformed(name, f"{name}={text!r} is not a date: write {_FORMS}.") from error
    expires = (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC).replace(microsecond=0)
    if expires <= now:
        raise malformed(name, f"{name}={text!r} is past: write a date in the future.")
    return expires


def _weeks_end(match: re.Match[str], now: datetime, name: str) -> datetime:
    try:
        zone = ZoneInfo(match[4] or "UTC")
        day, at = _DAYS.index(match[1].lower()), time(int(match[2]), int(match[3]))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise malformed(name, f"{name}={match[0]!r}: {error}. Write {_FORMS}.") from error
    local = now.astimezone(zone)
    date = local.date() + timedelta(days=(day - local.weekday()) % 7)
    expires = datetime.combine(date, at, zone)
    if expires <= local:
        expires = datetime.combine(date + timedelta(days=7), at, zone)
    return expires.astimezone(UTC)
