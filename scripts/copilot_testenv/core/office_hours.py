"""Read the setting `hours`, and calculate when a deployment is awake by it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from copilot_testenv.core.errors import SettingsError

SETTING = "OFFICE_HOURS"
HOURS_A_WEEK = 168
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = "write for example mon-fri 08:00-19:00 Europe/London"
_TEXT = re.compile(r"([a-z, -]+?)\s+(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})(?:\s+(\S+))?", re.IGNORECASE)
_LONGEST = 100  # characters; a tag of the stack holds them


@dataclass(frozen=True)
class OfficeHours:
    """The hours in which a deployment is awake: from `start` to `end` on `days` (0 is Monday)."""

    days: tuple[int, ...]
    start: time
    end: time
    zone: ZoneInfo

    def __str__(self) -> str:
        many = len(self.days)
        days = ",".join(_DAYS[day] for day in self.days)
        for first in self.days if many > 1 else ():
            if all((first + n) % 7 in self.days for n in range(many)):
                days = f"{_DAYS[first]}-{_DAYS[(first + many - 1) % 7]}"
                break
        return f"{days} {self.start:%H:%M}-{self.end:%H:%M} {self.zone.key}"

    @property
    def wakes(self) -> str:
        """The schedule of the wake, as Application Auto Scaling writes it.

        Source: https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
        """
        days = ",".join(_DAYS[day].upper() for day in self.days)
        return f"cron({self.start.minute} {self.start.hour} ? * {days} *)"

    @property
    def sleeps(self) -> str:
        """The schedule of the sleep: every day, for what somebody woke on another day."""
        return f"cron({self.end.minute} {self.end.hour} * * ? *)"

    @property
    def a_week(self) -> float:
        """The hours of a week in which it is awake."""
        return len(self.days) * (_minutes(self.end) - _minutes(self.start)) / 60

    @property
    def part(self) -> float:
        """The part of all time in which it is awake, from 0 to 1."""
        return self.a_week / HOURS_A_WEEK

    def within(self, begin: datetime, end: datetime) -> float:
        """Return the hours between two moments in which it is awake."""
        if end <= begin:
            return 0
        # Whole weeks are equally long, but for one hour a year: a deployment may be kept for ever.
        weeks = (end - begin) // timedelta(weeks=1)
        first = begin + timedelta(weeks=weeks)
        spans = ((max(start, first), min(stop, end)) for start, stop in self._spans(first, end))
        rest = sum((max(stop - start, timedelta()) for start, stop in spans), timedelta())
        return weeks * self.a_week + rest.total_seconds() / 3600

    def next_wake(self, now: datetime) -> datetime:
        """Return when it next wakes after `now`, in UTC."""
        return next(start for start, _ in self._spans(now, now + timedelta(days=9)) if start > now)

    def _spans(self, begin: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Yield the beginnings and ends, in UTC, of the days that touch the time between two moments."""
        day, last = begin.astimezone(self.zone).date(), end.astimezone(self.zone).date()
        while day <= last:
            if day.weekday() in self.days:
                yield self._utc(day, self.start), self._utc(day, self.end)
            day += timedelta(days=1)

    def _utc(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)


def parse(text: str, name: str = SETTING) -> OfficeHours | None:
    """Return the office hours that a text names; None for an empty one. Raises SettingsError.

    Without a time zone they are UTC. The error's message uses `name` for the setting.
    """
    text = text.strip()
    if not text:
        return None
    match = _TEXT.fullmatch(text) if len(text) <= _LONGEST else None
    if not match:
        raise SettingsError(f"{name}={text[:_LONGEST]!r} is not understood: {_FORM}.")
    what = f"{name}={text!r}"
    try:
        start, end = time(int(match[2]), int(match[3])), time(int(match[4]), int(match[5]))
    except ValueError as error:
        raise SettingsError(f"{what}: {error}. Use times from 00:00 to 23:59; {_FORM}.") from error
    if end <= start:
        raise SettingsError(f"{what}: the end must be after the start, on the same day; {_FORM}.")
    return OfficeHours(_days(match[1], what), start, end, _zone(match[6] or "UTC", what))


def of_tags(tags: Mapping[str, str]) -> OfficeHours | None:
    """Return the office hours that a stack was deployed with; None for none, or for a tag that was edited."""
    try:
        return parse(tags.get("hours", ""))
    except SettingsError:
        return None


def _days(text: str, what: str) -> tuple[int, ...]:
    """Return the days of a list such as `mon-thu,sat`, in the order of the week."""
    found: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in _DAYS or (dash and last not in _DAYS):
            raise SettingsError(f"{what}: {part!r} is no day: write {', '.join(_DAYS)}; {_FORM}.")
        begin = _DAYS.index(first)
        found |= {(begin + n) % 7 for n in range((_DAYS.index(last or first) - begin) % 7 + 1)}
    return tuple(sorted(found))


def _zone(name: str, what: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # the last: it is a folder of zones, such as `Europe`
        raise SettingsError(f"{what}: {name!r} is no time zone; {_FORM}.") from error


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute
