"""Say what a failed deploy has left: what serves now, and with which data."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.core import moments
from copilot_testenv.core.errors import UserError
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.git import Branch
    from copilot_testenv.deploys.watch import Watcher
    from copilot_testenv.session import Session, Target


def what_serves(
    session: Session, target: Target, branch: Branch, stack: Stack | None, watcher: Watcher | None
) -> str:
    """Return the sentences for the user; without a watcher all tasks are new.

    Of another service of a slot nothing is said: what serves is the slot.

    Write the age of the data into the registry, for `status`, where it has changed.
    """
    if session.settings.web:
        return ""
    if not stack or not stack.live:
        own = session.branch_flag(branch.name)
        return (
            "Nothing is served; the next deploy starts anew, and "
            f"`invoke teardown{own}` removes what is left."
        )
    name, commit = stack.tags.get("branch", "?"), stack.tags.get("commit", "?")[:12]
    data = "`invoke status` shows of when its data are."
    with suppress(UserError):  # the deploy's own error is more important
        data = _data(session, target, stack, watcher)
    return f"{name} at {commit} serves again. {data}"


def _data(session: Session, target: Target, stack: Stack, watcher: Watcher | None) -> str:
    """Return a sentence about the data of the deployment that serves again. Raises Failed."""
    settings = session.settings
    tasks = live.running(target, stack)
    if watcher and any(watcher.knew(task) for task in tasks):
        if not watcher.reported:
            return "Its task and its data were not touched."
        return (
            "Its task went on, and the failed deploy may have replaced its data: "
            "`invoke copy-db` copies them."
        )
    data = live.data_at_start(settings, target, tasks)
    if not data:
        return "`invoke status` shows of when its data are."
    of = live.iso(data.of)
    if data.kept:
        return f"Its data are those of before, with what testers entered (copied at {moments.told(of)})."
    registry = bucket.registry(session, target)
    if record := registry.read().deployments.get(settings.service):
        registry.record(settings.service, replace(record, data_copied_at=of))
    return f"Its data were copied again (of {moments.told(of)}): what testers had entered is lost."
