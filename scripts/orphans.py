"""What no deployment accounts for: databases and images that a teardown, or a person, has left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scripts import branch, data, images, live, ownership, shelf
from scripts.command import output_of
from scripts.errors import Held

if TYPE_CHECKING:
    from scripts.demolition import Doomed
    from scripts.environment import Bench, Place


@dataclass(frozen=True)
class Loose:
    """Something that belongs to no deployment, and what removes it."""

    what: str
    remove: Callable[[], None]

    def __str__(self) -> str:
        return self.what


def find(bench: Bench, place: Place, doomed: Sequence[Doomed], *, look: bool, wait: bool) -> list[Loose]:
    """Databases and image tags of no slot, or of one that is about to go.

    Databases are looked at by a one-off task in the environment, unless `look` is off. Whether a thing still
    belongs to nobody is asked again just before it is removed.
    """
    going = {each.settings.service for each in doomed}
    of_shared = [] if bench.settings.service in going else _images(bench, place, wait=wait)
    return [
        *of_shared,
        *_leases(bench, place, going),
        *(_databases(bench, place, going, wait=wait) if look else _unseen(bench)),
    ]


def _unused_tags(bench: Bench, place: Place) -> list[str]:
    """The tags of the shared slot's repository that it does not run."""
    stack = place.aws.stack(bench.settings.stack_name)
    if stack and not ownership.is_ours(stack, bench.settings):
        return []  # nobody knows which of them it runs
    kept = stack.tags.get("commit") if stack else None
    return [tag for tag in images.ours(bench.settings, place.aws) if not kept or kept not in tag]


def _images(bench: Bench, place: Place, *, wait: bool) -> list[Loose]:
    found, name = _unused_tags(bench, place), images.repository(bench.settings)

    def remove() -> None:
        lease = shelf.lease(bench, place, "deleting image tags")
        with lease.held(wait=wait, say=bench.report.say):  # a deploy has pushed its image before it is live
            place.aws.delete_image_tags(name, _unused_tags(bench, place))

    return [Loose(f"{len(found)} image tags of {name}", remove)] if found else []


def _leases(bench: Bench, place: Place, going: set[str]) -> list[Loose]:
    """The leases of slots that neither a stack nor the ledger tells of: small objects that nobody reads."""
    settings = bench.settings
    known = going | set(shelf.ledger(bench, place).read().deployments)

    def remove(here: Bench) -> Callable[[], None]:
        def discard() -> None:
            if not shelf.discard_lease(here, place):
                raise Held(f"The lease of {here.settings.service} is in use: it stays.")

        return discard

    found = []
    for service in shelf.leases(bench, place):
        slug = service.removeprefix(f"{settings.service}-")
        if service in known or slug == service:  # the shared slot's own is used by what looks for orphans
            continue
        own = settings.isolated_for(slug)
        if not place.aws.stack(own.stack_name):
            found.append(Loose(f"the lease of {service}", remove(replace(bench, settings=own))))
    return found


def _unseen(bench: Bench) -> list[Loose]:
    bench.report.say("Databases are looked at by a one-off task, which --plan does not start.")
    return []


def _suffixes(bench: Bench, place: Place, going: set[str]) -> tuple[str, ...]:
    """What the databases of all isolated deployments but `going` end with, whatever their service is.

    Services may share a database; and the ledger knows a deployment before its database is made.
    """
    settings = bench.settings
    stacks = place.aws.deployments(settings.app, settings.test_env)
    branches = {
        stack.tags.get("branch")
        for stack in stacks
        if stack.tags.get("isolated") and stack.tags.get("copilot-service") not in going
    } | {
        entry.branch
        for service, entry in shelf.ledger(bench, place).read(whole=True).deployments.items()
        if entry.isolated and service not in going
    }
    return tuple(settings.isolated_for(branch.slug(name)).database_suffix for name in branches if name)


def _databases(bench: Bench, place: Place, going: set[str], *, wait: bool) -> list[Loose]:
    host = data.host(bench, place)
    if host is None:
        bench.report.say(
            "Databases are not looked at: that takes a deployment whose container can, and there is none."
        )
        return []

    def dropping(name: str) -> Callable[[], None]:
        def drop() -> None:
            with _alone(bench, place, wait=wait):
                if name.endswith(_suffixes(bench, place, going)):
                    raise Held(f"The database {name} belongs to a deployment that has just begun: it stays.")
                data.drop_named(bench, place, host, name)

        return drop

    living = _suffixes(bench, place, going)
    with _alone(bench, place, wait=wait):
        found = data.databases(bench, place, host)
    return [Loose(f"database {name}", dropping(name)) for name in found if not name.endswith(living)]


@contextmanager
def _alone(bench: Bench, place: Place, *, wait: bool) -> Iterator[None]:
    """Run one-off tasks under the shared slot's name, and leave none of its stacks without the slot."""
    settings, group = bench.settings, live.task_group(bench.settings)
    with shelf.lease(bench, place, "looking at the databases").held(wait=wait, say=bench.report.say):
        yield
        if place.aws.stack(f"task-{group}") and not place.aws.stack(settings.stack_name):
            command = place.copilot.task_delete(group)
            output_of(bench.shell, command, f"Deleting task-{group}")
