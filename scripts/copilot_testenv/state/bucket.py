"""Find the objects that these tasks keep in the application's bucket: leases and a registry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.core import display
from copilot_testenv.core.errors import UserError
from copilot_testenv.state.bucket_object import BucketObject
from copilot_testenv.state.lease import LIFETIME, Lease, Unreadable
from copilot_testenv.state.registry import DeploymentRecord, Registry

if TYPE_CHECKING:
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.live import Deployment

_LONGEST_NAME = 200  # letters of a database's name: a container printed it, so it can be any text
_SHELF = "test-environments"
_SLACK = 10.0  # seconds: S3 tells the time of a write by the second, and its clocks may differ a little


def lease(session: Session, target: Target, doing: str) -> Lease:
    """Return the slot's lease, which is not held yet.

    Raises Refused where the environment may not be changed.
    """
    target.copilot.require_marked()
    settings = session.settings
    slot, who = f"{settings.service} in {settings.test_env}", session.who()
    sweep = Lease(_sweep_object(session, target), slot, who, "looking")
    return Lease(_lease_object(session, target), slot, who, doing, service=settings.service, sweep=sweep)


def sweep_lease(session: Session, target: Target, doing: str, services: Sequence[str]) -> Lease:
    """Return one lease for several slots, which `held_slots` must not name when it is held."""
    target.copilot.require_marked()
    slots = f"the slots {', '.join(services)}"
    return Lease(_sweep_object(session, target), slots, session.who(), doing, slots=tuple(services))


def application_lease(session: Session, target: Target, doing: str) -> Lease:
    """Return the lease for changes of the application's services: Copilot allows one at a time."""
    target.copilot.require_marked()
    slot = f"the application {session.settings.app}"
    return Lease(_object(session, target, "leases/application.json", quick=True), slot, session.who(), doing)


def environment_lease(session: Session, target: Target, doing: str) -> Lease:
    """Return the lease for changes of the environment's own stack: its load balancer and listener rules."""
    target.copilot.require_marked()
    name = session.settings.test_env
    store = _object(session, target, f"environments/{name}.json", quick=True)
    return Lease(store, f"the environment {name}", session.who(), doing)


def discard_lease(session: Session, target: Target) -> bool:
    """Delete the slot's lease, unless another run holds it or waits for it; return True if it is deleted."""
    try:
        return lease(session, target, "removing it").discard()
    except UserError as error:
        session.report.say(
            f"(The lease of {session.settings.service} was not deleted: {str(error).rstrip('.')}.)"
        )
        return False


def leases(session: Session, target: Target) -> list[str]:
    """Return the services of this environment that have a lease object, held or not."""
    return list(_lease_objects(session, target))


def held_slots(session: Session, target: Target, slots: Sequence[Settings]) -> set[str]:
    """Return the services of these slots whose leases are held; one that cannot be read counts as held.

    A lease that was not written for longer than a claim lasts has no holder: one list shows that for all.
    """
    known, held = _lease_objects(session, target) if slots else {}, set()
    for slot in slots:
        if known.get(slot.service, math.inf) < LIFETIME + _SLACK:
            try:
                if lease(replace(session, settings=slot), target, "looking").holder():
                    held.add(slot.service)
            except Unreadable as error:
                session.report.say(f"{slot.service} stays: {error}")
                held.add(slot.service)
    return held


def discard_leases(session: Session, target: Target, services: Sequence[str]) -> None:
    """Delete the leases of slots that a sweep has deleted, while it holds them. Raises Failed."""
    bucket, folder = target.aws.application_bucket(session.settings.app), _folder(session)
    target.aws.delete_objects(bucket, [f"{folder}{service}.json" for service in services])


def _lease_objects(session: Session, target: Target) -> dict[str, float]:
    """Return the seconds since each lease was written, by service."""
    folder = _folder(session)
    ages = target.aws.object_ages(target.aws.application_bucket(session.settings.app), folder)
    return {key.removeprefix(folder).removesuffix(".json"): age for key, age in ages.items()}


def registry(session: Session, target: Target) -> Registry:
    """Return the registry of the environment's deployments."""
    return Registry(_object(session, target, f"ledgers/{session.settings.test_env}.json"))


def entry(deployment: Deployment) -> DeploymentRecord:
    """Return the registry's record of a deployment."""
    return DeploymentRecord(
        branch=deployment.branch or "",
        isolated=deployment.isolated,
        url=deployment.url and display.line(deployment.url),
        database=deployment.database and display.line(deployment.database, _LONGEST_NAME),
        data_copied_at=deployment.data_copied_at,
        services=tuple(deployment.services[1:]),
        urls={name: display.line(url) for name, url in deployment.urls.items()},
    )


def _folder(session: Session) -> str:
    return f"{_SHELF}/leases/{session.settings.test_env}/"


def _lease_object(session: Session, target: Target) -> BucketObject:
    key = f"leases/{session.settings.test_env}/{session.settings.service}.json"
    return _object(session, target, key, quick=True)


def _sweep_object(session: Session, target: Target) -> BucketObject:
    return _object(session, target, f"sweeps/{session.settings.test_env}.json", quick=True)


def _object(session: Session, target: Target, key: str, *, quick: bool = False) -> BucketObject:
    """Return an object in the tasks' own folder of the bucket; with `quick`, its calls time out soon."""
    bucket, in_sandbox = (
        target.aws.application_bucket(session.settings.app),
        session.settings.target == "sandbox",
    )
    return BucketObject(target.aws.client("s3", quick=quick), bucket, f"{_SHELF}/{key}", in_sandbox)
