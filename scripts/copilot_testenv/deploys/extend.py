"""A deployment's end, moved: by nothing but a change of the stack's tags."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.copilot import ownership
from copilot_testenv.core import expiry, git
from copilot_testenv.core.errors import Failed, UsageError
from copilot_testenv.core.terminal import as_json
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session


_NOTHING = "Nothing is deployed, so {name} has no end to move: `invoke deploy-test --branch B`."


def extend(
    session: Session, *, name: str, until: str, keep: bool, wait: bool, plan: bool, json: bool
) -> None:
    """Move the end of a branch's deployment. Raises the errors of core.errors; nothing changed then."""
    git.check_name(name)
    if bool(until) == keep:
        raise UsageError("Until when? Write either --until 5d (or a date, or a week's end) or --keep.")
    now = datetime.now(UTC)
    end = expiry.KEPT if keep else live.iso(expiry.expiry(until, now, "--until"))
    session.announce()
    session.check_workspace()
    place = session.enter_to_change()
    if not place:
        raise Failed(_NOTHING.format(name=name))
    session, place = session.carrying(place, name)
    stack = _require_deployed(session.settings, place.aws.stack(session.settings.stack_name), name)
    shown = "for as long as it is wanted" if keep else f"until {end}"
    if plan:
        session.report.say(f"Would keep {name} {shown} (now: {stack.tags.get('expires_at')}).")
    else:
        lease = bucket.lease(session, place, f"extending {name}")
        with lease.held(wait=wait, say=session.report.say):
            stack = _require_deployed(session.settings, session.settled(place, wait=wait), name)
            lease.require_held()  # a stack that was being changed can have been waited for
            place.aws.change_tags(stack.name, {"expires_at": end})
            stack = session.settled(place, wait=True) or stack
            if stack.tags.get("expires_at") != end:
                raise Failed(
                    f"The end of {name} was not moved: the stack {stack.name} is {stack.status} and says "
                    f"{stack.tags.get('expires_at')}. Try again."
                )
        session.report.say(f"{name} stays {shown}.")
    if json:
        session.report.data(as_json(asdict(live.describe(session, place, stack))))


def _require_deployed(settings: Settings, stack: Stack | None, name: str) -> Stack:
    """Return the stack, if it carries the branch.

    Raises Failed, or Refused where these tasks did not deploy it.
    """
    ownership.require_ours(stack, settings)
    if not stack or not (stack.live or stack.changing):
        raise Failed(_NOTHING.format(name=name))
    if stack.tags.get("branch") != name:
        raise Failed(f"{name} is not deployed; {stack.tags.get('branch')} is. `invoke status` shows it.")
    return stack
