"""Bring a stack back to the release that it had before a deploy, whichever way deployed it.

CloudFormation rolls back one stack by itself. Where another stack of the same slot fails later, the first one
is complete, and only a change of it brings the earlier release back. The images are still in the repository,
and what the template names in the application's bucket is still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed
from copilot_testenv.deployers import environment_roles
from copilot_testenv.deployers.deployer import never
from copilot_testenv.deployers.stack_changes import StackChanges
from copilot_testenv.deployers.stack_files import Bucket

if TYPE_CHECKING:
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Target


@dataclass(frozen=True)
class Release:
    """Hold what CloudFormation was given for a stack: its template, parameters and tags."""

    stack: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]


def of(target: Target, settings: Settings) -> Release | None:
    """Return the release of the service's stack; None where the stack does not exist. Raises Failed."""
    own, _ = environment_roles.assumed(target, settings)
    found = own.release(settings.stack_name)
    return Release(settings.stack_name, *found) if found else None


def bring_back(target: Target, settings: Settings, release: Release) -> None:
    """Change the stack back to the release, and wait for the end. Raises Failed, Refused."""
    target.copilot.require_marked()
    aws = target.aws
    own, execution = environment_roles.assumed(target, settings)
    url = Bucket(aws.application_bucket(settings.app), own).put_template(release.stack, release.template)
    changes = StackChanges(own, execution, 0.2 if settings.target == "sandbox" else 2.0)
    before = aws.stack(release.stack)
    result = changes.apply(release.stack, url, release.parameters, release.tags, before, never)
    if not result.ok:
        raise Failed(result.stdout or result.stderr)
