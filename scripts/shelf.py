"""The few objects of these tasks' own in the application's bucket: leases, and a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import display, environment
from scripts.bucket_object import BucketObject
from scripts.errors import UserError
from scripts.lease import Lease
from scripts.ledger import Entry, Ledger

if TYPE_CHECKING:
    from scripts.environment import Bench, Place
    from scripts.live import Deployment

_LONGEST_NAME = 200  # letters of a database's name: a container says it, and may say anything
_SHELF = "test-environments"


def lease(bench: Bench, place: Place, doing: str) -> Lease:
    """The right to change the slot; nothing is taken yet. Raises Refused where nothing may be changed."""
    place.copilot.require_marked()
    settings = bench.settings
    slot = f"{settings.service} in {settings.test_env}"
    return Lease(_lease_object(bench, place), slot, environment.who(bench), doing)


def application_lease(bench: Bench, place: Place, doing: str) -> Lease:
    """The right to change the application's services: Copilot lets no two do that at once."""
    place.copilot.require_marked()
    slot = f"the application {bench.settings.app}"
    return Lease(
        _object(bench, place, "leases/application.json", quick=True), slot, environment.who(bench), doing
    )


def discard_lease(bench: Bench, place: Place) -> bool:
    """Delete the slot's lease, unless somebody holds it or waits for it; return True where it is gone."""
    try:
        return lease(bench, place, "removing it").discard()
    except UserError as error:
        bench.report.say(
            f"(The lease of {bench.settings.service} was not deleted: {str(error).rstrip('.')}.)"
        )
        return False


def leases(bench: Bench, place: Place) -> list[str]:
    """Return the services of this environment that have a lease, held or not."""
    folder = f"{_SHELF}/leases/{bench.settings.test_env}/"
    keys = place.aws.object_keys(place.aws.application_bucket(bench.settings.app), folder)
    return [key.removeprefix(folder).removesuffix(".json") for key in keys]


def ledger(bench: Bench, place: Place) -> Ledger:
    """What is known of all deployments of the environment."""
    return Ledger(_object(bench, place, f"ledgers/{bench.settings.test_env}.json"))


def entry(deployment: Deployment) -> Entry:
    """What the ledger keeps of a deployment."""
    return Entry(
        branch=deployment.branch or "",
        isolated=deployment.isolated,
        url=deployment.url and display.line(deployment.url),
        database=deployment.database and display.line(deployment.database, _LONGEST_NAME),
        data_copied_at=deployment.data_copied_at,
    )


def _lease_object(bench: Bench, place: Place) -> BucketObject:
    key = f"leases/{bench.settings.test_env}/{bench.settings.service}.json"
    return _object(bench, place, key, quick=True)


def _object(bench: Bench, place: Place, key: str, *, quick: bool = False) -> BucketObject:
    """An object of ours; `quick`: a call of it that is not answered soon is given up."""
    bucket, in_sandbox = place.aws.application_bucket(bench.settings.app), bench.settings.target == "sandbox"
    return BucketObject(place.aws.client("s3", quick=quick), bucket, f"{_SHELF}/{key}", in_sandbox)
