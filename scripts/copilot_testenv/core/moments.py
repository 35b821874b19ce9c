"""Show a moment to a person: the local day and time, and how far away it is."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SAME_WEEK = 6 * _DAY  # a weekday's name is clear within this time


def shown(moment: str | None, now: datetime) -> str:
    """Return "Fri 18:00, in 16 h" for a time in ISO 8601; any other text as it is, and "?" for None.

    Seconds are left out. Days more than six away have their date: "27 Nov 18:00, 12 days ago".
    """
    try:
        then = datetime.fromisoformat(moment or "")
    except (ValueError, TypeError):
        return moment or "?"
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    try:
        local, away = then.astimezone(), (then - now).total_seconds()
    except (OverflowError, OSError):  # the year 1 or 9999
        return moment or "?"
    name = f"{local:%a}" if abs(away) < _SAME_WEEK else f"{local.day} {local:%b}"
    if local.year != now.astimezone().year:
        name = f"{local.day} {local:%b %Y}"
    return f"{name} {local:%H:%M}, {_distance(away)}"


def told(moment: str | None) -> str:
    """Return a moment for a sentence on standard error: as `shown` on a terminal, else in ISO 8601."""
    return shown(moment, datetime.now(UTC)) if sys.stderr.isatty() else moment or "?"


def _distance(away: float) -> str:
    """Return "in 5 min" or "5 min ago" for a number of seconds."""
    size = abs(away)
    if size < _MINUTE:
        return "just now" if away <= 0 else "now"
    if size < _HOUR:
        text = f"{size / _MINUTE:.0f} min"
    elif size < 2 * _DAY:
        text = f"{size / _HOUR:.0f} h"
    else:
        text = f"{size / _DAY:.0f} days"
    return f"in {text}" if away > 0 else f"{text} ago"
