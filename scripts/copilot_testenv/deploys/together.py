"""Do once for several slots what costs each of them minutes on AWS: drop databases, delete stacks.

A one-off task, which drops databases, takes two to three minutes: its stack, its start on Fargate, its end.

The deletion of a service takes it out of the environment's parameters. That is an update of the environment's
stack, which takes some 80 s; there is one at a time. Copilot's function makes none for a service that is not
in them. So one update takes all services out, and their stacks are then deleted side by side.
Source: aws/copilot-cli 1.34, cf-custom-resources/lib/env-controller.js.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_testenv.copilot import environment_parameters
from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.deploys import copy_db, environment_turn, stopping
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import LIFETIME

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.deploys.delete_slot import SlotSnapshot
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

_LEASE_SLACK = 5.0  # seconds beyond a claim's lifetime
_STACKS_SECONDS = 1800.0  # until the stacks are deleted
_MANAGER, _EXECUTION = (
    "EnvironmentManagerRoleARN",
    "CFNExecutionRoleARN",
)  # outputs of the environment's stack


@dataclass(frozen=True)
class HeldSlot:
    """A branch's own slot, and its lease, which this run holds: `require_held` says if it still does."""

    snapshot: SlotSnapshot
    lease: Lease

    @property
    def service(self) -> str:
        return self.snapshot.settings.service


@contextmanager
def holding(
    session: Session,
    target: Target,
    snapshots: Sequence[SlotSnapshot],
    unchanged: Callable[[SlotSnapshot], SlotSnapshot | None],
    *,
    wait: bool,
) -> Iterator[list[HeldSlot]]:
    """Hold the leases of branches' own slots in this block.

    A slot that another run holds, or that `unchanged` does not return, is left out. With `wait`, wait until
    the claims of a run that was killed end by themselves.
    """
    end = time.monotonic() + (LIFETIME + _LEASE_SLACK if wait else 0)
    with ExitStack() as leases:
        ready = []
        for snapshot in sorted(snapshots, key=lambda each: each.settings.service):
            own = replace(session, settings=snapshot.settings)
            lease = bucket.lease(own, target, f"deleting {snapshot}")
            with ExitStack() as this, suppress(Held):
                _hold(lease, this, session, end)
                own.settled(target, wait=False)
                if found := unchanged(snapshot):
                    ready.append(HeldSlot(found, lease))
                    leases.enter_context(this.pop_all())
        yield ready


def _hold(lease: Lease, holder: ExitStack, session: Session, end: float) -> None:
    """Hold a lease, and try again until `end` on the monotonic clock. Raises Held."""
    while True:
        try:
            holder.enter_context(lease.held(wait=False, say=session.report.say))
        except Held:
            if time.monotonic() >= end:
                raise
            time.sleep(1)
        else:
            return


def drop_databases(session: Session, target: Target, ready: Sequence[HeldSlot]) -> dict[str, list[str]]:
    """Stop the tasks of slots and drop their databases; return the names, by the service of each slot.

    A slot that is not in the result may still have a database: its own deletion drops it. Nothing is done for
    fewer than two slots. Where no deployment copies staging, the live slots have none to drop. Raises Failed,
    Interrupted, and Held where a lease was lost.
    """
    if len(ready) < 2:  # noqa: PLR2004 - one is deleted as quickly alone
        return {}
    host = copy_db.host(session, target)
    slots = ready if host else [each for each in ready if each.snapshot.stack and each.snapshot.stack.live]
    _stop_tasks(session, target, [each.snapshot for each in slots])
    if host is None:
        return {each.service: [] for each in slots}
    for each in slots:
        each.lease.require_held()
    # The stack of the one-off task has the name of the first slot, and is deleted with that slot.
    first = replace(session, settings=slots[0].snapshot.settings)
    return copy_db.drop_several(first, target, host, [each.snapshot.settings for each in slots])


def delete_stacks(session: Session, target: Target, ready: Sequence[HeldSlot]) -> dict[str, list[str]]:
    """Delete the stacks of slots; return the Lambda functions of each, whose logs are left, by service.

    A stack that is left is not among them: the slot's own deletion tries again and reports. So is one whose
    lease was lost meanwhile: another run may have deployed to it. Raises Failed, Refused, and Held where the
    environment's lease was lost.
    """
    stacks = {each.service: each.snapshot.stack.name for each in ready if each.snapshot.stack}
    if len(stacks) < 2:  # noqa: PLR2004 - as above
        return {}
    target.copilot.require_marked()
    with environment_turn.held(session, target, f"deleting {len(stacks)} services") as turn:
        name = environment_turn.stack_name(session.settings)
        parameters, outputs = target.aws.stack_parameters(name), target.aws.outputs(name)
        if not (outputs.get(_MANAGER) and outputs.get(_EXECUTION)):
            raise Failed(f"The stack {name} has no output {_MANAGER} or {_EXECUTION}.")
        aws = target.aws.in_role(outputs[_MANAGER])
        changes, leaving = _without(name, parameters, stacks)
        if changes:
            turn.require_held()
            aws.change_parameters(name, parameters, changes, outputs[_EXECUTION])
            _require_updated(environment_turn.at_rest(session, target), name)
        turn.require_held()
        functions = {}
        for each in ready:
            if each.service in leaving:
                with suppress(Held):
                    each.lease.require_held()
                    functions[each.service] = target.aws.functions(stacks[each.service])
                    aws.delete_stack(stacks[each.service], outputs[_EXECUTION])
        left = _await_deletions(session, target, {stacks[service] for service in functions})
        return {service: names for service, names in functions.items() if stacks[service] not in left}


def _without(
    name: str, parameters: Mapping[str, str], stacks: Mapping[str, str]
) -> tuple[dict[str, str], set[str]]:
    try:
        return environment_parameters.without(parameters, set(stacks))
    except ValueError as error:
        raise Failed(f"The parameters of {name} are not what Copilot writes: {error}.") from error


def _require_updated(stack: Stack | None, name: str) -> None:
    if not stack or stack.status != "UPDATE_COMPLETE":
        raise Failed(f"The stack {name} is {stack.status if stack else 'gone'} after its update.")


def _await_deletions(session: Session, target: Target, stacks: set[str]) -> set[str]:
    """Wait until no stack is being deleted, say which are gone as they go, and return those that are left."""
    left = set(stacks)

    def deleting() -> set[str]:
        unsettled = target.aws.unsettled()
        gone = {stack for stack in left - set(unsettled) if target.aws.stack(stack) is None}
        if gone:
            session.report.say(f"Deleted: {', '.join(sorted(gone))}.")
        left.difference_update(gone)
        return {stack for stack in left if unsettled.get(stack) != "DELETE_FAILED"}

    until(
        deleting,
        operator.not_,
        seconds=_STACKS_SECONDS,
        every=0.2 if session.settings.target == "sandbox" else 5,
        tell=Patience(session.report.say, "stacks are being deleted").tell,
    )
    return left


def _stop_tasks(session: Session, target: Target, snapshots: Sequence[SlotSnapshot]) -> None:
    """Stop the tasks of all slots at once: a restarted one would copy the data again. Raises Failed."""
    stacks = [each.stack for each in snapshots if each.stack and each.stack.live]
    if alive := stopping.stop(session, target, stacks, for_good=True):
        raise Failed(f"The tasks of {', '.join(alive)} have not ended in time.")
