"""Slots are given back: `invoke teardown`. Which ones go, a question, then one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts import (
    branch,
    cost,
    environment,
    expiry,
    listing,
    live,
    orphans,
    ownership,
    preflight,
    pull_request,
    shelf,
)
from scripts.command import Stop, catching_signals
from scripts.demolition import DEAD, REMAINS, Doomed, Receipt, Slot, Thing, would_go
from scripts.errors import Failed, Held, Interrupted, Refused, UsageError, UserError
from scripts.lease import Unreadable
from scripts.ledger import Book, Sweep
from scripts.pull_request import Message
from scripts.report import as_json, confirm

if TYPE_CHECKING:
    from scripts.environment import Bench, Place
    from scripts.orphans import Loose
    from scripts.settings import Settings


@dataclass(frozen=True)
class Asked:
    """What the flags of `teardown` say; without the first four it is the shared slot."""

    branch: str = ""  # whatever carries it
    expired: bool = False  # what has come to its end
    every: bool = False  # all there is
    orphans: bool = False  # what no deployment accounts for
    wait: bool = False
    yes: bool = False
    plan: bool = False
    json: bool = False


def teardown(bench: Bench, asked: Asked) -> None:
    """Delete what the flags say from the test environment; the environment stays. Twice is fine.

    Raises the errors of scripts.errors; where several slots go, the first one's after all had their turn.
    """
    if sum((bool(asked.branch), asked.expired, asked.every, asked.orphans)) > 1:
        raise UsageError(
            "Say one of --branch, --expired, --all and --orphans: each of them names what is to go."
        )
    if asked.branch:
        branch.check_name(asked.branch)
    environment.announce(bench)
    environment.check_workspace(bench)
    place = environment.enter_to_change(bench)
    run = _Teardown(bench, place, asked) if place else None
    receipts: list[Receipt] = []
    failures: list[UserError] = []
    if run:
        receipts, failures = run.run()
    else:
        bench.report.say(f"Nothing is deployed in {bench.settings.test_env}: nothing to tear down.")
    if asked.json:
        bench.report.data(as_json([receipt.document(plan=asked.plan) for receipt in receipts]))
    for failure in failures[1:]:
        bench.report.say(str(failure))
    if failures:
        raise failures[0]
    if run and run.interrupted:
        raise Interrupted("Interrupted; what had begun was finished.")


@dataclass
class _Teardown:
    bench: Bench
    place: Place
    asked: Asked
    interrupted: bool = False

    def run(self) -> tuple[list[Receipt], list[UserError]]:
        """The receipts, and what went wrong with those slots that are not gone."""
        asked = self.asked
        if asked.expired and not asked.plan:
            by = environment.who(self.bench)
            self._ledger().note_sweep(Sweep(live.iso(datetime.now(UTC)), by))
        doomed = self._doomed()
        if doomed or asked.orphans:
            preflight.preflight(self.bench, self.place, builds=False)
        loose = (
            orphans.find(self.bench, self.place, doomed, look=not asked.plan, wait=asked.wait)
            if asked.orphans
            else []
        )
        if not doomed and not loose:
            self.bench.report.say(self._nothing())
            return [], []
        return (self._plan(doomed, loose), []) if asked.plan else self._agreed(doomed, loose)

    def _plan(self, doomed: list[Doomed], loose: list[Loose]) -> list[Receipt]:
        say = self.bench.report.say
        planned = [Receipt(each, list(would_go(each, self.place.aws))) for each in doomed]
        for receipt in planned:
            say(f"Would delete {receipt.doomed}: {', '.join(map(str, receipt.gone))}.")
            if receipt.doomed.stack:
                say(f"  {self._at(receipt.doomed).place.copilot.service_delete()}")
        for end in loose:
            say(f"Would delete {end}.")
        say(f"Would remain: {', '.join(REMAINS)}.")
        return planned

    def _agreed(self, doomed: list[Doomed], loose: list[Loose]) -> tuple[list[Receipt], list[UserError]]:
        """Ask, and take down one after the other: what goes wrong with one keeps no other."""
        say = self.bench.report.say
        for each in doomed:
            say(f"To be deleted: {each}{_of_whom(each)}")
        for end in loose:
            say(f"To be deleted: {end}")
        whats = " and ".join(map(str, (*doomed, *loose)))
        confirm(self.bench.report, f"Delete {whats} from {self.bench.settings.test_env}?", yes=self.asked.yes)
        receipts: list[Receipt] = []
        failures: list[UserError] = []
        for each in doomed:
            with self._kept(failures):
                receipts.append(self._take(each))
        for end in loose:
            with self._kept(failures):
                if not self.interrupted:
                    end.remove()
                    say(f"Gone: {end}.")
        failures += [
            Failed(
                f"Of {receipt.doomed} is left: {'; '.join(receipt.left)}. "
                "`invoke teardown --orphans` shows and removes it."
            )
            for receipt in receipts
            if receipt.left
        ]
        say(f"Remains: {', '.join(REMAINS)}.")
        return receipts, failures

    @contextmanager
    def _kept(self, failures: list[UserError]) -> Iterator[None]:
        """Put an error aside and go on with the next, unless the user wants no next one."""
        try:
            yield
        except (Interrupted, KeyboardInterrupt):
            self.interrupted = True
        except UserError as error:
            failures.append(error)

    @contextmanager
    def _catching(self) -> Iterator[Stop]:
        """A delete that has begun is finished: half of it would be worse than either."""

        def told(_: str) -> None:
            self.interrupted = True
            self.bench.report.say("Interrupted: a delete that has begun is finished first.")

        with catching_signals(self.bench.settings.timeout, told) as stop:
            yield stop

    def _nothing(self) -> str:
        where = self.bench.settings.test_env
        if self.asked.branch:
            return f"{self.asked.branch} is not deployed in {where}: nothing to tear down."
        if self.asked.expired:
            return f"Nothing in {where} has come to its end: nothing to tear down."
        if self.asked.orphans:
            return f"All that was looked at in {where} belongs to a deployment: nothing to tear down."
        return f"Nothing is deployed in {where}: nothing to tear down."

    # What is to go

    def _doomed(self) -> list[Doomed]:
        settings, asked = self.bench.settings, self.asked
        if asked.branch:
            slots = [settings, settings.isolated_for(branch.slug(asked.branch))]
        elif asked.every or asked.expired or asked.orphans:
            slots = self._slots()
        else:
            slots = [settings]
        book = self._ledger().read(whole=True)
        found = [self._look(slot, book) for slot in slots]
        wanted = [each for each in found if each and self._wanted(each)]
        if not asked.branch:  # a first deploy under way has no stack yet, and only looks like a leftover
            wanted = [
                each
                for each in wanted
                if (each.stack and not asked.orphans) or not self._is_held(each.settings)
            ]
        # What is left of others first: their databases are dropped by a container of one that still stands.
        return sorted(wanted, key=lambda each: each.stack is not None and each.stack.live)

    def _slots(self) -> list[Settings]:
        """The shared slot, and every one that tags, the ledger or a one-off task's stack tell of."""
        settings, aws = self.bench.settings, self.place.aws
        found = {settings.service: settings}
        for stack in aws.deployments(settings.app, settings.test_env):
            if slot := listing.slot(settings, stack):
                found[slot.service] = slot
        services = list(self._ledger().read().deployments)
        left = aws.task_stacks(settings.app, settings.test_env)
        services += [live.service_of_task_stack(settings, name) for name in left]
        for service in services:
            slug = service.removeprefix(f"{settings.service}-")
            if slug not in {"", service}:
                found.setdefault(service, settings.isolated_for(slug))
        return list(found.values())

    @property
    def _of_shared_slot(self) -> bool:
        """Return True if the flags name nothing but the shared slot itself."""
        asked = self.asked
        return not (asked.branch or asked.expired or asked.every or asked.orphans)

    def _look(self, settings: Settings, book: Book) -> Doomed | None:
        """What there is of a slot now; None where there is nothing of these tasks' own.

        A service is a branch's where its stack's tags say so, or the ledger: never by its name alone. Raises
        Refused where the shared slot itself is meant, and is somebody else's.
        """
        aws = self.place.aws
        stack = aws.stack(settings.stack_name)
        entry = book.deployments.get(settings.service)
        ours = bool(
            settings.slug and entry and entry.isolated and branch.slug(entry.branch or "?") == settings.slug
        )
        known = ours or not settings.slug or (stack and listing.slot(settings.shared, stack))
        if stack and not (known and ownership.is_ours(stack, settings)):
            why = ownership.refusal(stack, settings)
            if self._of_shared_slot:
                raise Refused(why)
            named = f"{stack.name} is not of these tasks' making: it is no branch's own service."
            self.bench.report.say(f"It stays: {why if known else named}")
            return None
        one_off = aws.stack(f"task-{live.task_group(settings)}")
        if one_off and not ownership.is_our_task(one_off, settings):
            self.bench.report.say(f"{one_off.name} is not of these tasks' making: it stays.")
            one_off = None
        if not settings.slug:
            return Doomed(settings, stack, one_off, ours=False) if stack or one_off else None
        if not stack and not one_off and not ours:
            return None
        return Doomed(settings, stack, one_off, ours=ours or stack is not None)

    def _wanted(self, found: Doomed) -> bool:
        """Whether the flags mean it; why not is said where a person would wonder."""
        asked, stack, say = self.asked, found.stack, self.bench.report.say
        if asked.branch and not found.settings.slug and found.branch != asked.branch:
            if found.stack:
                say(f"The shared slot carries {found.branch}, not {asked.branch}: the slot stays.")
            return False
        if asked.expired:
            end = stack.tags.get("expires_at") if stack else None
            if stack and not expiry.is_over(end, datetime.now(UTC)):
                say(f"{found} is wanted until {end}: it stays.")
                return False
        if asked.orphans:
            return not stack or stack.status in DEAD
        return True

    def _is_held(self, settings: Settings) -> bool:
        """Whether somebody is deploying it just now, so that it only looks like a leftover."""
        try:
            return shelf.lease(self._here(settings), self.place, "looking").holder() is not None
        except Unreadable as error:
            self.bench.report.say(f"{settings.service} stays: {error}")
            return True

    # Taking it down

    def _here(self, settings: Settings) -> Bench:
        return replace(self.bench, settings=settings)

    def _at(self, doomed: Doomed) -> Slot:
        here = self._here(doomed.settings)
        return Slot(here, environment.beside(self.place, doomed.settings), doomed)

    def _take(self, agreed: Doomed) -> Receipt:
        """Take one slot down, alone. Raises Held where it is no longer what the answer was about."""
        if self.interrupted:
            raise Interrupted("Interrupted.")
        slot = self._at(agreed)
        lease = shelf.lease(slot.bench, self.place, f"deleting {agreed}")
        with lease.held(wait=self.asked.wait, say=self.bench.report.say):
            environment.settled(slot.bench, self.place, wait=self.asked.wait)
            found = self._look(agreed.settings, self._ledger().read())
            if not found:  # somebody else has done it meanwhile
                return Receipt(agreed)
            if (found.stack and found.deployed_at != agreed.deployed_at) or not self._wanted(found):
                raise Held(
                    f"{agreed} was changed meanwhile, so it was not deleted: `invoke status`, then again."
                )
            with self._catching() as stop:
                receipt = replace(slot, doomed=found).delete(stop, lease)
            if not receipt.still_named:
                shelf.ledger(slot.bench, self.place).forget(agreed.settings.service)
        if not receipt.still_named and shelf.discard_lease(slot.bench, self.place):
            receipt.gone.append(Thing("lease", agreed.settings.service))
        self.bench.report.say(f"Gone: {found}, with {', '.join(map(str, receipt.gone))}.")
        self._tell(found, receipt)
        return receipt

    def _tell(self, gone: Doomed, receipt: Receipt) -> None:
        """What it has cost, and that its URL no longer answers."""
        tags = gone.stack.tags if gone.stack else {}
        with suppress(
            ValueError, TypeError, OverflowError
        ):  # it was never deployed, or somebody wrote its tags
            since = datetime.fromisoformat(tags.get("deployed_at", ""))
            receipt.cost = cost.of_deployment(self._here(gone.settings), self.place.aws.region, None, since)
            self.bench.report.say(receipt.cost)
        message = Message(gone.branch or "", tags.get("commit"), None, None, gone.settings.service)
        pull_request.tell(self.bench.environ, message, self.bench.report.say)

    def _ledger(self) -> shelf.Ledger:
        return shelf.ledger(self.bench, self.place)


def _of_whom(each: Doomed) -> str:
    """Whose it is, what for and until when: what somebody wants to know who is asked."""
    tags = each.stack.tags if each.stack else {}
    if not tags.get("deployed_by"):
        return ""
    why = f": {tags['why']}" if tags.get("why") else ""
    return f", of {tags['deployed_by']}, wanted until {tags.get('expires_at')}{why}"
