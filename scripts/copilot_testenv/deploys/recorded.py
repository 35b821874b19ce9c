"""Write into the registry how a deploy has ended, for `status`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from copilot_testenv.core import display
from copilot_testenv.core.errors import Interrupted, UserError
from copilot_testenv.state import bucket, live
from copilot_testenv.state.registry import FailedDeploy

if TYPE_CHECKING:
    from copilot_testenv.core.git import Branch
    from copilot_testenv.deploys.settling import NotDeployed
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.registry import Registry

_LONGEST = 300  # letters of a reason, which may quote a container


def served(session: Session, target: Target, deployment: live.Deployment) -> None:
    """Record the deployment that serves now."""
    _write(session, target, lambda known: known.record_served(deployment.service, bucket.entry(deployment)))


def failed(
    session: Session, target: Target, branch: Branch, by: str, error: NotDeployed | Interrupted
) -> None:
    """Record a deploy that has changed the stack and was rolled back."""
    now = datetime.now(UTC)
    reason = "It was interrupted." if isinstance(error, Interrupted) else error.cause
    reason = display.line(display.masked(reason), _LONGEST)
    deploy = FailedDeploy(branch.name, branch.commit, display.line(by, _LONGEST), live.iso(now), reason)
    _write(session, target, lambda known: known.record_failed(session.settings.service, deploy, now))


def _write(session: Session, target: Target, change: Callable[[Registry], None]) -> None:
    """Change the registry; an error is only reported, because the deploy has ended already."""
    try:
        change(bucket.registry(session, target))
    except UserError as error:
        session.report.say(f"(The registry of deployments was not written, so `status` shows less: {error})")
