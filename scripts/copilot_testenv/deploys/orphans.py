"""Find orphans: databases, images and leases that belong to no deployment any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_testenv.copilot import images, ownership
from copilot_testenv.core import git
from copilot_testenv.core.display import counted
from copilot_testenv.core.errors import Held
from copilot_testenv.deployers.deployer import never, require_done
from copilot_testenv.deploys import copy_db, slot_media
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.delete_slot import SlotSnapshot
    from copilot_testenv.session import Session, Target


@dataclass(frozen=True)
class Orphan:
    """A database, image tag or lease of no deployment, and the function that removes it."""

    what: str
    remove: Callable[[], None]

    def __str__(self) -> str:
        return self.what


def find(
    session: Session, target: Target, snapshots: Sequence[SlotSnapshot], *, look: bool, wait: bool
) -> list[Orphan]:
    """Return the databases, image tags and leases of no slot, or of a slot that is about to be deleted.

    A one-off task in the environment lists the databases, unless `look` is off. Just before a thing is
    removed, its function checks again that it belongs to no deployment.
    """
    going = {snapshot.settings.service for snapshot in snapshots}
    image_tags = [] if session.settings.service in going else _images(session, target, wait=wait)
    return [
        *image_tags,
        *_media(session, target, going),
        *_leases(session, target, going),
        *(_databases(session, target, going, wait=wait) if look else _unseen(session)),
    ]


def _unused_tags(session: Session, target: Target) -> list[str]:
    """Return the tags in the shared slot's repository that its deployment does not use."""
    stack = target.aws.stack(session.settings.stack_name)
    if stack and not ownership.is_ours(stack, session.settings):
        return []  # it is unknown which of them a foreign stack uses
    kept = stack.tags.get("commit") if stack else None
    return [tag for tag in images.ours(session.settings, target.aws) if not kept or kept not in tag]


def _images(session: Session, target: Target, *, wait: bool) -> list[Orphan]:
    tags, name = _unused_tags(session, target), images.repository(session.settings)

    def remove() -> None:
        lease = bucket.lease(session, target, "deleting image tags")
        with lease.held(wait=wait, say=session.report.say):  # a deploy has pushed its image before it is live
            target.aws.delete_image_tags(name, _unused_tags(session, target))

    return [Orphan(f"{counted(len(tags), 'image tag')} of {name}", remove)] if tags else []


def _leases(session: Session, target: Target, going: set[str]) -> list[Orphan]:
    """Return the leases of slots that have neither a stack nor a record in the registry."""
    settings = session.settings
    known = going | set(bucket.registry(session, target).read().deployments)

    def remove(of_slot: Session) -> Callable[[], None]:
        def discard() -> None:
            if not bucket.discard_lease(of_slot, target):
                raise Held(f"The lease of {of_slot.settings.service} is in use: it stays.")

        return discard

    orphans = []
    for service in bucket.leases(session, target):
        slug = service.removeprefix(f"{settings.service}-")
        if service in known or slug == service:  # the search for orphans itself uses the shared slot's lease
            continue
        own = settings.isolated_for(slug)
        if not target.aws.stack(own.stack_name):
            orphans.append(Orphan(f"the lease of {service}", remove(replace(session, settings=own))))
    return orphans


def _media(session: Session, target: Target, going: set[str]) -> list[Orphan]:
    """Return the media of slots that have neither a stack nor a record in the registry."""
    settings, aws = session.settings.shared, target.aws

    def is_known(slot: Settings) -> bool:
        recorded = bucket.registry(session, target).read().deployments
        return slot.service in recorded or aws.stack(slot.stack_name) is not None

    def remove(slot: Settings) -> Callable[[], None]:
        def clear() -> None:
            lease = bucket.lease(replace(session, settings=slot), target, "deleting its media")
            with lease.held(wait=False, say=session.report.say):
                if is_known(slot):
                    raise Held(
                        f"The media of {slot.service} belong to a deployment that has begun: they stay."
                    )
                slot_media.clear(slot, aws)

        return clear

    slots = [slot_media.of_service(settings, name) for name in slot_media.services(settings, aws)]
    return [
        Orphan(f"the media of {slot.service}", remove(slot))
        for slot in slots
        if slot.service not in going and not is_known(slot)
    ]


def _unseen(session: Session) -> list[Orphan]:
    session.report.say("Databases are not listed: --plan does not start the one-off task that lists them.")
    return []


def _suffixes(session: Session, target: Target, going: set[str]) -> tuple[str, ...]:
    """Return the suffixes of the databases of all isolated deployments except `going`, of any service.

    Services may share a database, and the registry knows a deployment before its database is created.
    """
    settings = session.settings
    stacks = target.aws.deployments(settings.app, settings.test_env)
    branches = {
        stack.tags.get("branch")
        for stack in stacks
        if stack.tags.get("isolated") and stack.tags.get("copilot-service") not in going
    } | {
        entry.branch
        for service, entry in bucket.registry(session, target).read(whole=True).deployments.items()
        if entry.isolated and service not in going
    }
    return tuple(settings.isolated_for(git.slug(name)).database_suffix for name in branches if name)


def _databases(session: Session, target: Target, going: set[str], *, wait: bool) -> list[Orphan]:
    host = copy_db.host(session, target)
    if host is None:
        session.report.say("Databases are not listed: no deployment has a container that could list them.")
        return []

    def dropping(name: str) -> Callable[[], None]:
        def drop() -> None:
            with _alone(session, target, wait=wait):
                if name.endswith(_suffixes(session, target, going)):
                    raise Held(f"The database {name} belongs to a deployment that has just begun: it stays.")
                copy_db.drop_named(session, target, host, name)

        return drop

    living = _suffixes(session, target, going)
    with _alone(session, target, wait=wait):
        names = copy_db.databases(session, target, host)
    return [Orphan(f"database {name}", dropping(name)) for name in names if not name.endswith(living)]


@contextmanager
def _alone(session: Session, target: Target, *, wait: bool) -> Iterator[None]:
    """Hold the shared slot's lease for one-off tasks; delete their stack where the slot has no deployment."""
    settings, group = session.settings, live.task_group(session.settings)
    with bucket.lease(session, target, "looking at the databases").held(wait=wait, say=session.report.say):
        yield
        if target.aws.stack(f"task-{group}") and not target.aws.stack(settings.stack_name):
            require_done(session.deployer(target).delete_task(group, never), f"Deleting task-{group}")
