"""Stop the tasks of slots, and wait until they have ended."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from copilot_testenv.core import display
from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.session import Session, Target

_SECONDS = 300.0


def stop(session: Session, target: Target, stacks: Sequence[Stack], *, for_good: bool = False) -> list[str]:
    """Stop the tasks of all stacks at once; return the names of those whose tasks have not ended in time.

    With `for_good`, end their office hours before: AWS would start the tasks again.
    """
    for stack in stacks:
        if for_good:
            unschedule(target, stack)
        target.aws.scale_service(stack.name, 0)
    many = stacks[0].name if len(stacks) == 1 else display.counted(len(stacks), "slot")
    return until(
        lambda: [stack.name for stack in stacks if live.alive(target, stack)],
        operator.not_,
        seconds=_SECONDS,
        every=0.2 if session.settings.target == "sandbox" else 3,
        tell=Patience(session.report.say, f"the tasks of {many} end").tell,
    )


def unschedule(target: Target, stack: Stack) -> None:
    """End the office hours that a stack was deployed with, if it was. Raises Failed."""
    if stack.tags.get("hours"):
        target.aws.unschedule(stack.name)
