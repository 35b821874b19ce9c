"""Until when a deployment is wanted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from scripts.errors import SettingsError
from scripts.settings import seconds

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKS_END = re.compile(r"([a-z]+)\s+(\d{1,2}):(\d{2})(?:\s+(\S+))?", re.IGNORECASE)


def expiry(ttl: str, now: datetime) -> datetime:
    """When a deployment made `now` ends, in UTC, to the second.

    `ttl` is a duration (`5d`) or the next such weekday and time (`friday 18:00 Europe/London`; without a
    time zone: UTC). Raises SettingsError.
    """
    match = _WEEKS_END.fullmatch(ttl.strip())
    if not match and not re.match(r"\d", ttl.strip()):
        raise SettingsError(
            f"DEPLOY_TTL={ttl!r}: write a duration (5d) or a week's end (friday 18:00 Europe/London)."
        )
    if not match:
        try:
            end = now + timedelta(seconds=seconds(ttl, "DEPLOY_TTL"))
        except OverflowError as error:
            raise SettingsError(
                f"DEPLOY_TTL={ttl!r} is beyond the calendar: write for example 5d."
            ) from error
        return end.astimezone(UTC).replace(microsecond=0)
    try:
        zone = ZoneInfo(match[4] or "UTC")
        day, at = _DAYS.index(match[1].lower()), time(int(match[2]), int(match[3]))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(
            f"DEPLOY_TTL={ttl!r}: {error}."
            " Write a duration (5d) or a week's end (friday 18:00 Europe/London)."
        ) from error
    local = now.astimezone(zone)
    date = local.date() + timedelta(days=(day - local.weekday()) % 7)
    end = datetime.combine(date, at, zone)
    if end <= local:
        end = datetime.combine(date + timedelta(days=7), at, zone)
    return end.astimezone(UTC)
