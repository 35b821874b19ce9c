"""Change when a deployment expires, only by a change of the stack's tags."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.ci import pull_request
from copilot_testenv.core import expiry, git, moments
from copilot_testenv.core.errors import Failed, UsageError
from copilot_testenv.core.terminal import as_json
from copilot_testenv.deploys import nothing, outcome
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.session import Session


def extend(
    session: Session, *, name: str, until: str, keep: bool, wait: bool, plan: bool, json: bool
) -> None:
    """Change when a branch's deployment expires. Raises the errors of core.errors; then nothing changed."""
    git.check_name(name)
    if bool(until) == keep:
        raise UsageError(
            "Until when? Write either --until, with 5d, a date or a week's end, or --keep for no expiry."
        )
    now = datetime.now(UTC)
    expires_at = expiry.KEPT if keep else live.iso(expiry.expiry(until, now, "--until"))
    session.announce()
    session.check_workspace()
    target, so = session.enter_to_change(), f", so {name} has no expiry to change"
    if not target:
        raise nothing.deployed(session, None, so)
    session, target = session.slot_of(target, name)
    stack = nothing.required(session, target, target.aws.stack(session.settings.stack_name), name, so)
    before = stack.tags.get("expires_at")
    shown = "without an expiry" if keep else f"until {moments.told(expires_at)}"
    if plan:
        session.report.say(f"Would keep {name} {shown} (now: {moments.told(before)}).")
    else:
        lease = bucket.lease(session, target, f"extending {name}")
        with lease.held(wait=wait, say=session.report.say):
            stack = nothing.required(session, target, session.settled(target, wait=wait), name, so)
            lease.require_held()  # the wait for a stack that was being changed can have taken long
            target.aws.change_tags(stack.name, {"expires_at": expires_at})
            stack = session.settled(target, wait=True) or stack
            if stack.tags.get("expires_at") != expires_at:
                raise Failed(
                    f"The expiry of {name} was not changed: the stack {stack.name} is {stack.status}, and "
                    f"its expiry is {stack.tags.get('expires_at')}. Try again."
                )
        session.report.say(f"{name} stays {shown} (before: {moments.told(before)}).")
    tells = not plan and pull_request.is_told(session.environ)
    if json or tells:
        known = live.describe(session, target, stack)
        if json:
            session.report.data(as_json(asdict(known)))
        if tells and known.url:
            pull_request.tell(session.environ, outcome.message_of(known), session.report.say)
