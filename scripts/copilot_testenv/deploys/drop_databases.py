"""Drop the databases of several slots by one one-off task, before the slots themselves are deleted.

A one-off task takes two to three minutes on AWS: its stack, its start on Fargate, its end. Each slot that is
deleted alone needs one of its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.deploys import copy_db
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.deploys.delete_slot import SlotSnapshot
    from copilot_testenv.session import Session, Target

_SECONDS = 300.0  # until the tasks of the slots have ended


def drop_together(
    session: Session,
    target: Target,
    snapshots: Sequence[SlotSnapshot],
    unchanged: Callable[[SlotSnapshot], SlotSnapshot | None],
) -> dict[str, list[str]]:
    """Drop the databases of branches' own slots; return the dropped ones' names, by the slot's service.

    All slots' leases are held meanwhile. A slot that another run holds, or that `unchanged` does not return,
    is left out. Nothing is dropped where fewer than two slots remain: their own deletion does it. Raises
    Failed, Interrupted.
    """
    with ExitStack() as leases:
        ready = []
        for snapshot in sorted(snapshots, key=lambda each: each.settings.service):
            own = replace(session, settings=snapshot.settings)
            lease = bucket.lease(own, target, f"deleting {snapshot}")
            try:
                leases.enter_context(lease.held(wait=False, say=session.report.say))
                own.settled(target, wait=False)
            except Held:
                continue
            if found := unchanged(snapshot):
                ready.append(found)
        host = copy_db.host(session, target) if len(ready) > 1 else None
        if host is None:
            return {}
        _stop_tasks(session, target, ready)
        # Its stack is named by the first slot, so that it goes with that one.
        first = replace(session, settings=ready[0].settings)
        return copy_db.drop_several(first, target, host, [each.settings for each in ready])


def _stop_tasks(session: Session, target: Target, snapshots: Sequence[SlotSnapshot]) -> None:
    """Stop the tasks of all slots at once: a restarted one would copy the data again. Raises Failed."""
    stacks = [each.stack for each in snapshots if each.stack and each.stack.live]
    for stack in stacks:
        target.aws.stop_service(stack.name)
    alive = until(
        lambda: [stack.name for stack in stacks if live.alive(target, stack)],
        operator.not_,
        seconds=_SECONDS,
        every=0.2 if session.settings.target == "sandbox" else 5,
        tell=Patience(session.report.say, f"the tasks of {len(stacks)} slots end").tell,
    )
    if alive:
        raise Failed(f"The tasks of {', '.join(alive)} have not ended after {_SECONDS:.0f} s.")
