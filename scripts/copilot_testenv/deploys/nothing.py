"""Require a deployment; where there is none, name the branches that have a slot of their own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from copilot_testenv.copilot import ownership
from copilot_testenv.core.errors import Failed, UserError
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.session import Session, Target


def deployed(session: Session, target: Target | None, so: str = "") -> Failed:
    """Return the error; `so` is what follows from it."""
    if others := elsewhere(session, target):
        return Failed(f"Nothing is deployed to the shared slot{so}. {others}")
    return Failed(f"Nothing is deployed{so}: `invoke deploy-test --branch B`.")


def required(session: Session, target: Target, stack: Stack | None, name: str, so: str = "") -> Stack:
    """Return the stack if the branch is live in it; without a name, any branch.

    `so` is what follows if nothing is deployed. Raises Failed, and Refused for a foreign stack.
    """
    ownership.require_ours(stack, session.settings)
    if not stack or not (stack.live or stack.changing):
        raise deployed(session, target, so)
    if name and stack.tags.get("branch") != name:
        raise Failed(f"{name} is not deployed; {stack.tags.get('branch')} is. `invoke status` shows it.")
    return stack


def elsewhere(session: Session, target: Target | None) -> str:
    """Return a sentence that names the branches in slots of their own; empty where there is none."""
    names: list[str] = []
    if target and not session.settings.slug:
        with suppress(UserError):  # without the registry, the error is as true
            records = bucket.registry(session, target).read().deployments.values()
            names = sorted(each.branch for each in records if each.isolated)
    if not names:
        return ""
    have = "has a slot of its own" if len(names) == 1 else "have slots of their own"
    return f"{', '.join(names)} {have}: name it by `--branch {names[0]}`."
