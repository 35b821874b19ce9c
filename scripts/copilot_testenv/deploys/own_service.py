"""The service of its own that `--isolated` gives a branch: its host name, its place in the application."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot_testenv.copilot import aliases, application, branch_service, manifest
from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.core import git, workspace_files
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.state import bucket
from copilot_testenv.state.registry import DeploymentRecord

if TYPE_CHECKING:
    from pathlib import Path

    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.git import Branch
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target


def addresses(settings: Settings, aws: Aws, folder: Path) -> Addresses:
    """Return the addresses of the branch's own services, whose manifests are in the worktree `folder`.

    Raises SettingsError where they cannot have any.
    """
    if not settings.slug:
        return Addresses()
    domain, port = "", ""
    if settings.target == "aws":
        domain = application.domain(settings, aws)
        aliases.require_domain_of_its_own(settings, domain)
    page = branch_service.host(settings, domain)
    others = branch_service.web_services(folder, settings)
    if not others:
        return Addresses(page)
    scheme = "https"  # a service has a host name of its own only where there is a certificate
    if settings.target == "sandbox":
        scheme, port = "http", _port(settings, aws)
    hosts = {settings.base: page, **{own.base: branch_service.host(own, domain) for own in others}}
    return Addresses(page, {name: f"{scheme}://{host}{port}" for name, host in hosts.items()})


def require_host_names(settings: Settings, branch: Branch, addresses: Addresses, folder: Path) -> None:
    """Raise SettingsError, Refused where a web service in the worktree would take another service's name."""
    path = f"copilot/{settings.base}/{workspace_files.NAME}"
    text = (folder / path).read_text(encoding="utf-8-sig")
    aliases.require_own(text, path, settings)
    own = {alias.name for alias in aliases.of(manifest.parse(text, path), settings.test_env)}
    if addresses.host:
        own = {addresses.host_of(settings)}
    aliases.require_free(dict.fromkeys(own, branch.name), settings, [settings.root, folder])


def require_places(session: Session, target: Target, webs: Sequence[Settings], folder: Path) -> None:
    """Raise SettingsError where two web services of the shared slot would answer to the same requests.

    Where the application has a domain, each service has a host name of its own.
    """
    settings = session.settings
    if not webs or settings.slug or application.domain(settings, target.aws):
        return
    taken: dict[tuple[frozenset[str], str], str] = {}
    for own in (settings, *webs):
        path = f"copilot/{own.base}/{workspace_files.NAME}"
        place = aliases.place(manifest.read(folder / path), own.test_env)
        if other := taken.get(place):
            raise SettingsError(
                f"{path}: {own.base} and {other} both answer to {place[1]} in {own.test_env}, so that "
                f"one of them would get all requests: write another `environments.{own.test_env}"
                ".http.path`, or an alias."
            )
        taken[place] = own.base


def require_free_labels(session: Session, target: Target, branch: Branch, addresses: Addresses) -> None:
    """Raise Refused where another branch's slot has one of these host names: `api-x` for the branch `x`.

    Each of its own services counts as a web service there: this branch does not say what they are.
    """
    settings = session.settings
    below = settings.test_domain or settings.target == "sandbox"  # else a host name begins with the service's
    if not settings.slug or not settings.others or not below:
        return
    mine = {settings.slug, *(f"{name}-{settings.slug}" for name in addresses.urls if name != settings.base)}
    for record in bucket.registry(session, target).read().deployments.values():
        slug = git.slug(record.branch) if record.isolated and record.branch else ""
        if not slug or slug == settings.slug:
            continue
        if both := mine & {slug, *(f"{own.base}-{slug}" for own in settings.others)}:
            raise Refused(
                f"{branch.name} and {record.branch}, which has a slot of its own, would share the name "
                f"{', '.join(both)}: rename the branch, or deploy it to the shared slot."
            )


def _port(settings: Settings, aws: Aws) -> str:
    """Return the port of the sandbox's load balancer, after a colon; AWS's are the usual ones."""
    balancer = aws.balancer_name(f"{settings.app}-{settings.test_env}")
    if balancer is None:
        raise SettingsError(
            f"The sandbox has no load balancer yet, so that {settings.base} cannot know the addresses of its "
            "branch's services: deploy a branch to the shared slot first."
        )
    return f":{balancer.rpartition(':')[2]}"


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
