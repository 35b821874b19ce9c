"""What is known of all deployments of the test environment without asking for each: one small object.

The truth stands in the stacks' tags. The ledger adds what would cost several calls a deployment (its URL, its
database, the age of its data), which services of the application are these tasks' own, and when the schedule
last ran. It lies beside the leases and is written as they are: only over what was read. An entry that cannot
be understood is passed over by those who read, and keeps everybody from writing: it would be lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from scripts import display, strict_json
from scripts.bucket_object import Read, Store, change
from scripts.errors import Failed
from scripts.settings import NAME
from scripts.strict_json import Later, Malformed

VERSION = 1  # of the object's form
_LONGEST = 2 << 20  # bytes
_MOST = 5000  # deployments
_LENGTHS = {"branch": 500, "url": 2000, "database": 300, "data_copied_at": 100, "at": 100, "by": 2000}
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class Entry:
    """A deployment; times in ISO 8601, UTC; unknown is None."""

    branch: str
    isolated: bool
    url: str | None = None
    database: str | None = None
    data_copied_at: str | None = None

    @classmethod
    def of(cls, found: object) -> Entry:
        """Raises Malformed."""
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
        """Raises Malformed."""
        given = strict_json.only(found, ("at", "by"), "what it says of the schedule")
        return cls(_text(given, "at"), _text(given, "by"))


@dataclass(frozen=True)
class Book:
    """What the object says; `deployments` by service, and of which services it cannot be understood."""

    deployments: Mapping[str, Entry] = field(default_factory=dict)
    swept: Sweep | None = None
    malformed: tuple[str, ...] = ()

    @classmethod
    def of(cls, body: bytes | None) -> Book:
        """Read an object. Raises Malformed where nothing of it can be understood.

        Earlier versions of these tasks wrote the same without `version`.
        """
        if body is None:
            return cls()
        found = strict_json.read(body, _LONGEST)
        strict_json.version(found, VERSION)
        strict_json.only(found, ("deployments", "swept"), "it")
        entries, swept = found["deployments"], found["swept"]
        if not isinstance(entries, dict) or len(entries) > _MOST:
            raise Malformed("its deployments are none")
        read: dict[str, Entry] = {}
        malformed: list[str] = []
        for service, entry in entries.items():
            try:
                read[_service(service)] = Entry.of(entry)
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
class Ledger:
    """The object, wherever it lies."""

    store: Store

    def read(self, *, whole: bool = False) -> Book:
        """Raises Failed where the store does not answer, or the object is none of these tasks'.

        `whole`: also where an entry of it cannot be understood.
        """
        return self._understood(self.store.read().body, whole=whole)

    def record(self, service: str, entry: Entry) -> None:
        self._change(lambda book: replace(book, deployments={**book.deployments, service: entry}))

    def forget(self, service: str) -> None:
        self._change(
            lambda book: replace(
                book, deployments={name: each for name, each in book.deployments.items() if name != service}
            )
        )

    def note_sweep(self, sweep: Sweep) -> None:
        self._change(lambda book: replace(book, swept=sweep))

    def warning(self, book: Book) -> str:
        """The line about entries that were passed over; empty where there is none."""
        if not (names := book.mended_by_hand):
            return ""
        return (
            f"The ledger of deployments, {self.store.name}, has entries that are not what these tasks write: "
            f"{names}. Nothing is written to it until they are mended: take the object, mend the entries or "
            f"take them out, and put it back; or, to begin anew, {self.store.removal}."
        )

    def _understood(self, body: bytes | None, *, whole: bool) -> Book:
        try:
            book = Book.of(body)
        except Later:
            raise Failed(
                f"The ledger of deployments, {self.store.name}, was written by a later version of these "
                "tasks: update them."
            ) from None
        except Malformed as error:
            raise Failed(
                f"The ledger of deployments, {self.store.name}, is not what these tasks write: {error}. The "
                "bucket may have an older version of it, which can be taken back; or, to begin anew, "
                f"{self.store.removal}."
            ) from None
        if whole and (warning := self.warning(book)):
            raise Failed(warning)
        return book

    def _change(self, changed: Callable[[Book], Book]) -> None:
        def wanted(read: Read) -> bytes | None:
            before = self._understood(read.body, whole=True)
            after = changed(before)
            if after == before:
                return None
            body = after.as_bytes()
            self._understood(body, whole=True)  # what nobody could read is not written
            return body

        change(self.store, wanted)
