"""The few objects of these tasks' own in the application's bucket: leases, and a ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts import display, environment
from scripts.bucket_object import BucketObject
from scripts.lease import Lease
from scripts.ledger import Entry, Ledger

if TYPE_CHECKING:
    from scripts.environment import Bench, Deployment, Place

_LONGEST_NAME = 200  # letters of a database's name: a container says it, and may say anything
_SHELF = "test-environments"


def lease(bench: Bench, place: Place, doing: str) -> Lease:
    """The right to change the slot; nothing is taken yet."""
    settings = bench.settings
    slot = f"{settings.service} in {settings.test_env}"
    return Lease(_lease_object(bench, place), slot, environment.who(bench), doing)


def application_lease(bench: Bench, place: Place, doing: str) -> Lease:
    """The right to change the application's services: Copilot lets no two do that at once."""
    slot = f"the application {bench.settings.app}"
    return Lease(
        _object(bench, place, "leases/application.json", quick=True), slot, environment.who(bench), doing
    )


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
