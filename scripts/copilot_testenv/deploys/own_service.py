"""The service of its own that `--isolated` gives a branch: its host name, its place in the application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot_testenv.copilot import aliases, application, branch_service
from copilot_testenv.core import git
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.state import bucket
from copilot_testenv.state.registry import DeploymentRecord

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target


def host(settings: Settings, aws: Aws) -> str:
    """Return the host name of the branch's own service. Raises SettingsError where it cannot have one."""
    if settings.target == "sandbox":
        return branch_service.host(settings, "")
    domain = application.domain(settings, aws)
    aliases.require_domain_of_its_own(settings, domain)
    return branch_service.host(settings, domain)


def is_new(session: Session, target: Target, branch: Branch, before: Stack | None) -> bool:
    """Return True if the application does not know the branch's own service yet.

    Raises SettingsError where it does not know the shared slot's service either, Refused where it has a
    service or job of that name that these tasks did not make.
    """
    settings, aws = session.settings, target.aws
    if not settings.slug:
        return False
    if not application.knows(settings.shared, aws):
        raise SettingsError(
            f"The application {settings.app} does not know the service {settings.base} yet, and isolated "
            "deployments are made from it: deploy a branch to the shared slot first."
        )
    known = application.knows(settings, aws)
    if not known and not before:
        return True
    entry = bucket.registry(session, target).read().deployments.get(settings.service)
    ours = entry and entry.isolated and git.slug(entry.branch or "?") == settings.slug
    if not ours and not (before and before.tags.get("isolated")):
        raise Refused(
            f"The application {settings.app} has a service {settings.service} that these tasks did not "
            f"make: {branch.name} cannot have that name. Rename the branch, or deploy it to the shared slot."
        )
    return not known


@contextmanager
def adding(session: Session, target: Target, branch: Branch) -> Iterator[None]:
    """Hold the application's lease while Copilot adds the branch's own service: one run at a time."""
    settings = session.settings
    bucket.registry(session, target).record(settings.service, DeploymentRecord(branch.name, isolated=True))
    lease = bucket.application_lease(session, target, f"adding {settings.service}")
    with lease.held(wait=True, say=session.report.say):
        application.require_room(settings, target.aws)
        yield
