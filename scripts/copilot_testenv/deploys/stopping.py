"""Stop the tasks of a slot, and wait until they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.session import Session, Target

_SECONDS = 300.0


def stop(session: Session, target: Target, stack: Stack) -> bool:
    """Stop the tasks of a stack's service; return False where they have not ended in time."""
    target.aws.scale_service(stack.name, 0)
    return until(
        lambda: not live.alive(target, stack),
        bool,
        seconds=_SECONDS,
        every=0.2 if session.settings.target == "sandbox" else 3,
        tell=Patience(session.report.say, f"the tasks of {stack.name} end").tell,
    )


def unschedule(target: Target, stack: Stack) -> None:
    """End the office hours that a stack was deployed with, if it was. Raises Failed."""
    if stack.tags.get("hours"):
        target.aws.unschedule(stack.name)
