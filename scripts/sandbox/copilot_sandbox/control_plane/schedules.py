"""The schedules of Application Auto Scaling: when a cron expression fires in a time zone."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")  # 1 to 7
_FIELDS = (  # the lowest and the highest value, and names from the lowest on
    (0, 59, ()),
    (0, 23, ()),
    (1, 31, ()),
    (1, 12, _MONTHS),
    (1, 7, _DAYS),
    (1970, 2199, ()),
)
_LONGEST = dt.timedelta(days=366)  # longer spans are not looked through


class InvalidScheduleError(ValueError):
    """The expression is not one that the sandbox carries out."""


@dataclass(frozen=True)
class Schedule:
    """A cron expression of six fields: minutes, hours, day of the month, month, day of the week, year.

    Source: https://docs.aws.amazon.com/autoscaling/application/userguide/scheduled-scaling-using-cron-expressions.html
    """

    fields: tuple[frozenset[int], ...]
    zone: ZoneInfo

    def between(self, after: float, until: float) -> list[float]:
        """Return when it fires after the first moment and not after the second, in Unix seconds."""
        end = dt.datetime.fromtimestamp(until, self.zone)
        begin = max(dt.datetime.fromtimestamp(after, self.zone), end - _LONGEST)
        fired = []
        for number in range((end.date() - begin.date()).days + 1):
            day = begin.date() + dt.timedelta(days=number)
            if self._is_on(day):
                fired += [
                    dt.datetime.combine(day, dt.time(hour, minute), self.zone).timestamp()
                    for hour in sorted(self.fields[1])
                    for minute in sorted(self.fields[0])
                ]
        return [moment for moment in fired if after < moment <= until]

    def _is_on(self, day: dt.date) -> bool:
        _, _, days, months, weekdays, years = self.fields
        of_week = day.isoweekday() % 7 + 1
        return day.day in days and day.month in months and of_week in weekdays and day.year in years


def parse(expression: str, zone: str) -> Schedule:
    """Return the schedule of an expression such as `cron(0 8 ? * MON-FRI *)`. Raises InvalidScheduleError."""
    words = expression.removeprefix("cron(").removesuffix(")").split()
    if not expression.startswith("cron(") or not expression.endswith(")") or len(words) != len(_FIELDS):
        raise InvalidScheduleError(f"the sandbox carries out cron(…) of six fields, and not {expression!r}")
    try:
        found = ZoneInfo(zone or "UTC")
    except (KeyError, ValueError, OSError):
        raise InvalidScheduleError(f"{zone!r} is not a time zone") from None
    fields = (_values(word, *of) for word, of in zip(words, _FIELDS, strict=True))
    return Schedule(tuple(fields), found)


def _values(word: str, lowest: int, highest: int, names: tuple[str, ...]) -> frozenset[int]:
    if word in {"*", "?"}:
        return frozenset(range(lowest, highest + 1))
    values: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        begin, end = (_value(each, lowest, names) for each in (first, last if dash else first))
        if not lowest <= begin <= end <= highest:
            raise InvalidScheduleError(f"{part!r} is not from {lowest} to {highest}")
        values |= set(range(begin, end + 1))
    return frozenset(values)


def _value(text: str, lowest: int, names: tuple[str, ...]) -> int:
    if text.upper() in names:
        return names.index(text.upper()) + lowest
    if not text.isdecimal():
        raise InvalidScheduleError(f"the sandbox does not carry out {text!r}")
    return int(text)
