"""A deployment's end, moved: by nothing but a change of the stack's tags."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts import branch, environment, expiry, live, ownership, shelf
from scripts.errors import Failed, UsageError
from scripts.report import as_json

if TYPE_CHECKING:
    from scripts.environment import Bench
    from scripts.settings import Settings
    from scripts.stack import Stack


_NOTHING = "Nothing is deployed, so {name} has no end to move: `invoke deploy-test --branch B`."


def extend(bench: Bench, *, name: str, until: str, keep: bool, wait: bool, plan: bool, json: bool) -> None:
    """Move the end of a branch's deployment. Raises the errors of scripts.errors; nothing changed then."""
    branch.check_name(name)
    if bool(until) == keep:
        raise UsageError("Until when? Write either --until 5d (or a date, or a week's end) or --keep.")
    now = datetime.now(UTC)
    end = expiry.KEPT if keep else live.iso(expiry.expiry(until, now, "--until"))
    environment.announce(bench)
    environment.check_workspace(bench)
    place = environment.enter_to_change(bench)
    if not place:
        raise Failed(_NOTHING.format(name=name))
    bench, place = environment.carrying(bench, place, name)
    stack = _require_deployed(bench.settings, place.aws.stack(bench.settings.stack_name), name)
    shown = "for as long as it is wanted" if keep else f"until {end}"
    if plan:
        bench.report.say(f"Would keep {name} {shown} (now: {stack.tags.get('expires_at')}).")
    else:
        lease = shelf.lease(bench, place, f"extending {name}")
        with lease.held(wait=wait, say=bench.report.say):
            stack = _require_deployed(bench.settings, environment.settled(bench, place, wait=wait), name)
            lease.require_held()  # a stack that was being changed can have been waited for
            place.aws.change_tags(stack.name, {"expires_at": end})
            stack = environment.settled(bench, place, wait=True) or stack
            if stack.tags.get("expires_at") != end:
                raise Failed(
                    f"The end of {name} was not moved: the stack {stack.name} is {stack.status} and says "
                    f"{stack.tags.get('expires_at')}. Try again."
                )
        bench.report.say(f"{name} stays {shown}.")
    if json:
        bench.report.data(as_json(asdict(live.describe(bench, place, stack))))


def _require_deployed(settings: Settings, stack: Stack | None, name: str) -> Stack:
    """The stack, if it carries the branch. Raises Failed, or Refused where these tasks did not deploy it."""
    ownership.require_ours(stack, settings)
    if not stack or not (stack.live or stack.changing):
        raise Failed(_NOTHING.format(name=name))
    if stack.tags.get("branch") != name:
        raise Failed(f"{name} is not deployed; {stack.tags.get('branch')} is. `invoke status` shows it.")
    return stack
