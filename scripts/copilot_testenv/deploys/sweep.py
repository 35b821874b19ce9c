"""Delete several slots together: what AWS offers for many of them is done once for all.

The deletion of a service takes it out of the environment's parameters. That is an update of the environment's
stack, which takes some 80 s; there is one at a time. Copilot's function makes none for a service that is not
in them. So one update takes all services out, and their stacks are then deleted side by side. One-off tasks
and changes of the application's stack set take a minute or more each, too.
Source: aws/copilot-cli 1.34, cf-custom-resources/lib/env-controller.js.

Some slots go last, one after the other: that whose container drops the databases of the others, and those
with which a part of the environment goes, such as its load balancer. Their own deletion takes them out.

One lease covers all these slots (`state.lease`). Before each step the run makes sure that it still has the
lease, and that nobody has taken a slot. Each step can be repeated, and the registry knows a slot until it is
gone: a run that was cut off is continued by the next one.
"""

from __future__ import annotations

import functools
import operator
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.copilot.application import Image
    from copilot_testenv.core.process import Stop
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.copy_db import Host
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

_STACKS_SECONDS = 1800.0  # until the stacks are deleted
_LOOKED_EVERY = 15.0  # seconds between looks at stacks on AWS, where their deletion takes minutes
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
                self._give_back_held(lease)
                self._look(lease, unchanged)
                self.begun = dict(self.receipts)
                host = copy_db.host(self.session, self.target, self.receipts)
                last = self._delete_first(lease, host)
                self._require_held(lease)
                task = self._drop_databases(lease, host, last)
                self._delete_last(lease, last)
                self._require_held(lease)
                self._clear(task, stop)
                self._require_held(lease)
                self._withdraw()
            except BaseException:
                self.receipts = {}
                raise

    def _require_held(self, lease: Lease) -> None:
        """Give back the slots that another run holds. Raises Held where this run lost its own lease."""
        lease.require_held()
        self._give_back_held(lease)

    def _give_back_held(self, lease: Lease) -> None:
        """Give back the slots that another run holds.

        A deploy by an earlier version of these tasks does not look at a sweep's lease.
        """
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
            if service not in found:
                self._give_back(lease, service, "it was changed meanwhile")
                continue
            self.receipts[service] = Receipt(found[service])
            for stack in found[service].stacks:
                if stack.changing and stack.status != _DELETING:
                    self._give_back(lease, service, f"its stack {stack.name} is {stack.status}")
                    break

    def _delete_first(self, lease: Lease, host: Host | None) -> list[str]:
        """Take the services out of the environment, delete their stacks; return the slots that go last."""
        session, target, settings = self.session, self.target, self.session.settings
        first = [host.service] if host and host.service in self.receipts else []
        slots = dict.fromkeys((*first, *reversed(self.receipts)))  # the shared slot comes first
        services = [
            each.settings.service
            for slot in slots
            for each in self.receipts[slot].snapshot.services
            if each.stack
        ]
        if not services:
            return []
        target.copilot.require_marked()
        with environment_turn.held(session, target, f"deleting {len(services)} services") as turn:
            name = environment_turn.stack_name(settings)
            parameters = target.aws.stack_parameters(name)
            changes, staying = _without(name, parameters, services)
            last = [
                slot
                for slot in slots
                if slot in first
                or staying & {each.settings.service for each in self.receipts[slot].snapshot.services}
            ]
            if changes:
                turn.require_held()
                aws, execution = self._roles
                aws.change_parameters(name, parameters, changes, execution)
                _require_updated(environment_turn.at_rest(session, target), name)
            turn.require_held()
            self._require_held(lease)
            self._delete_stacks(lease, set(self.receipts) - set(last))
        return last

    def _delete_last(self, lease: Lease, last: Sequence[str]) -> None:
        """Delete the stacks of the slots that go last, one after the other: each changes the environment.

        A slot that was given back may still need the load balancer, or the container that drops databases.
        """
        for slot in [each for each in last if each in self.receipts]:
            if self.begun.keys() - self.receipts.keys():
                self._give_back(lease, slot, "it goes after the others")
                continue
            if not self.receipts[slot].snapshot.stacks:
                continue
            self.target.copilot.require_marked()
            with environment_turn.held(self.session, self.target, f"deleting {slot}"):
                self._require_held(lease)
                self._delete_stacks(lease, {slot})

    @functools.cached_property
    def _roles(self) -> tuple[Aws, str]:
        return environment_roles.assumed(self.target, self.session.settings)

    @functools.cached_property
    def _functions(self) -> dict[str, list[str]]:
        """The names of the Lambda functions of the slots' services, from before the stacks are deleted."""
        aws, settings = self.target.aws, self.session.settings
        found = aws.functions_of(settings.app, settings.test_env)
        for receipt in self.receipts.values():
            for stack, each in ((each.stack, each.settings) for each in receipt.snapshot.services):
                if stack and each.service not in found:
                    found[each.service] = aws.functions(stack.name)
        return found

    def _delete_stacks(self, lease: Lease, slots: Collection[str]) -> None:
        """Delete the stacks of these slots, those of the web services last, and the logs of their functions.

        Give back the slots of which a stack is left.
        """
        for web in (False, True):
            stacks = {
                each.stack.name: (service, each)
                for service, receipt in self.receipts.items()
                for each in receipt.snapshot.services
                if service in slots and each.stack and (each.settings.service == service) is web
            }
            if not stacks:
                continue
            functions, (aws, execution) = self._functions, self._roles
            for name, (service, each) in stacks.items():
                if each.stack and service in self.receipts:
                    self._slot(each).end_office_hours(each.stack)
                    try:
                        aws.delete_stack(name, execution)
                    except Failed as error:
                        self._give_back(lease, service, str(error).rstrip("."))
            self._await_deletions(lease, {name: service for name, (service, _) in stacks.items()})
            self._note_stacks(stacks.values(), functions)

    def _await_deletions(self, lease: Lease, stacks: Mapping[str, str]) -> None:
        """Wait until the stacks are gone, and say which are; give back the slots whose stacks are left."""
        left = {name: service for name, service in stacks.items() if service in self.receipts}

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
            every=1 if self.session.settings.target == "sandbox" else _LOOKED_EVERY,
            tell=Patience(self.session.report.say, "stacks are being deleted").tell,
        )
        for name, service in left.items():
            if service in self.receipts:
                self._give_back(lease, service, f"the stack {name} is left")

    def _note_stacks(
        self, deleted: Iterable[tuple[str, SlotSnapshot]], functions: Mapping[str, Sequence[str]]
    ) -> None:
        settings = self.session.settings
        groups = self.target.aws.log_groups(f"/copilot/{settings.app}-{settings.test_env}-")
        for service, each in deleted:
            if receipt := self.receipts.get(service):
                is_left = f"/copilot/{each.settings.stack_name}" in groups
                self._slot(each).note_stack(
                    receipt, functions.get(each.settings.service, ()), is_left=is_left
                )

    def _slot(self, snapshot: SlotSnapshot) -> Slot:
        own = replace(self.session, settings=snapshot.settings)
        return Slot(own, self.target.for_slot(snapshot.settings), snapshot)

    def _drop_databases(self, lease: Lease, host: Host | None, last: Collection[str]) -> str:
        """Drop the branches' databases, now that no task of these slots can copy the data again.

        Return the service whose one-off task did it.
        """
        own = {service: each for service, each in self.receipts.items() if each.snapshot.settings.slug}
        if host is None:
            for receipt in own.values():
                stack, suffix = receipt.snapshot.stack, receipt.snapshot.settings.database_suffix
                if not (stack and stack.live):  # what was live copied nothing, and has none
                    receipt.left.append(UNREACHED.format(f"database …{suffix}"))
            return ""
        if not own:
            return ""
        for service in own.keys() & set(last):
            for stack in own[service].snapshot.stacks:
                stopping.stop(self.session, self.target, stack)
        slots = [receipt.snapshot.settings for receipt in own.values()]
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
        """Delete one-off tasks' stacks, Copilot's templates, media, and the shared slot's image tags."""
        settings, aws = self.session.settings, self.target.aws
        for service, receipt in self.receipts.items():
            if receipt.snapshot.one_off or service == task:
                self._slot(receipt.snapshot).delete_one_off(receipt, stop)
        try:
            store = aws.application_bucket(settings.app)
            own = f"{settings.app}-{settings.test_env}-"
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
                self._slot(self.receipts[service].snapshot).clear_media(self.receipts[service])
        for receipt in self.receipts.values():
            if not receipt.snapshot.settings.slug:
                for each in receipt.snapshot.services:
                    self._slot(each).delete_tags(receipt)

    def _note_template(self, store: str, key: str) -> bool:
        """Write a template into its slot's receipt; return False where it belongs to none of these slots."""
        folder = key.rpartition("/")[0] + "/"
        for receipt in self.receipts.values():
            if any(folder in each.template_folders for each in receipt.snapshot.services):
                part = SlotPart("templates", f"s3://{store}/{folder}")
                if part not in receipt.gone:
                    receipt.gone.append(part)
                return True
        return False

    def _withdraw(self) -> None:
        """Take the services out of the application, and forget the slots; what fails stays registered."""
        pushed, gone = self._pushed(), dict[str, list[str]]()
        try:
            if pushed:
                gone = self._withdrawn(pushed)
        except Interrupted:
            raise
        except UserError as error:
            own = [each for each in self.receipts.values() if each.snapshot.settings.slug]
            _note([each for each in own if not each.still_named], error)
        ready = {service: each for service, each in self.receipts.items() if not each.still_named}
        if not ready:
            return
        for receipt in ready.values():
            for each in receipt.snapshot.services:
                receipt.note(gone.get(each.settings.service, ()))
        bucket.registry(self.session, self.target).forget(*ready)
        try:
            bucket.discard_leases(self.session, self.target, list(ready))
        except Failed as error:
            self.session.report.say(f"(The leases of these slots were not deleted: {error})")
        else:
            for receipt in ready.values():
                receipt.lease_is_gone()

    def _withdrawn(self, pushed: Sequence[tuple[Settings, Sequence[Image]]]) -> dict[str, list[str]]:
        lease = bucket.application_lease(self.session, self.target, f"taking {len(pushed)} services out")
        with lease.held(wait=True, say=self.session.report.say):
            gone = application.withdraw_several(pushed, self.target.aws, lambda: time.sleep(1))
        self.session.report.say(f"Gone from the application: {', '.join(gone)}.")
        return gone

    def _pushed(self) -> list[tuple[Settings, Sequence[Image]]]:
        """Return the services that may be taken out of the application, with their images."""
        pushed: list[tuple[Settings, Sequence[Image]]] = []
        stacks = self.target.aws.every_stack()
        for receipt in self.receipts.values():
            services = [each.settings for each in receipt.snapshot.services]
            try:
                if any(own.stack_name in stacks for own in services):
                    raise Refused("it was deployed again meanwhile")
                if receipt.snapshot.settings.slug:
                    pushed += [
                        (own, application.require_ours(own, self.target.aws, stacks)) for own in services
                    ]
            except Interrupted:
                raise
            except UserError as error:
                _note([receipt], error)
        return pushed


def _note(receipts: Iterable[Receipt], error: UserError) -> None:
    for receipt in receipts:
        receipt.left.append(f"service {receipt.snapshot.settings.service}: {str(error).rstrip('.')}")


def _without(
    name: str, parameters: Mapping[str, str], services: Sequence[str]
) -> tuple[dict[str, str], set[str]]:
    try:
        return environment_parameters.without(parameters, services)
    except ValueError as error:
        raise Failed(f"The parameters of {name} are not what Copilot writes: {error}.") from error


def _require_updated(stack: Stack | None, name: str) -> None:
    if not stack or stack.status != "UPDATE_COMPLETE":
        raise Failed(f"The stack {name} is {stack.status if stack else 'gone'} after its update.")
