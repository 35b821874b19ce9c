"""What no deployment accounts for: databases and images that a teardown, or a person, has left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from copilot_testenv.copilot import images, ownership
from copilot_testenv.core import git
from copilot_testenv.core.errors import Held
from copilot_testenv.core.process import output_of
from copilot_testenv.deploys import copy_db
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.deploys.delete_slot import SlotSnapshot
    from copilot_testenv.session import Session, Target


@dataclass(frozen=True)
class Loose:
    """Something that belongs to no deployment, and what removes it."""

    what: str
    remove: Callable[[], None]

    def __str__(self) -> str:
        return self.what


def find(
    session: Session, target: Target, snapshot: Sequence[SlotSnapshot], *, look: bool, wait: bool
) -> list[Loose]:
    """Find databases and image tags of no slot, or of one that is about to go.

    Databases are looked at by a one-off task in the environment, unless `look` is off. Whether a thing still
    belongs to nobody is asked again just before it is removed.
    """
    going = {each.settings.service for each in snapshot}
    of_shared = [] if session.settings.service in going else _images(session, target, wait=wait)
    return [
        *of_shared,
        *_leases(session, target, going),
        *(_databases(session, target, going, wait=wait) if look else _unseen(session)),
    ]


def _unused_tags(session: Session, target: Target) -> list[str]:
    """Return the tags of the shared slot's repository that it does not run."""
    stack = target.aws.stack(session.settings.stack_name)
    if stack and not ownership.is_ours(stack, session.settings):
        return []  # nobody knows which of them it runs
    kept = stack.tags.get("commit") if stack else None
    return [tag for tag in images.ours(session.settings, target.aws) if not kept or kept not in tag]


def _images(session: Session, target: Target, *, wait: bool) -> list[Loose]:
    found, name = _unused_tags(session, target), images.repository(session.settings)

    def remove() -> None:
        lease = bucket.lease(session, target, "deleting image tags")
        with lease.held(wait=wait, say=session.report.say):  # a deploy has pushed its image before it is live
            target.aws.delete_image_tags(name, _unused_tags(session, target))

    return [Loose(f"{len(found)} image tags of {name}", remove)] if found else []


def _leases(session: Session, target: Target, going: set[str]) -> list[Loose]:
    """Return the leases of slots that neither a stack nor the registry tells of.

    They are small objects that nobody reads.
    """
    settings = session.settings
    known = going | set(bucket.registry(session, target).read().deployments)

    def remove(here: Session) -> Callable[[], None]:
        def discard() -> None:
            if not bucket.discard_lease(here, target):
                raise Held(f"The lease of {here.settings.service} is in use: it stays.")

        return discard

    found = []
    for service in bucket.leases(session, target):
        slug = service.removeprefix(f"{settings.service}-")
        if service in known or slug == service:  # the shared slot's own is used by what looks for orphans
            continue
        own = settings.isolated_for(slug)
        if not target.aws.stack(own.stack_name):
            found.append(Loose(f"the lease of {service}", remove(replace(session, settings=own))))
    return found


def _unseen(session: Session) -> list[Loose]:
    session.report.say("Databases are looked at by a one-off task, which --plan does not start.")
    return []


def _suffixes(session: Session, target: Target, going: set[str]) -> tuple[str, ...]:
    """Return what the databases of all isolated deployments but `going` end with, whatever their service is.

    Services may share a database; and the registry knows a deployment before its database is made.
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


def _databases(session: Session, target: Target, going: set[str], *, wait: bool) -> list[Loose]:
    host = copy_db.host(session, target)
    if host is None:
        session.report.say(
            "Databases are not looked at: that takes a deployment whose container can, and there is none."
        )
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
        found = copy_db.databases(session, target, host)
    return [Loose(f"database {name}", dropping(name)) for name in found if not name.endswith(living)]


@contextmanager
def _alone(session: Session, target: Target, *, wait: bool) -> Iterator[None]:
    """Run one-off tasks under the shared slot's name, and leave none of its stacks without the slot."""
    settings, group = session.settings, live.task_group(session.settings)
    with bucket.lease(session, target, "looking at the databases").held(wait=wait, say=session.report.say):
        yield
        if target.aws.stack(f"task-{group}") and not target.aws.stack(settings.stack_name):
            command = target.copilot.task_delete(group)
            output_of(session.shell, command, f"Deleting task-{group}")
