"""Require a deployment; where there is none, name the branches that have a slot of their own."""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import TYPE_CHECKING

from copilot_testenv.copilot import ownership
from copilot_testenv.core.errors import Failed, UserError
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.registry import DeploymentRecord


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
        near = meant(session, target, name)
        raise Failed(
            f"{name} is not deployed; {stack.tags.get('branch')} is. {near or '`invoke status` shows it.'}"
        )
    return stack


def meant(session: Session, target: Target, name: str) -> str:
    """Return a question that names the deployed branch nearest to `name`; empty where none is near."""
    near = difflib.get_close_matches(name, [each.branch for each in _records(session, target)], 1)
    return f"Did you mean {near[0]!r}?" if near and near[0] != name else ""


def elsewhere(session: Session, target: Target | None) -> str:
    """Return a sentence that names the branches in slots of their own; empty where there is none."""
    own = [each.branch for each in _records(session, target) if each.isolated] if target else []
    names = [] if session.settings.slug else sorted(own)
    if not names:
        return ""
    have = "has a slot of its own" if len(names) == 1 else "have slots of their own"
    return f"{', '.join(names)} {have}: name it by `--branch {names[0]}`."


def _records(session: Session, target: Target) -> list[DeploymentRecord]:
    """Return what the registry has of all deployments; nothing where it cannot be read."""
    with suppress(UserError):  # without the registry, what was said is as true
        return list(bucket.registry(session, target).read().deployments.values())
    return []
