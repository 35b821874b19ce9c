"""Find the objects that these tasks keep in the application's bucket: leases and a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from copilot_testenv.core import display
from copilot_testenv.core.errors import UserError
from copilot_testenv.state.bucket_object import BucketObject
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import DeploymentRecord, Registry

if TYPE_CHECKING:
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.live import Deployment

_LONGEST_NAME = 200  # letters of a database's name: a container printed it, so it can be any text
_SHELF = "test-environments"


def lease(session: Session, target: Target, doing: str) -> Lease:
    """Return the slot's lease, which is not held yet.

    Raises Refused where the environment may not be changed.
    """
    target.copilot.require_marked()
    settings = session.settings
    slot = f"{settings.service} in {settings.test_env}"
    return Lease(_lease_object(session, target), slot, session.who(), doing)


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
    folder = f"{_SHELF}/leases/{session.settings.test_env}/"
    keys = target.aws.object_keys(target.aws.application_bucket(session.settings.app), folder)
    return [key.removeprefix(folder).removesuffix(".json") for key in keys]


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
    )


def _lease_object(session: Session, target: Target) -> BucketObject:
    key = f"leases/{session.settings.test_env}/{session.settings.service}.json"
    return _object(session, target, key, quick=True)


def _object(session: Session, target: Target, key: str, *, quick: bool = False) -> BucketObject:
    """Return an object in the tasks' own folder of the bucket; with `quick`, its calls time out soon."""
    bucket, in_sandbox = (
        target.aws.application_bucket(session.settings.app),
        session.settings.target == "sandbox",
    )
    return BucketObject(target.aws.client("s3", quick=quick), bucket, f"{_SHELF}/{key}", in_sandbox)
