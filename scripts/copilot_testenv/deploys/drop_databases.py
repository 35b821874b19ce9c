"""Drop the databases of several slots by one one-off task, before the slots themselves are deleted.

A one-off task takes two to three minutes on AWS: its stack, its start on Fargate, its end. Each slot that is
deleted alone needs one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.deploys import copy_db, stopping
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.deploys.delete_slot import SlotSnapshot
    from copilot_testenv.session import Session, Target


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
    if alive := stopping.stop(session, target, stacks, for_good=True):
        raise Failed(f"The tasks of {', '.join(alive)} have not ended in time.")
