"""Say that nothing is deployed to the shared slot, and which branches have a slot of their own."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, UserError
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.session import Session, Target


def deployed(session: Session, target: Target | None, so: str = "") -> Failed:
    """Return the error; `so` is what follows from it."""
    if others := elsewhere(session, target):
        return Failed(f"Nothing is deployed to the shared slot{so}. {others}")
    return Failed(f"Nothing is deployed{so}: `invoke deploy-test --branch B`.")


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
