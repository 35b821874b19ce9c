"""Delete one slot: find its parts, delete them in order, and write the receipt."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from copilot_testenv.copilot import application, images, ownership
from copilot_testenv.core import documents
from copilot_testenv.core.errors import Failed, Held, Interrupted, Refused, UserError
from copilot_testenv.core.process import Result, Stop
from copilot_testenv.deployers.deployer import SignalDue
from copilot_testenv.deploys import copy_db, environment_turn, slot_media, stopping
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

Deletion = Callable[[SignalDue], Result]
NEVER_DELETED = (
    "the environment's network, cluster and certificate",
    "the shared database, with the golden copy where one is kept",
    "the image repository of the shared slot",
    f"old versions of leases and the registry in the application's bucket ({documents.page('costs.md')})",
)
UNREACHED = "{}: no container is deployed that could drop it"
# With one of these statuses a stack serves nothing, because its first deploy failed.
_MANY = {"media": "media", "repository": "repositories", "templates": "templates"}  # of a kind of part
DEAD = {"CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"}


@dataclass(frozen=True)
class SlotPart:
    """A part of a slot that is deleted: `stack demo-test-web`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class SlotSnapshot:
    """A slot and its stacks at one moment."""

    settings: Settings
    stack: Stack | None
    one_off: Stack | None  # the stack of the one-off task of `copy-db`
    ours: bool  # a branch's own service, by tags or registry: it may be removed from the application
    others: tuple[SlotSnapshot, ...] = ()  # the other services of the slot

    @property
    def branch(self) -> str | None:
        return self.stack.tags.get("branch") if self.stack else None

    @property
    def deployed_at(self) -> str | None:
        return self.stack.tags.get("deployed_at") if self.stack else None

    @property
    def services(self) -> tuple[SlotSnapshot, ...]:
        """The services of the slot, its web service last: the others work on its database."""
        return (*self.others, self)

    @property
    def stacks(self) -> list[Stack]:
        return [each.stack for each in self.services if each.stack]

    @property
    def template_folders(self) -> list[str]:
        """The folders of the application's bucket to which Copilot uploads the slot's templates.

        Source: internal/pkg/template/artifactpath of aws/copilot-cli 1.34.
        """
        names = (self.settings.stack_name, f"task-{live.task_group(self.settings)}")
        return [f"manual/templates/{name}/" for name in names]

    def __str__(self) -> str:
        if not self.stack:
            return f"the rest of {self.settings.service}"
        names = (self.settings.service, *(other.settings.service for other in self.others))
        return f"{', '.join(names)} ({self.branch or 'an unknown branch'})"


@dataclass
class Receipt:
    """The result of deleting a slot."""

    snapshot: SlotSnapshot
    gone: list[SlotPart] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # the parts that were not deleted, with the reason
    cost: str | None = None  # the deployment's cost, in a sentence

    @property
    def still_stands(self) -> bool:
        """True if a stack of the slot was not deleted: it may still need its images and its name."""
        return any(left.startswith("stack ") for left in self.left)

    @property
    def still_named(self) -> bool:
        """True if the application may still know the service: then the registry keeps it for the next run."""
        return self.still_stands or any(left.startswith("service ") for left in self.left)

    def lease_is_gone(self) -> None:
        """Add the lease, which goes last."""
        self.gone.append(SlotPart("lease", self.snapshot.settings.service))

    def note(self, withdrawn: Sequence[str]) -> None:
        """Add what was removed from the application: the service comes first."""
        for name in withdrawn:
            kind, _, named = name.partition(" ")
            self.gone.insert(0 if kind == "service" else len(self.gone), SlotPart(kind, named))

    def document(self, *, plan: bool) -> dict[str, object]:
        settings, stack = self.snapshot.settings, self.snapshot.stack
        things = [{"kind": thing.kind, "name": thing.name} for thing in self.gone]
        return {
            "branch": self.snapshot.branch,
            "commit": stack.tags.get("commit") if stack else None,
            "environment": settings.test_env,
            "service": settings.service,
            "services": [settings.service, *(other.settings.service for other in self.snapshot.others)],
            "isolated": bool(settings.slug),
            "gone": [] if plan else things,
            "would_go": things if plan else [],
            "left": self.left,
            "remains": list(NEVER_DELETED),
            "cost": self.cost,
            "target": settings.target,
        }


def listed(parts: Sequence[SlotPart]) -> str:
    """Return the parts for a person: a row for each kind, in their order, each after a line break.

    The tags of images are counted, because a long-lived slot has many, with names that say nothing.
    """
    kinds: dict[str, list[str]] = {}
    for part in parts:
        kinds.setdefault(part.kind, []).append(part.name)
    rows = []
    for kind, names in kinds.items():
        if len(names) > 1 and kind == "image tag":
            rows.append(f"{len(names)} image tags of {names[0].partition(':')[0]}")
        else:
            rows.append(f"{kind if len(names) == 1 else _MANY.get(kind, f'{kind}s')} {', '.join(names)}")
    return "".join(f"\n  {row}" for row in rows)


def would_go(snapshot: SlotSnapshot, aws: Aws) -> Iterator[SlotPart]:
    """Yield the things that a teardown of the slot deletes."""
    settings = snapshot.settings
    if snapshot.stack or snapshot.ours:
        yield SlotPart("service", settings.service)
    if snapshot.stack:
        yield SlotPart("stack", snapshot.stack.name)
        yield SlotPart("log group", f"/copilot/{settings.stack_name}")
    if snapshot.one_off:
        yield SlotPart("stack", snapshot.one_off.name)
    if snapshot.ours:
        yield SlotPart("repository", images.repository(settings))
    elif not settings.slug:
        for tag in images.ours(settings, aws):
            yield SlotPart("image tag", f"{images.repository(settings)}:{tag}")
    if not settings.web:
        yield from _of_slot_would_go(snapshot, aws)


def _of_slot_would_go(snapshot: SlotSnapshot, aws: Aws) -> Iterator[SlotPart]:
    """Yield what a slot has once, and its other services."""
    settings = snapshot.settings
    for other in snapshot.others:
        yield from would_go(other, aws)
    if snapshot.ours:
        yield SlotPart("database", f"…{settings.database_suffix}")
    if address := slot_media.address(settings, aws):
        yield SlotPart("media", address)
    yield SlotPart("lease", settings.service)


@dataclass(frozen=True)
class Slot:
    """Delete a slot whose lease this run holds."""

    session: Session
    target: Target
    snapshot: SlotSnapshot

    def delete(self, stop: Stop, lease: Lease, receipt: Receipt) -> Receipt:
        """Delete the data while a container can drop them, then everything that costs money, then the names.

        Return the receipt, with what was deleted.
        Raises Held where the lease was lost: another run may have the slot, and nothing further is changed.
        """
        settings, aws = self.session.settings, self.target.aws
        lease.require_held()
        stack, deployer = self.snapshot.stack, self.session.deployer(self.target)
        self._delete_others(receipt, stop, lease)
        if stack:
            self.end_office_hours(stack)
        if self.snapshot.ours and not settings.web:  # the slot's database goes with its web service
            self._drop_database(receipt)
            lease.require_held()
        self.target.copilot.require_marked()
        functions = aws.functions(stack.name) if stack else []
        if stack and self._delete_service(deployer.delete_service, stack.name, receipt, stop):
            is_left = aws.has_log_group(f"/copilot/{settings.stack_name}")
            self.note_stack(receipt, functions, is_left=is_left)
        lease.require_held()
        self.delete_one_off(receipt, stop)
        lease.require_held()
        if receipt.still_stands:
            return receipt
        self._delete_templates(receipt)
        self.clear_media(receipt)
        if not settings.slug:
            self.delete_tags(receipt)
        elif self.snapshot.ours:
            with self._noting_failure(f"service {settings.service}", receipt):
                self._withdraw(receipt)
        return receipt

    def _delete_others(self, receipt: Receipt, stop: Stop, lease: Lease) -> None:
        """Delete the slot's other services, which work on its database; add their parts to the receipt."""
        for other in self.snapshot.others:
            session = replace(self.session, settings=other.settings)
            slot = Slot(session, self.target.for_slot(other.settings), other)
            found = slot.delete(stop, lease, Receipt(other))
            receipt.gone += found.gone
            receipt.left += found.left

    def _delete_service(self, delete: Deletion, stack: str, receipt: Receipt, stop: Stop) -> bool:
        """Delete the service, which changes the environment's stack; once more where another run met it."""
        doing = f"deleting {self.session.settings.service}"
        with environment_turn.held(self.session, self.target, doing):
            if self._run(delete, stack, receipt, stop):
                return True
            if not environment_turn.was_busy(self.session.settings, receipt.left[-1]) or stop.asked():
                return False
            receipt.left.pop()
            return self._run(delete, stack, receipt, stop)

    @contextmanager
    def _noting_failure(self, what: str, receipt: Receipt) -> Iterator[None]:
        """Write in the receipt that a thing could not be deleted, and go on."""
        try:
            yield
        except (Interrupted, Held, Refused):
            raise
        except UserError as error:
            receipt.left.append(f"{what}: {str(error).rstrip('.')}")

    def end_office_hours(self, stack: Stack) -> None:
        """End the slot's office hours: AWS would start its tasks again while it is deleted.

        An error is only reported, because AWS scales no deleted service.
        """
        try:
            stopping.unschedule(self.target, stack)
        except Failed as error:
            self.session.report.say(f"(The office hours of {stack.name} were not ended: {error})")

    def delete_one_off(self, receipt: Receipt, stop: Stop) -> None:
        """Delete the stack of the one-off task of `copy-db`, if there is one."""
        settings, group = self.session.settings, live.task_group(self.session.settings)
        one_off = self.target.aws.stack(f"task-{group}")
        if not one_off or not ownership.is_our_task(one_off, settings):
            return
        delete = partial(self.session.deployer(self.target).delete_task, group)
        if self._run(delete, one_off.name, receipt, stop):
            receipt.gone.append(SlotPart("stack", one_off.name))

    def note_stack(self, receipt: Receipt, functions: Sequence[str], *, is_left: bool) -> None:
        """Write the deleted stack and its log group into the receipt; delete the logs of its functions."""
        settings = self.session.settings
        of_application = [] if settings.slug else [SlotPart("service", settings.service)]
        receipt.gone[:0] = [*of_application, SlotPart("stack", settings.stack_name)]
        name = f"/copilot/{settings.stack_name}"
        if is_left:
            receipt.left.append(f"log group {name}, which CloudFormation did not delete: do it in CloudWatch")
        else:
            receipt.gone.append(SlotPart("log group", name))
        self._delete_function_logs(functions, receipt)

    def _delete_function_logs(self, functions: Sequence[str], receipt: Receipt) -> None:
        """Delete the log groups that Lambda made for the stack's functions: nothing else ends them.

        An older role may not do that; the error is only reported, because they cost almost nothing.
        Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
        """
        try:
            for name in (f"/aws/lambda/{function}" for function in functions):
                if self.target.aws.delete_log_group(name):
                    receipt.gone.append(SlotPart("log group", name))
        except Failed as error:
            service = self.session.settings.service
            self.session.report.say(f"(The logs of {service}'s Lambda functions were not deleted: {error})")

    def _delete_templates(self, receipt: Receipt) -> None:
        """Delete the templates that Copilot uploaded for this slot's stacks, and no others.

        An older role may not do that; the error is only reported, because the templates cost almost nothing.
        """
        settings, aws = self.session.settings, self.target.aws
        try:
            bucket = aws.application_bucket(settings.app)
            for folder in self.snapshot.template_folders:
                if keys := aws.object_keys(bucket, folder):
                    aws.delete_objects(bucket, keys)
                    receipt.gone.append(SlotPart("templates", f"s3://{bucket}/{folder}"))
        except Failed as error:
            self.session.report.say(f"(Copilot's templates of {settings.service} were not deleted: {error})")

    def clear_media(self, receipt: Receipt) -> None:
        """Delete the slot's media; where a guard refuses or AWS fails, write it in the receipt and go on."""
        settings, aws = self.session.settings, self.target.aws
        if settings.web:  # the slot's media go with its web service
            return
        try:
            if address := slot_media.clear(settings, aws):
                receipt.gone.append(SlotPart("media", address))
        except (Interrupted, Held):
            raise
        except UserError as error:
            receipt.left.append(f"media of {settings.service}: {str(error).rstrip('.')}")

    def delete_tags(self, receipt: Receipt) -> None:
        """Delete the images that these tasks pushed to the repository of the shared slot's service."""
        settings, aws = self.session.settings, self.target.aws
        name = images.repository(settings)
        with self._noting_failure(f"image tags of {name}", receipt):
            tags, left = images.ours(settings, aws), set[str]()
            try:
                aws.delete_image_tags(name, tags)
            except UserError:
                left.update(images.ours(settings, aws))
                raise
            finally:
                receipt.gone += [SlotPart("image tag", f"{name}:{tag}") for tag in tags if tag not in left]

    def _run(self, delete: Deletion, stack: str, receipt: Receipt, stop: Stop) -> bool:
        """Delete a stack, and wait for the end; return True if the stack is gone."""
        with self.session.report.waiting(f"Deleting {stack}"):
            result = delete(lambda: signal.SIGINT if stop.timed_out else None)
        left = self.target.aws.stack(stack)
        if left:
            last_lines = " | ".join(result.stdout.splitlines()[-3:])
            receipt.left.append(
                f"stack {stack}, which is {left.status}{self._why(left)} (last lines: {last_lines})"
            )
        return left is None

    def _why(self, stack: Stack) -> str:
        """Return the first resource that could not be deleted, with CloudFormation's reason."""
        events = self.target.aws.events(stack.name, datetime.min.replace(tzinfo=UTC))
        failed = [
            event for event in events if event.status == "DELETE_FAILED" and event.resource != stack.name
        ]
        return f": {failed[-1].resource}: {failed[-1].reason}" if failed else ""

    def _drop_database(self, receipt: Receipt) -> None:
        """Drop the branch's own database; where that fails, write it in the receipt and go on."""
        what, stack = f"database …{self.session.settings.database_suffix}", self.snapshot.stack
        try:
            host = copy_db.host(self.session, self.target)
            if host is None:
                if not stack or not stack.live:  # a live deployment that copies nothing has no own database
                    receipt.left.append(UNREACHED.format(what))
                return
            if stack:  # a restarted task would copy the data again after they were dropped
                stopping.stop(self.session, self.target, stack)
            receipt.gone += [
                SlotPart("database", name) for name in copy_db.drop_own(self.session, self.target, host)
            ]
        except Interrupted:
            raise
        except UserError as error:
            receipt.left.append(f"{what}: {str(error).rstrip('.')}")

    def _withdraw(self, receipt: Receipt) -> None:
        settings = self.session.settings
        lease = bucket.application_lease(self.session, self.target, f"taking {settings.service} out")
        with lease.held(wait=True, say=self.session.report.say):
            receipt.note(application.withdraw(settings, self.target.aws, lambda: time.sleep(1)))
