"""Bring a slot of several services back to what it was, where the deploy of one of them fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Held, UserError
from copilot_testenv.core.process import catching_signals
from copilot_testenv.core.terminal import Patience
from copilot_testenv.deployers import previous_release
from copilot_testenv.deploys.delete_slot import Receipt, Slot, SlotSnapshot
from copilot_testenv.deploys.rolled_back import what_serves

if TYPE_CHECKING:
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.process import Stop
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deployers.previous_release import Release
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

_GOES_ON = "Interrupted: what the failed deploy has changed is brought back first."


@contextmanager
def all_or_nothing(
    session: Session, target: Target, branch: Branch, lease: Lease, services: Sequence[Settings]
) -> Iterator[list[Settings]]:
    """Yield a list for the services that the block has begun to change, the web service first.

    If the block fails, each of them gets the release of before again, and what it has made is deleted. The
    error says then what serves. A slot whose lease was lost stays as it is: another run may have it.
    """
    releases = {}
    for own in services if len(services) > 1 else ():
        stack = target.aws.stack(own.stack_name)
        releases[own.service] = previous_release.of(target, own) if stack and stack.live else None
    changed: list[Settings] = []
    try:
        yield changed
    except Held:
        raise
    except UserError as error:
        if releases and changed and not lease.lost:
            error.args = (
                f"{str(error).rstrip()}\n{_brought_back(session, target, branch, lease, releases, changed)}",
            )
        raise


def _brought_back(
    session: Session,
    target: Target,
    branch: Branch,
    lease: Lease,
    releases: dict[str, Release | None],
    changed: Sequence[Settings],
) -> str:
    """Delete the new services, the last one first, and bring the others back; say what serves then."""
    names = ", ".join(own.service for own in changed)
    back = "is brought back to what it was" if len(changed) == 1 else "are brought back to what they were"
    session.report.say(f"The deploy has failed: {names} {back}.")
    new = [own for own in reversed(changed) if not releases[own.service]]
    old = [own for own in changed if releases[own.service]]
    faults = []
    with catching_signals(session.settings.timeout, lambda _: session.report.say(_GOES_ON)) as stop:
        for own in (*new, *old):  # the web service makes the data for the others
            try:
                _bring_back(replace(session, settings=own), target, lease, releases[own.service], stop)
            except UserError as error:
                faults.append(f"{own.service} was not brought back: {str(error).rstrip('.')}.")
    stack = target.aws.stack(session.settings.stack_name)
    if faults:
        faults.append("Deploy again, or `invoke teardown`.")
    return " ".join([*faults, what_serves(session, target, branch, stack, None)])


def _bring_back(session: Session, target: Target, lease: Lease, release: Release | None, stop: Stop) -> None:
    """Bring one service back; without a release, delete what this deploy has made of it. Raises Failed."""
    own, there = session.settings, target.for_slot(session.settings)
    lease.require_held()
    if release:
        patience = Patience(session.report.say, f"the stack {own.stack_name} is being changed")
        session.at_rest(there, seconds=own.timeout, patience=patience)
        previous_release.bring_back(there, own, release)
        return
    stack = target.aws.stack(own.stack_name)
    snapshot = SlotSnapshot(own, stack, None, ours=bool(own.slug))
    receipt = Slot(session, there, snapshot).delete(stop, lease, Receipt(snapshot))
    if receipt.left:
        raise Failed("; ".join(receipt.left))
