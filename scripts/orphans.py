"""What no deployment accounts for: databases and images that a teardown, or a person, has left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts import application, data, images, shelf
from scripts.errors import Held

if TYPE_CHECKING:
    from scripts.demolition import Doomed
    from scripts.environment import Bench, Place
    from scripts.settings import Settings


@dataclass(frozen=True)
class Loose:
    """Something that belongs to no deployment, and what removes it."""

    what: str
    remove: Callable[[], None]

    def __str__(self) -> str:
        return self.what


def find(
    bench: Bench,
    place: Place,
    slots: Callable[[], Sequence[Settings]],
    doomed: Sequence[Doomed],
    *,
    look: bool,
) -> list[Loose]:
    """Databases and image tags of no slot, or of one that is about to go.

    Databases are looked at by a one-off task in the environment, unless `look` is off. Whether a thing still
    belongs to nobody is asked again just before it is removed: `slots` tells which there are now.
    """
    going = {each.settings.service for each in doomed}
    of_shared = [] if bench.settings.service in going else _images(bench, place)
    return [*of_shared, *(_databases(bench, place, slots, going) if look else _unseen(bench))]


def _unused_tags(bench: Bench, place: Place) -> list[str]:
    """The tags of the shared slot's repository that it does not run."""
    stack = place.aws.stack(bench.settings.stack_name)
    kept = stack.tags.get("commit") if stack else None
    return [tag for tag in images.ours(bench.settings, place.aws) if not kept or kept not in tag]


def _images(bench: Bench, place: Place) -> list[Loose]:
    found, name = _unused_tags(bench, place), application.repository(bench.settings)

    def remove() -> None:
        lease = shelf.lease(bench, place, "deleting image tags")
        with lease.held(wait=False, say=bench.report.say):  # a deploy has pushed its image before it is live
            place.aws.delete_image_tags(name, _unused_tags(bench, place))

    return [Loose(f"{len(found)} image tags of {name}", remove)] if found else []


def _unseen(bench: Bench) -> list[Loose]:
    bench.report.say("Databases are looked at by a one-off task, which --plan does not start.")
    return []


def _databases(
    bench: Bench, place: Place, slots: Callable[[], Sequence[Settings]], going: set[str]
) -> list[Loose]:
    host = data.host(bench, place)
    if host is None:
        bench.report.say(
            "Databases are not looked at: that takes a deployment whose container can, and there is none."
        )
        return []

    def is_wanted(name: str) -> bool:
        return any(name.endswith(slot.database_suffix) for slot in slots() if slot.slug)

    def dropping(name: str) -> Callable[[], None]:
        def drop() -> None:
            if is_wanted(name):  # the ledger knows a deployment before its database is made
                raise Held(f"The database {name} belongs to a deployment that has just begun: it stays.")
            data.drop_named(bench, place, host, name)

        return drop

    living = tuple(slot.database_suffix for slot in slots() if slot.slug and slot.service not in going)
    return [
        Loose(f"database {name}", dropping(name))
        for name in data.databases(bench, place, host)
        if not living or not name.endswith(living)
    ]
