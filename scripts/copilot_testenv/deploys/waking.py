"""Tell when a deployment that sleeps wakes by itself, and how somebody wakes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.core import moments, office_hours
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.state.live import Deployment


def how(sleeping: Deployment) -> str:
    """Return a sentence with the next start of its hours, and with the command that wakes it before."""
    branch = f" --branch {sleeping.branch or '?'}" if sleeping.isolated else ""
    if not (when := by_itself(sleeping)):
        return f"`invoke wake{branch}` wakes it."
    return f"It wakes at {moments.told(when)} ({sleeping.hours}), or by `invoke wake{branch}`."


def by_itself(sleeping: Deployment) -> str:
    """Return when it wakes by itself, in ISO 8601; empty for never."""
    hours = office_hours.of_tags({"hours": sleeping.hours or ""})
    return live.iso(hours.next_wake(datetime.now(UTC))) if hours else ""
