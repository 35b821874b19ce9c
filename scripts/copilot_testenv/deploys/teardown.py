"""Delete slots: `invoke teardown`. Choose them, ask for confirmation, and delete them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.ci import deployments, pull_request
from copilot_testenv.ci.pull_request import Message
from copilot_testenv.copilot import ownership
from copilot_testenv.core import expiry, git, moments, office_hours
from copilot_testenv.core.errors import Failed, Held, Interrupted, Refused, UsageError, UserError
from copilot_testenv.core.process import Stop, catching_signals
from copilot_testenv.core.terminal import as_json, confirm
from copilot_testenv.costs import estimate
from copilot_testenv.deploys import nothing, orphans, preflight, slot_services, status
from copilot_testenv.deploys.delete_slot import (
    DEAD,
    NEVER_DELETED,
    Receipt,
    Slot,
    SlotSnapshot,
    listed,
    would_go,
)
from copilot_testenv.deploys.sweep import Sweep as SlotSweep
from copilot_testenv.state import bucket, live
from copilot_testenv.state.registry import RegistryContent, Sweep

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.orphans import Orphan
    from copilot_testenv.session import Session, Target


@dataclass(frozen=True)
class Options:
    """The flags of `teardown`; without the first four, the shared slot is deleted."""

    branch: str = ""  # the slot that this branch is deployed in
    expired: bool = False  # the slots that have expired; with `branch`: its slots, if they have expired
    every: bool = False  # all slots
    orphans: bool = False  # things that belong to no deployment
    wait: bool = False
    yes: bool = False
    plan: bool = False
    json: bool = False


def teardown(session: Session, options: Options) -> None:
    """Delete the slots that the flags select; the environment itself stays. Idempotent.

    Raises the errors of core.errors; with several slots, the first error after all were tried.
    """
    if sum((bool(options.branch) or options.expired, options.every, options.orphans)) > 1:
        raise UsageError(
            "Use --branch and --expired, or --all, or --orphans: each of them selects what is deleted."
        )
    if options.branch:
        git.check_name(options.branch)
    session.announce()
    session.check_workspace()
    target = session.enter_to_change()
    run = _Teardown(session, target, options) if target else None
    receipts: list[Receipt] = []
    failures: list[UserError] = []
    if run:
        receipts, failures = run.run()
    else:
        session.report.say(f"Nothing is deployed in {session.settings.test_env}: nothing to tear down.")
    if options.json:
        session.report.data(as_json([receipt.document(plan=options.plan) for receipt in receipts]))
    for failure in failures[1:]:
        session.report.say(str(failure))
    if failures:
        raise failures[0]
    if run and run.interrupted:
        raise Interrupted("Interrupted; what had begun was finished.")


_LEFT = "A first deploy that failed can leave images and databases: `invoke teardown --orphans` deletes them."


@dataclass
class _Teardown:
    session: Session
    target: Target
    options: Options
    interrupted: bool = False
    begun: dict[str, Receipt] = field(default_factory=dict)  # what a sweep has left unfinished, by service

    def run(self) -> tuple[list[Receipt], list[UserError]]:
        """Return the receipts, and the errors of the slots that could not be deleted completely."""
        options = self.options
        if options.expired and not options.plan and not options.branch:
            by = self.session.who()
            self._registry().note_sweep(Sweep(live.iso(datetime.now(UTC)), by))
        snapshots = self._chosen()
        if snapshots or options.orphans:
            preflight.preflight(self.session, self.target, builds=False)
        found_orphans = (
            orphans.find(self.session, self.target, snapshots, look=not options.plan, wait=options.wait)
            if options.orphans
            else []
        )
        if not snapshots and not found_orphans:
            self.session.report.say(self._nothing())
            return [], []
        return (
            (self._plan(snapshots, found_orphans), [])
            if options.plan
            else self._delete_all(snapshots, found_orphans)
        )

    def _plan(self, snapshots: list[SlotSnapshot], found_orphans: list[Orphan]) -> list[Receipt]:
        say = self.session.report.say
        planned = [Receipt(snapshot, list(would_go(snapshot, self.target.aws))) for snapshot in snapshots]
        for receipt in planned:
            say(f"Would delete {receipt.snapshot}:{listed(receipt.gone)}")
        for orphan in found_orphans:
            say(f"Would delete {orphan}.")
        say(f"Would remain: {', '.join(NEVER_DELETED)}.")
        return planned

    def _delete_all(
        self, snapshots: list[SlotSnapshot], found_orphans: list[Orphan]
    ) -> tuple[list[Receipt], list[UserError]]:
        """Ask for confirmation; delete together what can be, then each slot to its end.

        An error with one does not stop the others.
        """
        say = self.session.report.say
        for snapshot in snapshots:
            say(f"To be deleted: {snapshot}{_owner_of(snapshot)}")
        for orphan in found_orphans:
            say(f"To be deleted: {orphan}")
        whats = " and ".join(map(str, (*snapshots, *found_orphans)))
        confirm(
            self.session.report,
            f"Delete {whats} from {self.session.settings.test_env}?",
            yes=self.options.yes,
        )
        receipts: list[Receipt] = []
        failures: list[UserError] = []
        with self._collecting(failures):
            receipts += self._delete_together(snapshots)
        swept = {receipt.snapshot.settings.service for receipt in receipts}
        for snapshot in snapshots:
            if snapshot.settings.service not in swept:
                with self._collecting(failures):
                    receipts.append(self._delete(snapshot))
        for orphan in found_orphans:
            with self._collecting(failures):
                if not self.interrupted:
                    orphan.remove()
                    say(f"Gone: {orphan}.")
        failures += [
            Failed(
                f"Not everything of {receipt.snapshot} was deleted: {'; '.join(receipt.left)}. "
                "`invoke teardown --orphans` shows and removes it."
            )
            for receipt in receipts
            if receipt.left
        ]
        say(f"Remains: {', '.join(NEVER_DELETED)}.")
        return receipts, failures

    @contextmanager
    def _collecting(self, failures: list[UserError]) -> Iterator[None]:
        """Collect an error, so that the next slot can follow; note where the user interrupted."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            self.interrupted = True
        except UserError as error:
            failures.append(error)

    @contextmanager
    def _catching(self) -> Iterator[Stop]:
        """Let a delete that has begun finish after a signal, so that no slot is half deleted."""

        def say(_: str) -> None:
            self.interrupted = True
            self.session.report.say("Interrupted: a delete that has begun is finished first.")

        with catching_signals(self.session.settings.timeout, say) as stop:
            yield stop

    def _nothing(self) -> str:
        where = self.session.settings.test_env
        if self.options.branch:
            which = "expired" if self.options.expired else "deployed"
            near = nothing.meant(self.session, self.target, self.options.branch)
            return f"{self.options.branch} is not {which} in {where}: nothing to tear down. {near}".rstrip()
        if self.options.expired:
            return f"Nothing in {where} has expired: nothing to tear down."
        if self.options.orphans:
            return f"Everything that was checked in {where} belongs to a deployment: nothing to tear down."
        if others := nothing.elsewhere(self.session, self.target):
            return f"Nothing is deployed to the shared slot of {where}: nothing to tear down. {others}"
        return f"Nothing is deployed in {where}: nothing to tear down. {_LEFT}"

    def _chosen(self) -> list[SlotSnapshot]:
        """Return the slots to delete.

        Those without a live deployment come first, because a live deployment drops their databases. The
        shared slot comes last: its container drops those of the others, and the load balancer goes with it.
        """
        settings, options = self.session.settings, self.options
        registry = self._registry().read(whole=True)
        stacks = None
        if options.branch:
            slots = [settings, settings.isolated_for(git.slug(options.branch))]
        elif options.every or options.expired or options.orphans:
            stacks = self._stacks()
            slots = self._slots(stacks, registry.deployments)
        else:
            slots = [settings]
        look = self.target.aws.stack if stacks is None else stacks.get
        snapshots = [self._snapshot_of(slot, registry, look) for slot in slots]
        chosen = [snapshot for snapshot in snapshots if snapshot and self._is_chosen(snapshot)]
        if not options.branch:  # a first deploy under way has no stack yet, and only looks like an orphan
            unsure = [each for each in chosen if options.orphans or not each.stack]
            settings_of = [each.settings for each in unsure]
            held = bucket.held_slots(self.session, self.target, settings_of) if unsure else set()
            chosen = [each for each in chosen if each.settings.service not in held]
        return sorted(chosen, key=lambda each: (bool(each.stack and each.stack.live), not each.settings.slug))

    def _stacks(self) -> dict[str, Stack]:
        return self.target.aws.environment_stacks(self.session.settings.app, self.session.settings.test_env)

    def _slots(self, stacks: Mapping[str, Stack], registered: Iterable[str]) -> list[Settings]:
        """Return the shared slot, and each one that a stack's tags, the registry or a one-off task name."""
        settings = self.session.settings
        found = {settings.service: settings}
        for stack in stacks.values():
            if slot := status.slot(settings, stack):
                found[slot.service] = slot
        services = list(registered)
        services += [live.service_of_task_stack(settings, name) for name in stacks]
        for service in services:
            slug = service.removeprefix(f"{settings.service}-")
            if slug not in {"", service}:
                found.setdefault(service, settings.isolated_for(slug))
        return list(found.values())

    @property
    def _of_shared_slot(self) -> bool:
        """True if no flag selects slots, so that only the shared slot is deleted."""
        options = self.options
        return not (options.branch or options.expired or options.every or options.orphans)

    def _snapshot_of(
        self, settings: Settings, registry: RegistryContent, look: Callable[[str], Stack | None]
    ) -> SlotSnapshot | None:
        """Return the slot's current state; None where nothing in it was made by these tasks.

        `look` returns the stack of a name.
        A service is a branch's only where its stack's tags or the registry say so; its name is not enough.
        Raises Refused where only the shared slot is to be deleted and these tasks did not deploy it.
        """
        stack = look(settings.stack_name)
        entry = registry.deployments.get(settings.service)
        ours = bool(
            settings.slug and entry and entry.isolated and git.slug(entry.branch or "?") == settings.slug
        )
        known = ours or not settings.slug or (stack and status.slot(settings.shared, stack))
        if stack and not (known and ownership.is_ours(stack, settings)):
            why = ownership.refusal(stack, settings)
            if self._of_shared_slot:
                raise Refused(why)
            named = f"{stack.name} was not made by these tasks: it is not a branch's own service."
            self.session.report.say(f"It stays: {why if known else named}")
            return None
        one_off = look(f"task-{live.task_group(settings)}")
        if one_off and not ownership.is_our_task(one_off, settings):
            self.session.report.say(f"{one_off.name} was not made by these tasks: it stays.")
            one_off = None
        other_services = slot_services.existing(settings, look, stack, entry)
        others = tuple(SlotSnapshot(own, found, None, bool(settings.slug)) for own, found in other_services)
        if not (stack or one_off or ours or (others and not settings.slug)):
            return None
        is_own = bool(settings.slug) and (ours or stack is not None)
        return SlotSnapshot(settings, stack, one_off, is_own, others)

    def _is_chosen(self, found: SlotSnapshot) -> bool:
        """Return True if the flags select the slot for deletion; say why not where the user may expect it."""
        options, stack, say = self.options, found.stack, self.session.report.say
        if options.branch and not found.settings.slug and found.branch != options.branch:
            if found.stack:
                say(f"The shared slot carries {found.branch}, not {options.branch}: the slot stays.")
            return False
        if options.expired:
            expires_at = stack.tags.get("expires_at") if stack else None
            if stack and not expiry.is_over(expires_at, datetime.now(UTC)):
                say(f"{found} has not expired (its expiry: {moments.told(expires_at)}): it stays.")
                return False
        if options.orphans:
            return not stack or stack.status in DEAD
        return True

    def _session_for(self, settings: Settings) -> Session:
        return replace(self.session, settings=settings)

    def _slot_of(self, snapshot: SlotSnapshot) -> Slot:
        session = self._session_for(snapshot.settings)
        return Slot(session, self.target.for_slot(snapshot.settings), snapshot)

    def _delete_together(self, chosen: Sequence[SlotSnapshot]) -> list[Receipt]:
        """Delete several slots together, and return the receipts; each of the others is deleted by itself."""

        def unchanged(agreed: Sequence[SlotSnapshot]) -> list[SlotSnapshot]:
            registry, stacks = self._registry().read(), self._stacks()
            found = [(each, self._snapshot_of(each.settings, registry, stacks.get)) for each in agreed]
            return [
                now
                for each, now in found
                if now and now.deployed_at == each.deployed_at and self._is_chosen(now)
            ]

        own = [each for each in chosen if each.ours or not each.settings.slug]
        if len(own) < 2:  # noqa: PLR2004 - one is deleted as quickly alone
            return []
        run = SlotSweep(self.session, self.target)
        try:
            with self._catching() as stop:
                run.run(own, unchanged, stop, wait=self.options.wait)
        except (Interrupted, KeyboardInterrupt):
            raise
        except UserError as error:
            self.session.report.say(f"(The slots were not deleted together: {error})")
        finally:
            self.begun = run.begun
        for receipt in run.receipts.values():
            self._end(receipt.snapshot, receipt)
        return list(run.receipts.values())

    def _delete(self, agreed: SlotSnapshot) -> Receipt:
        """Delete one slot under its lease. Raises Held where it has changed since the user agreed."""
        if self.interrupted:
            raise Interrupted("Interrupted.")
        slot = self._slot_of(agreed)
        begun = self.begun.get(agreed.settings.service)
        lease = bucket.lease(slot.session, self.target, f"deleting {agreed}")
        with lease.held(wait=self.options.wait, say=self.session.report.say):
            slot.session.settled(self.target, wait=self.options.wait)
            found = self._snapshot_of(agreed.settings, self._registry().read(), self.target.aws.stack)
            if begun and not (found and found.stack):  # the registry may not know the slot
                found = replace(agreed, stack=None)
            elif not found:  # another run has deleted it meanwhile
                return Receipt(agreed)
            elif (found.stack and found.deployed_at != agreed.deployed_at) or not self._is_chosen(found):
                raise Held(
                    f"{agreed} was not deleted, because it was changed meanwhile: look at `invoke status`, "
                    "then run this again."
                )
            receipt = begun or Receipt(found)
            with self._catching() as stop:
                replace(slot, snapshot=found).delete(stop, lease, receipt)
            if not receipt.still_named:
                bucket.registry(slot.session, self.target).forget(agreed.settings.service)
        if not receipt.still_named and bucket.discard_lease(slot.session, self.target):
            receipt.lease_is_gone()
        self._end(receipt.snapshot, receipt)
        return receipt

    def _end(self, gone: SlotSnapshot, receipt: Receipt) -> None:
        self.session.report.say(f"Gone: {gone}{':' if receipt.gone else ''}{listed(receipt.gone)}")
        self._report(gone, receipt)

    def _report(self, gone: SlotSnapshot, receipt: Receipt) -> None:
        """Report the deployment's cost, and tell the forge that its URL no longer answers."""
        tags = gone.stack.tags if gone.stack else {}
        with suppress(ValueError, TypeError, OverflowError):  # never deployed, or its tags were edited
            since = datetime.fromisoformat(tags.get("deployed_at", ""))
            own, region = self._session_for(gone.settings), self.target.aws.region
            receipt.cost = estimate.of_deployment(own, region, None, since, office_hours.of_tags(tags))
            if self.session.settings.target == "aws":  # what runs in the sandbox costs nothing
                self.session.report.say(receipt.cost)
        message = Message(gone.branch or "", tags.get("commit"), None, None, gone.settings.service)
        pull_request.tell(self.session.environ, message, self.session.report.say)
        deployments.gone(self.session.environ, gone.settings.stack_name, self.session.report.say)

    def _registry(self) -> bucket.Registry:
        return bucket.registry(self.session, self.target)


def _owner_of(slot: SlotSnapshot) -> str:
    """Return the slot's person, expiry and reason, for the question; empty where they are unknown."""
    tags = slot.stack.tags if slot.stack else {}
    if not tags.get("deployed_by"):
        return ""
    why = f": {tags['why']}" if tags.get("why") else ""
    expires_at = tags.get("expires_at")
    when = "never expires" if expires_at == expiry.KEPT else f"until {moments.told(expires_at)}"
    return f", of {tags['deployed_by']}, {when}{why}"
