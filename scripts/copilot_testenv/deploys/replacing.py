"""Judge whether a branch may replace the one that is live in its slot, and say what it replaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.ci.pull_request import Message
from copilot_testenv.core import expiry, moments
from copilot_testenv.core.errors import Held
from copilot_testenv.core.terminal import confirm

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.session import Session


def require_replaceable(
    session: Session, stack: Stack | None, name: str, by: str, *, take_over: bool, yes: bool, plan: bool
) -> Message | None:
    """Say what the branch `name` replaces; return a message for its pull request if it is another person's.

    Ask before a branch is replaced that its owner has kept (`extend --keep`). Raises Held where another
    person's branch is live and `take_over` was not given, Refused where the answer is not yes.
    """
    if not stack or not stack.live or stack.tags.get("branch") == name:
        return None
    tags, say = stack.tags, session.report.say
    owner, live, expires = tags.get("deployed_by"), tags.get("branch") or "?", tags.get("expires_at")
    reason = f" ({tags['why']})" if tags.get("why") else ""
    if owner in {None, by}:
        verb = "would replace" if plan else "will replace"
        say(f"{name} {verb} {live}{reason}, which was deployed at {moments.told(tags.get('deployed_at'))}.")
        if expires == expiry.KEPT and not plan and not take_over:
            lost = f"{live} has no expiry (--keep): its URL would be gone, and what testers entered."
            confirm(session.report, f"{lost} Replace it?", yes=yes)
        return None
    state = f"{owner} has {live}{reason} live in {session.settings.test_env}"
    if not take_over:
        until = (
            "for as long as it is not torn down"
            if expires == expiry.KEPT
            else f"until {moments.told(expires)}"
        )
        raise Held(f"{state} {until}: nothing was changed. Ask them, or use --take-over to replace it.")
    say(f"Taking over: {state}, and it is replaced.")
    return Message(live, tags.get("commit"), None, None, session.settings.service)
