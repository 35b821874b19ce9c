"""What is known of all deployments of the test environment without asking for each: one small object.

The truth stands in the stacks' tags. The registry adds what would cost several calls a deployment (its URL,
its database, the age of its data), which services of the application are these tasks' own, and when the
schedule last ran. It lies beside the leases and is written as they are: only over what was read. A record
that cannot be understood is passed over by those who read, and keeps everybody from writing, which would
lose it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from copilot_testenv.core import display, strict_json
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import NAME
from copilot_testenv.core.strict_json import Malformed, WrittenByNewerVersion
from copilot_testenv.state.bucket_object import Read, Store, change

VERSION = 1  # of the object's form
_LONGEST = 2 << 20  # bytes
_MOST = 5000  # deployments
_LENGTHS = {"branch": 500, "url": 2000, "database": 300, "data_copied_at": 100, "at": 100, "by": 2000}
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class DeploymentRecord:
    """A deployment; times in ISO 8601, UTC; unknown is None."""

    branch: str
    isolated: bool
    url: str | None = None
    database: str | None = None
    data_copied_at: str | None = None

    @classmethod
    def of(cls, found: object) -> DeploymentRecord:
        """Raise Malformed."""
        given = strict_json.only(found, (each.name for each in fields(cls)), "an entry")
        if not isinstance(given["isolated"], bool):
            raise Malformed("an entry does not say whether it is isolated")
        known = {
            name: _text(given, name)
            for name in ("url", "database", "data_copied_at")
            if given[name] is not None
        }
        return cls(_text(given, "branch"), given["isolated"], **known)


@dataclass(frozen=True)
class Sweep:
    """A run of `teardown --expired`."""

    at: str
    by: str

    @classmethod
    def of(cls, found: object) -> Sweep:
        """Raise Malformed."""
        given = strict_json.only(found, ("at", "by"), "what it says of the schedule")
        return cls(_text(given, "at"), _text(given, "by"))


@dataclass(frozen=True)
class RegistryContent:
    """What the object says; `deployments` by service, and of which services it cannot be understood."""

    deployments: Mapping[str, DeploymentRecord] = field(default_factory=dict)
    swept: Sweep | None = None
    malformed: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: bytes | None) -> RegistryContent:
        """Read an object. Raises Malformed where nothing of it can be understood.

        Earlier versions of these tasks wrote the same without `version`.
        """
        if body is None:
            return cls()
        found = strict_json.read(body, _LONGEST)
        strict_json.version(found, VERSION)
        strict_json.only(found, ("deployments", "swept"), "it")
        records, swept = found["deployments"], found["swept"]
        if not isinstance(records, dict) or len(records) > _MOST:
            raise Malformed("its deployments are none")
        read: dict[str, DeploymentRecord] = {}
        malformed: list[str] = []
        for service, record in records.items():
            try:
                read[_service(service)] = DeploymentRecord.of(record)
            except Malformed:
                malformed.append(repr(display.line(service, 60)))
        return cls(read, None if swept is None else Sweep.of(swept), tuple(malformed))

    def as_bytes(self) -> bytes:
        deployments = {name: asdict(each) for name, each in self.deployments.items()}
        swept = asdict(self.swept) if self.swept else None
        document = {"version": VERSION, "deployments": deployments, "swept": swept}
        return json.dumps(document, ensure_ascii=False).encode()

    @property
    def mended_by_hand(self) -> str:
        """Of which entries a person has to look; empty where all is well."""
        if not self.malformed:
            return ""
        more = f" and {len(self.malformed) - _SHOWN} more" if len(self.malformed) > _SHOWN else ""
        return f"{', '.join(self.malformed[:_SHOWN])}{more}"


def _service(name: str) -> str:
    if not NAME.fullmatch(name):
        raise Malformed("a service's name is none")
    return name


def _text(given: Mapping[str, Any], name: str) -> str:
    return strict_json.text(given[name], name, _LENGTHS[name])


@dataclass(frozen=True)
class Registry:
    """The object, wherever it lies."""

    store: Store

    def read(self, *, whole: bool = False) -> RegistryContent:
        """Return the registry.

        Raise Failed where the store does not answer, or the object is none of these tasks'.

        `whole`: also where an entry of it cannot be understood.
        """
        return self._understood(self.store.read().body, whole=whole)

    def record(self, service: str, record: DeploymentRecord) -> None:
        self._change(lambda content: replace(content, deployments={**content.deployments, service: record}))

    def forget(self, service: str) -> None:
        self._change(
            lambda content: replace(
                content,
                deployments={name: each for name, each in content.deployments.items() if name != service},
            )
        )

    def note_sweep(self, sweep: Sweep) -> None:
        self._change(lambda content: replace(content, swept=sweep))

    def warning(self, content: RegistryContent) -> str:
        """Return the line about entries that were passed over; empty where there is none."""
        if not (names := content.mended_by_hand):
            return ""
        return (
            f"The registry of deployments, {self.store.name}, has entries that are not what these tasks "
            "write: "
            f"{names}. Nothing is written to it until they are mended: take the object, mend the entries or "
            f"take them out, and put it back; or, to begin anew, {self.store.removal}."
        )

    def _understood(self, body: bytes | None, *, whole: bool) -> RegistryContent:
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
                "The "
                "bucket may have an older version of it, which can be taken back; or, to begin anew, "
                f"{self.store.removal}."
            ) from None
        if whole and (warning := self.warning(content)):
            raise Failed(warning)
        return content

    def _change(self, changed: Callable[[RegistryContent], RegistryContent]) -> None:
        def wanted(read: Read) -> bytes | None:
            before = self._understood(read.body, whole=True)
            after = changed(before)
            if after == before:
                return None
            body = after.as_bytes()
            self._understood(body, whole=True)  # what nobody could read is not written
            return body

        change(self.store, wanted)
