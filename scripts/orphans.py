"""What no deployment accounts for: databases and images that a teardown, or a person, has left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts import application, data, images

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
    bench: Bench, place: Place, slots: Sequence[Settings], doomed: Sequence[Doomed], *, look: bool
) -> list[Loose]:
    """Databases and image tags of no slot, or of one that is about to go.

    Databases are looked at by a one-off task in the environment, unless `look` is off.
    """
    going = {each.settings.service for each in doomed}
    living = [slot for slot in slots if slot.service not in going]
    return [*_images(bench, place, going), *(_databases(bench, place, living) if look else _unseen(bench))]


def _images(bench: Bench, place: Place, going: set[str]) -> list[Loose]:
    """Tags of the shared slot's repository that it does not run."""
    settings, aws = bench.settings, place.aws
    stack = None if settings.service in going else aws.stack(settings.stack_name)
    kept = stack.tags.get("commit") if stack else None
    tags = [tag for tag in images.ours(settings, aws) if not kept or kept not in tag]
    if not tags:
        return []
    name = application.repository(settings)
    return [Loose(f"{len(tags)} image tags of {name}", lambda: aws.delete_image_tags(name, tags))]


def _unseen(bench: Bench) -> list[Loose]:
    bench.report.say("Databases are looked at by a one-off task, which --plan does not start.")
    return []


def _databases(bench: Bench, place: Place, living: Sequence[Settings]) -> list[Loose]:
    host = data.host(bench, place)
    if host is None:
        bench.report.say(
            "Databases are not looked at: that takes a deployment whose container can, and there is none."
        )
        return []
    suffixes = tuple(slot.database_suffix for slot in living if slot.slug)

    def dropping(name: str) -> Callable[[], None]:
        return lambda: data.drop_named(bench, place, host, name)

    return [
        Loose(f"database {name}", dropping(name))
        for name in data.databases(bench, place, host)
        if not suffixes or not name.endswith(suffixes)
    ]
