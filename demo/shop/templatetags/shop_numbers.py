"""Template filters that format numbers and ages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import template
from django.utils import timezone
from django.utils.timesince import timesince

if TYPE_CHECKING:
    from datetime import datetime

register = template.Library()


@register.filter
def thousands(number: int) -> str:
    """Return 12345 with a narrow no-break space between the thousands."""
    return f"{number:,}".replace(",", "\u202f")


@register.filter
def age(moment: datetime) -> str:
    """Return the age of `moment`, in its largest unit only."""
    if (timezone.now() - moment).total_seconds() < 60:  # noqa: PLR2004  a minute
        return "Just copied"
    return f"{timesince(moment, depth=1)} old"
