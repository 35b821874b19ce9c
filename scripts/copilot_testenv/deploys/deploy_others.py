"""Deploy the other services of a slot after its web service: at the same commit, from the same worktree.

The web service comes first, because its task makes the database that the others work on.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from copilot_testenv.copilot import application, branch_service, commands, manifest
from copilot_testenv.core import checkout, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError, UserError
from copilot_testenv.deploys import (
    companions,
    container_log,
    environment_turn,
    office_hours,
    own_service,
    rendered_guard,
    settling,
    slot_services,
)
from copilot_testenv.deploys.settling import NotDeployed
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.state import bucket
from copilot_testenv.state.registry import DeploymentRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from copilot_testenv.aws.stack import Stack, Task
    from copilot_testenv.copilot.branch_service import Addresses
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.process import Stop
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deployers.deployer import Deployer
    from copilot_testenv.deploys.outcome import Served
    from copilot_testenv.deploys.stack_tags import StackTags
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease


@dataclass(frozen=True)
class Other:
    """Another service of the slot, which is checked and can be deployed from the worktree."""

    session: Session
    target: Target
    addresses: Addresses  # of the slot's services
    is_web: bool  # it has an address of its own
    deployer: Deployer
    before: Stack | None
    is_new: bool  # the application does not know it
    # Copilot renders a service only once the topics that it subscribes to are there.
    is_compared_later: bool

    @property
    def settings(self) -> Settings:
        return self.session.settings


def prepared(
    session: Session,
    target: Target,
    branch: Branch,
    folder: Path,
    addresses: Addresses,
    *,
    renders: bool = True,
) -> list[Other]:
    """Check the other services' manifests in the worktree, and return the services in the order of deploys.

    Raises SettingsError and Refused; nothing has been changed then. Without `renders`, what they would deploy
    is not compared with the default branch's.
    """
    slot_services.require_known(session.settings)
    settings, webs = session.settings, branch_service.web_services(folder, session.settings)
    for own in settings.others:
        path = f"copilot/{own.base}/{workspace_files.NAME}"
        if not (folder / path).is_file():
            raise SettingsError(
                f"own_services names {own.base}, and {branch.name} has no {path}: merge the default branch "
                f"into it, or take {own.base} out of own_services."
            )
        found, shown = manifest.read(folder / path), f"{path} of {branch.name}"
        slot_services.require_kind(own, found, shown)
        manifest.check_environment(found, own.test_env, shown)
        office_hours.require_fixed_count(own, found, shown)
        if own in webs:
            own_service.require_host_names(own, branch, addresses, folder)
        builds = manifest.builds(found)
        checkout.prepare_contexts(session.shell, settings.root, folder, branch, builds, session.report.say)
    own_service.require_places(session, target, webs, folder)
    others = []
    order = slot_services.ordered(settings.others, folder)
    for in_service, there in slot_services.sessions(session, target, order):
        own = in_service.settings
        before = slot_services.before(there, own)
        text = (folder / "copilot" / own.base / workspace_files.NAME).read_text("utf-8-sig")
        subscribes = bool(slot_services.publishers(own, text))
        if settings.slug:
            branch_service.generate(folder, own, addresses)
        deployer = in_service.deployer(there)
        if renders and not subscribes:
            rendered_guard.require_harmless(in_service, deployer.templates, branch, folder, addresses)
        new = _is_new(session, there, own, before)
        others.append(Other(in_service, there, addresses, own in webs, deployer, before, new, subscribes))
    return others


@dataclass
class Roll:
    """One deploy of the other services. `changed` gets each service before it is changed."""

    session: Session  # the slot's
    branch: Branch
    lease: Lease
    folder: Path
    tags: StackTags
    changed: list[Settings]

    def deploy(self, others: list[Other], tags: Mapping[str, str], stop: Stop) -> list[Served]:
        """Deploy each, and wait until its tasks run; return the web services with their pages.

        Raises the errors of settling.require_deployed and settling.wait_until_served.
        """
        found = [self._deploy(other, self.tags.of_other(other.settings, tags), stop) for other in others]
        return [served for served in found if served]

    def _deploy(self, other: Other, tags: Mapping[str, str], stop: Stop) -> Served | None:
        own, target, session = other.settings, other.target, other.session
        if other.is_compared_later:
            templates = other.deployer.templates
            rendered_guard.require_harmless(session, templates, self.branch, self.folder, other.addresses)
        before = settling.usable(session, target, other.before)
        known = {task.id for task in tasks_of(target, before)} if before else set()
        old = target.aws.resource(own.stack_name, "TaskDefinition") if before else None
        self.lease.require_held()
        with ExitStack() as environment, ExitStack() as adding:
            if not before or not before.live:
                doing = f"adding {own.service}"
                environment.enter_context(environment_turn.held(session, target, doing))
            if other.is_new:
                lease = bucket.application_lease(session, target, f"adding {own.service}")
                adding.enter_context(lease.held(wait=True, say=session.report.say))
                application.require_room(own, target.aws)
            self.changed.append(own)
            watcher = Watcher(session, target.aws, tags)

            def hear(line: str) -> None:
                watcher.keep(line)
                if commands.knows_service(line):
                    adding.close()

            doing = f"Deploying {own.service} at {self.branch.commit[:12]} to {own.test_env}"
            with session.report.waiting(doing), watcher:
                due = partial(settling.signal_due, watcher, stop, self.lease)
                result = other.deployer.deploy(self.folder, self.tags.image(target, before), tags, hear, due)
        self.lease.require_held()
        settling.require_deployed(session, target, self.branch, result, watcher, stop)
        office_hours.apply(session, target, before)
        if old != target.aws.resource(own.stack_name, "TaskDefinition"):
            self._require_steady(other, known, stop)
            session.report.say(f"{own.service} runs.")
        return settling.wait_until_served(session, target, self.branch, stop) if other.is_web else None

    def _require_steady(self, other: Other, known: set[str], stop: Stop) -> None:
        """Raise NotDeployed where a new task ends within STEADY_SECONDS: ECS sees no fault in that."""
        own, target = other.settings, other.target
        stack, end = target.aws.stack(own.stack_name), time.monotonic() + companions.STEADY_SECONDS
        while stack and time.monotonic() < end and not stop.asked():
            for task in tasks_of(target, stack):
                if task.id not in known and task.status == "STOPPED" and task.failed_container:
                    raise _ended(other, task)
            time.sleep(0.2 if own.target == "sandbox" else 1)


def tasks_of(target: Target, stack: Stack) -> list[Task]:
    service = target.aws.service(stack.name)
    return target.aws.tasks(*service) if service else []


def _ended(other: Other, task: Task) -> NotDeployed:
    """Return the error for a task that has ended at once, with its container's last lines."""
    own, container = other.settings, task.failed_container
    assert container is not None  # noqa: S101 - the caller has looked
    try:
        lines = container_log.lines_of_ended(other.target.aws, own, container.name, task)
    except UserError as unread:
        lines = [f"(its log cannot be read: {unread})"]
    why = f": {found}" if (found := container_log.cause(lines)) else ""
    how = companions.how(container)
    what = f"{own.service} does not work: the container `{container.name}` has ended {how}{why}"
    error = NotDeployed("\n".join([f"{what}. Its last lines:", *container_log.quoted(lines)]))
    error.cause = what
    return error


def _is_new(session: Session, target: Target, own: Settings, before: Stack | None) -> bool:
    """Return True if the application does not know the service yet.

    Raises Refused where it has a service of a branch's name that these tasks did not make.
    """
    if not application.knows(own, target.aws):
        return True
    if own.slug and not before:
        record = bucket.registry(session, target).read().deployments.get(own.slot)
        if not record or own.service not in record.services:
            raise Refused(
                f"The application {own.app} has a service {own.service} that these tasks did not make: "
                "rename the branch, or deploy it to the shared slot."
            )
    return False


def note(session: Session, target: Target, branch: Branch) -> None:
    """Write the slot's other services into the registry before the first change, for `teardown`."""
    settings = session.settings
    if not settings.others:
        return
    registry = bucket.registry(session, target)
    record = registry.read().deployments.get(settings.service)
    record = record or DeploymentRecord(branch.name, isolated=bool(settings.slug))
    names = dict.fromkeys((*record.services, *(own.service for own in settings.others)))
    registry.record(settings.service, replace(record, services=tuple(names)))
