"""Delete several branches' own slots together: what AWS offers for many of them is done once for all.

The deletion of a service takes it out of the environment's parameters. That is an update of the environment's
stack, which takes some 80 s; there is one at a time. Copilot's function makes none for a service that is not
in them. So one update takes all services out, and their stacks are then deleted side by side. One-off tasks
and changes of the application's stack set take a minute or more each, too.
Source: aws/copilot-cli 1.34, cf-custom-resources/lib/env-controller.js.

One lease covers all these slots (`state.lease`). Before each step the run makes sure that it still has the
lease, and that nobody has taken a slot. Each step can be repeated, and the registry knows a slot until it is
gone: a run that was cut off is continued by the next one.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from copilot_testenv.copilot import application, environment_parameters
from copilot_testenv.core.errors import Failed, Interrupted, Refused, UserError
from copilot_testenv.core.polling import until
from copilot_testenv.core.terminal import Patience
from copilot_testenv.deployers import environment_roles
from copilot_testenv.deploys import copy_db, environment_turn, slot_media, stopping
from copilot_testenv.deploys.delete_slot import UNREACHED, Receipt, Slot, SlotPart, SlotSnapshot
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.copilot.application import Image
    from copilot_testenv.core.process import Stop
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.copy_db import Host
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

_STACKS_SECONDS = 1800.0  # until the stacks are deleted
_DELETING = "DELETE_IN_PROGRESS"  # by a run that was killed


@dataclass
class Sweep:
    """The slots that are deleted together, by their services; `begun` has those that were given back, too."""

    session: Session
    target: Target
    receipts: dict[str, Receipt] = field(default_factory=dict)
    begun: dict[str, Receipt] = field(default_factory=dict)

    def run(
        self,
        agreed: Sequence[SlotSnapshot],
        unchanged: Callable[[Sequence[SlotSnapshot]], list[SlotSnapshot]],
        stop: Stop,
        *,
        wait: bool,
    ) -> None:
        """Delete the slots to their end; `receipts` has those for which that was done.

        A slot that another run holds, that `unchanged` does not return, or of which a part cannot be deleted
        with the others, is given back. With `wait`, wait for the sweep of another run. Raises Held,
        Interrupted, Failed, Refused.
        """
        snapshots = {each.settings.service: each for each in agreed}
        lease = bucket.sweep_lease(
            self.session, self.target, f"deleting {len(agreed)} slots", list(snapshots)
        )
        with lease.held(wait=wait, say=self.session.report.say):
            try:
                self.receipts = {service: Receipt(each) for service, each in snapshots.items()}
                self._require_held(lease)
                self._look(lease, unchanged)
                self.begun = dict(self.receipts)
                host = copy_db.host(self.session, self.target, self.receipts)
                if host and host.service in self.receipts:
                    self._give_back(lease, host.service, "its container drops the databases of the others")
                self._delete_stacks(lease)
                self._require_held(lease)
                task = self._drop_databases(lease, host)
                self._require_held(lease)
                self._clear(task, stop)
                self._require_held(lease)
                self._withdraw()
            except BaseException:
                self.receipts = {}
                raise

    def _require_held(self, lease: Lease) -> None:
        """Give back the slots of which another run holds the lease. Raises Held where this run lost its own.

        A deploy by an earlier version of these tasks does not look at a sweep's lease.
        """
        lease.require_held()
        for service in bucket.held_slots(self.session, self.target, self._slots()):
            self._give_back(lease, service, "another run changes it")

    def _give_back(self, lease: Lease, service: str, why: str) -> None:
        self.session.report.say(f"{service} is not deleted with the others: {why}.")
        del self.receipts[service]
        lease.slots = tuple(self.receipts)

    def _slots(self) -> list[Settings]:
        return [receipt.snapshot.settings for receipt in self.receipts.values()]

    def _look(self, lease: Lease, unchanged: Callable[[Sequence[SlotSnapshot]], list[SlotSnapshot]]) -> None:
        """Look at the slots again, now that they are held."""
        found = {
            each.settings.service: each
            for each in unchanged([receipt.snapshot for receipt in self.receipts.values()])
        }
        for service in list(self.receipts):
            stack = found[service].stack if service in found else None
            if service not in found:
                self._give_back(lease, service, "it was changed meanwhile")
            elif stack and stack.changing and stack.status != _DELETING:
                self._give_back(lease, service, f"its stack is {stack.status}")
            else:
                self.receipts[service] = Receipt(found[service])

    def _stacks(self) -> dict[str, Stack]:
        found = {service: receipt.snapshot.stack for service, receipt in self.receipts.items()}
        return {service: stack for service, stack in found.items() if stack}

    def _delete_stacks(self, lease: Lease) -> None:
        """Delete the stacks and the logs of their functions; give back the slots whose stacks are left."""
        session, target, settings = self.session, self.target, self.session.settings
        if not (stacks := self._stacks()):
            return
        target.copilot.require_marked()
        functions = target.aws.functions_of(settings.app, settings.test_env)
        functions |= {
            service: target.aws.functions(stack.name)
            for service, stack in stacks.items()
            if service not in functions
        }
        with environment_turn.held(session, target, f"deleting {len(stacks)} services") as turn:
            name = environment_turn.stack_name(settings)
            parameters = target.aws.stack_parameters(name)
            aws, execution = environment_roles.assumed(target, settings)
            changes, leaving = _without(name, parameters, stacks)
            for service in stacks.keys() - leaving:
                self._give_back(lease, service, "the load balancer goes with it")
            if changes:
                turn.require_held()
                aws.change_parameters(name, parameters, changes, execution)
                _require_updated(environment_turn.at_rest(session, target), name)
            turn.require_held()
            self._require_held(lease)
            for service, stack in self._stacks().items():
                self._end_office_hours(stack)
                try:
                    aws.delete_stack(stack.name, execution)
                except Failed as error:
                    self._give_back(lease, service, str(error).rstrip("."))
            self._await_deletions(lease)
        self._note_stacks(functions)

    def _end_office_hours(self, stack: Stack) -> None:
        """End the office hours; an error is only reported, because AWS scales no deleted service."""
        try:
            stopping.unschedule(self.target, stack)
        except Failed as error:
            self.session.report.say(f"(The office hours of {stack.name} were not ended: {error})")

    def _await_deletions(self, lease: Lease) -> None:
        """Wait until the stacks are gone, and say which are; give back the slots whose stacks are left."""
        left = {stack.name: service for service, stack in self._stacks().items()}

        def deleting() -> set[str]:
            there = self.target.aws.every_stack()
            if gone := left.keys() - there.keys():
                self.session.report.say(f"Deleted: {', '.join(sorted(gone))}.")
            for name in gone:
                del left[name]
            return {name for name in left if there[name].status != "DELETE_FAILED"}

        until(
            deleting,
            operator.not_,
            seconds=_STACKS_SECONDS,
            every=0.5 if self.session.settings.target == "sandbox" else 5,
            tell=Patience(self.session.report.say, "stacks are being deleted").tell,
        )
        for name, service in left.items():
            self._give_back(lease, service, f"the stack {name} is left")

    def _note_stacks(self, functions: Mapping[str, Sequence[str]]) -> None:
        settings = self.session.settings
        groups = self.target.aws.log_groups(f"/copilot/{settings.app}-{settings.test_env}-")
        for service, stack in self._stacks().items():
            receipt = self.receipts[service]
            receipt.gone.append(SlotPart("stack", stack.name))
            slot = self._slot(receipt)
            slot.note_log_group(receipt, is_left=f"/copilot/{stack.name}" in groups)
            slot.delete_function_logs(functions.get(service, ()), receipt)

    def _slot(self, receipt: Receipt) -> Slot:
        settings = receipt.snapshot.settings
        own = replace(self.session, settings=settings)
        return Slot(own, self.target.for_slot(settings), receipt.snapshot)

    def _drop_databases(self, lease: Lease, host: Host | None) -> str:
        """Drop the databases, now that no task of these slots can copy the data again.

        Return the service whose one-off task did it.
        """
        if host is None:
            for receipt in self.receipts.values():
                stack, suffix = receipt.snapshot.stack, receipt.snapshot.settings.database_suffix
                if not (stack and stack.live):  # what was live copied nothing, and has none
                    receipt.left.append(UNREACHED.format(f"database …{suffix}"))
            return ""
        if not self.receipts:
            return ""
        slots = self._slots()
        first = replace(self.session, settings=slots[0])
        dropped = copy_db.drop_several(first, self.target, host, slots)
        for slot in slots:
            if slot.service in dropped:
                names = dropped[slot.service]
                self.receipts[slot.service].gone += [SlotPart("database", name) for name in names]
            else:
                self._give_back(lease, slot.service, "its database was not dropped")
        return slots[0].service

    def _clear(self, task: str, stop: Stop) -> None:
        """Delete the stacks of one-off tasks, Copilot's templates and media."""
        settings, aws = self.session.settings, self.target.aws
        for service, receipt in self.receipts.items():
            if receipt.snapshot.one_off or service == task:
                self._slot(receipt).delete_one_off(receipt, stop)
        try:
            store = aws.application_bucket(settings.app)
            own = f"{settings.app}-{settings.test_env}-{settings.base}-"
            keys = [
                key
                for prefix in (own, f"task-{own}")
                for key in aws.object_keys(store, f"manual/templates/{prefix}")
            ]
            aws.delete_objects(store, [key for key in keys if self._note_template(store, key)])
        except Failed as error:
            self.session.report.say(f"(Copilot's templates were not deleted: {error})")
        for service in slot_media.services(settings.shared, aws):
            if service in self.receipts:
                self._slot(self.receipts[service]).clear_media(self.receipts[service])

    def _note_template(self, store: str, key: str) -> bool:
        """Write a template into its slot's receipt; return False where it belongs to none of these slots."""
        folder = key.rpartition("/")[0] + "/"
        for receipt in self.receipts.values():
            if folder in receipt.snapshot.template_folders:
                part = SlotPart("templates", f"s3://{store}/{folder}")
                if part not in receipt.gone:
                    receipt.gone.append(part)
                return True
        return False

    def _withdraw(self) -> None:
        """Take the services out of the application, and forget the slots; what fails stays registered."""
        pushed = self._pushed()
        ready = [receipt for service, receipt in self.receipts.items() if service in pushed]
        if not ready:
            return
        slots = [(receipt.snapshot.settings, pushed[receipt.snapshot.settings.service]) for receipt in ready]
        doing = f"taking {len(slots)} services out"
        try:
            with bucket.application_lease(self.session, self.target, doing).held(
                wait=True, say=self.session.report.say
            ):
                gone = application.withdraw_several(slots, self.target.aws, lambda: time.sleep(1))
        except Interrupted:
            raise
        except UserError as error:
            _note(ready, error)
            return
        for receipt in ready:
            receipt.note(gone[receipt.snapshot.settings.service])
        self.session.report.say(f"Gone from the application: {', '.join(gone)}.")
        bucket.registry(self.session, self.target).forget(*gone)
        try:
            bucket.discard_leases(self.session, self.target, list(gone))
        except Failed as error:
            self.session.report.say(f"(The leases of these slots were not deleted: {error})")
        else:
            for receipt in ready:
                receipt.lease_is_gone()

    def _pushed(self) -> dict[str, Sequence[Image]]:
        """Return the images of the services that may be taken out of the application."""
        pushed: dict[str, Sequence[Image]] = {}
        stacks = self.target.aws.every_stack()
        for service, receipt in self.receipts.items():
            settings = receipt.snapshot.settings
            try:
                if settings.stack_name in stacks:
                    raise Refused("it was deployed again meanwhile")
                pushed[service] = application.require_ours(settings, self.target.aws, stacks)
            except Interrupted:
                raise
            except UserError as error:
                _note([receipt], error)
        return pushed


def _note(receipts: Iterable[Receipt], error: UserError) -> None:
    for receipt in receipts:
        receipt.left.append(f"service {receipt.snapshot.settings.service}: {str(error).rstrip('.')}")


def _without(
    name: str, parameters: Mapping[str, str], services: Iterable[str]
) -> tuple[dict[str, str], set[str]]:
    try:
        return environment_parameters.without(parameters, set(services))
    except ValueError as error:
        raise Failed(f"The parameters of {name} are not what Copilot writes: {error}.") from error


def _require_updated(stack: Stack | None, name: str) -> None:
    if not stack or stack.status != "UPDATE_COMPLETE":
        raise Failed(f"The stack {name} is {stack.status if stack else 'gone'} after its update.")
