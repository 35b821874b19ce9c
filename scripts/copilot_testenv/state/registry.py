"""Keep one small object with facts about all deployments of the test environment.

The stacks' tags decide. The registry adds the facts that would take several calls for each deployment (its
URL, its database, the age of its data), the services of the application that these tasks created, and the
time when the schedule last ran. Like a lease, it is only replaced in the version that was read. A reader
skips a record that is malformed; a writer refuses to write while there is one, because writing would lose it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from copilot_testenv.core import display, strict_json
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import NAME
from copilot_testenv.core.strict_json import Malformed, WrittenByNewerVersion
from copilot_testenv.state.bucket_object import Read, Store, change

VERSION = 3  # of the object's form
_LONGEST = 2 << 20  # bytes
_MOST = 5000  # deployments
_MOST_SERVICES = 50  # of a slot
_LONGEST_NAME = 255  # letters of a service's name
_LENGTHS = {
    "branch": 500, "url": 2000, "database": 300, "data_copied_at": 100, "at": 100, "by": 2000, "commit": 100,
    "reason": 1000,
}  # fmt: skip
_FAILURE_KEPT = timedelta(days=7)  # of a slot that no deployment or teardown has changed since
_SHOWN = 3  # names in a message
T = TypeVar("T")


@dataclass(frozen=True)
class DeploymentRecord:
    """A deployment. Times are in ISO 8601, UTC; None means unknown.

    `services` are the slot's other services, by the names that Copilot knows; `urls` are those of its web
    services, by their names in the workspace. An early form had neither.
    """

    branch: str
    isolated: bool
    url: str | None = None
    database: str | None = None
    data_copied_at: str | None = None
    services: tuple[str, ...] = ()
    urls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: object) -> DeploymentRecord:
        """Return the record that a JSON value contains. Raises Malformed."""
        if isinstance(value, dict):
            value = {"services": [], "urls": {}, **value}
        entry = strict_json.only(value, (field.name for field in fields(cls)), "an entry")
        if not isinstance(entry["isolated"], bool):
            raise Malformed("an entry's `isolated` is not true or false")
        known = {
            name: _text(entry, name)
            for name in ("url", "database", "data_copied_at")
            if entry[name] is not None
        }
        services = entry["services"]
        if not isinstance(services, list) or len(services) > _MOST_SERVICES:
            raise Malformed("an entry's `services` are not a list, or too many")
        names = tuple(_service(strict_json.text(name, "a service", _LONGEST_NAME)) for name in services)
        urls = entry["urls"]
        if not isinstance(urls, dict) or len(urls) > _MOST_SERVICES:
            raise Malformed("an entry's `urls` are not a mapping, or too many")
        addresses = {
            _service(name): strict_json.text(url, "url", _LENGTHS["url"]) for name, url in urls.items()
        }
        return cls(_text(entry, "branch"), entry["isolated"], **known, services=names, urls=addresses)


@dataclass(frozen=True)
class Sweep:
    """The last run of `teardown --expired`."""

    at: str
    by: str

    @classmethod
    def of(cls, value: object) -> Sweep:
        """Return the run that a JSON value contains. Raises Malformed."""
        entry = strict_json.only(value, ("at", "by"), "its `swept`")
        return cls(_text(entry, "at"), _text(entry, "by"))


@dataclass(frozen=True)
class FailedDeploy:
    """The last deploy to a slot, where it failed or was interrupted: the reason is one line."""

    branch: str
    commit: str
    by: str
    at: str
    reason: str

    @classmethod
    def of(cls, value: object) -> FailedDeploy:
        """Return the deploy that a JSON value contains. Raises Malformed."""
        names = [field.name for field in fields(cls)]
        entry = strict_json.only(value, names, "a failed deploy")
        return cls(**{name: _text(entry, name) for name in names})

    def is_old(self, now: datetime) -> bool:
        try:
            return now - datetime.fromisoformat(self.at) > _FAILURE_KEPT
        except (ValueError, TypeError):
            return True


@dataclass(frozen=True)
class RegistryContent:
    """The registry's content, by service, and the services of which a record is malformed."""

    deployments: Mapping[str, DeploymentRecord] = field(default_factory=dict)
    failed: Mapping[str, FailedDeploy] = field(default_factory=dict)
    swept: Sweep | None = None
    malformed: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: bytes | None) -> RegistryContent:
        """Read the object's body. Raises Malformed where more than single records is malformed.

        The form 1 had no `failed`, and early versions of these tasks wrote it without `version`; the form 2
        had no `services` and no `urls`.
        """
        if body is None:
            return cls()
        document = strict_json.read(body, _LONGEST)
        strict_json.version(document, VERSION)
        document.setdefault("failed", {})
        strict_json.only(document, ("deployments", "failed", "swept"), "it")
        malformed: dict[str, None] = {}
        read = _records(document["deployments"], DeploymentRecord.of, malformed)
        failed = _records(document["failed"], FailedDeploy.of, malformed)
        swept = document["swept"]
        return cls(read, failed, None if swept is None else Sweep.of(swept), tuple(malformed))

    def as_bytes(self) -> bytes:
        deployments = {service: asdict(record) for service, record in self.deployments.items()}
        failed = {service: asdict(record) for service, record in self.failed.items()}
        swept = asdict(self.swept) if self.swept else None
        document = {"version": VERSION, "deployments": deployments, "failed": failed, "swept": swept}
        return json.dumps(document, ensure_ascii=False).encode()

    @property
    def malformed_names(self) -> str:
        """The services whose entries a person must repair, for a message; empty where there are none."""
        if not self.malformed:
            return ""
        more = f" and {len(self.malformed) - _SHOWN} more" if len(self.malformed) > _SHOWN else ""
        return f"{', '.join(self.malformed[:_SHOWN])}{more}"


def _records(found: object, of: Callable[[object], T], malformed: dict[str, None]) -> dict[str, T]:
    """Return the records by service; note in `malformed` the services of the others. Raises Malformed."""
    if not isinstance(found, dict) or len(found) > _MOST:
        raise Malformed("its deployments are not a mapping, or too many")
    read: dict[str, T] = {}
    for service, record in found.items():
        try:
            read[_service(service)] = of(record)
        except Malformed:
            malformed[repr(display.line(service, 60))] = None
    return read


def _service(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Malformed("a service's name is not valid")
    return name


def _text(entry: Mapping[str, Any], name: str) -> str:
    return strict_json.text(entry[name], name, _LENGTHS[name])


def _without(records: Mapping[str, T], *services: str) -> dict[str, T]:
    return {name: record for name, record in records.items() if name not in services}


@dataclass(frozen=True)
class Registry:
    """The registry in its store."""

    store: Store

    def read(self, *, whole: bool = False) -> RegistryContent:
        """Return the registry's content.

        Raises Failed where the store does not answer, or the object is not what these tasks write; with
        `whole`, also where a single entry is malformed.
        """
        return self._content(self.store.read().body, whole=whole)

    def record(self, service: str, record: DeploymentRecord) -> None:
        """Record the deployment that serves; what is known of a failed deploy stays."""
        self._change(lambda content: replace(content, deployments={**content.deployments, service: record}))

    def record_served(self, service: str, record: DeploymentRecord) -> None:
        """Record a deploy that has succeeded."""
        self._change(
            lambda content: replace(
                content,
                deployments={**content.deployments, service: record},
                failed=_without(content.failed, service),
            )
        )

    def record_failed(self, service: str, failed: FailedDeploy, now: datetime) -> None:
        """Record a deploy that has failed, and forget those that failed long ago."""
        self._change(
            lambda content: replace(
                content,
                failed={
                    **{name: each for name, each in content.failed.items() if not each.is_old(now)},
                    service: failed,
                },
            )
        )

    def forget(self, *services: str) -> None:
        self._change(
            lambda content: replace(
                content,
                deployments=_without(content.deployments, *services),
                failed=_without(content.failed, *services),
            )
        )

    def note_sweep(self, sweep: Sweep) -> None:
        self._change(lambda content: replace(content, swept=sweep))

    def warning(self, content: RegistryContent) -> str:
        """Return a line about the malformed entries; empty where there are none."""
        if not (names := content.malformed_names):
            return ""
        return (
            f"The registry of deployments, {self.store.name}, has malformed entries: {names}. Nothing is "
            "written to it until they are repaired: download the object, correct or delete the entries, and "
            f"upload it again; or, to start with an empty registry, {self.store.removal}."
        )

    def _content(self, body: bytes | None, *, whole: bool) -> RegistryContent:
        try:
            content = RegistryContent.of(body)
        except WrittenByNewerVersion:
            raise Failed(
                f"The registry of deployments, {self.store.name}, was written by a later version of these "
                "tasks: update them."
            ) from None
        except Malformed as error:
            raise Failed(
                f"The registry of deployments, {self.store.name}, is not what these tasks write: {error}. "
                "Restore an older version of it, if the bucket has one; or, to start with an empty registry, "
                f"{self.store.removal}."
            ) from None
        if whole and (warning := self.warning(content)):
            raise Failed(warning)
        return content

    def _change(self, changed: Callable[[RegistryContent], RegistryContent]) -> None:
        def wanted(read: Read) -> bytes | None:
            before = self._content(read.body, whole=True)
            after = changed(before)
            if after == before:
                return None
            body = after.as_bytes()
            self._content(body, whole=True)  # never write a body that no run could read
            return body

        change(self.store, wanted)
