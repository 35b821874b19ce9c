"""What is known of all deployments of the test environment without asking for each: one small object.

The truth stands in the stacks' tags. The ledger adds what would cost several calls a deployment (its URL, its
database, the age of its data), which services of the application are these tasks' own, and when the schedule
last ran. It lies beside the leases and is written as they are: only over what was read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TypeVar

from scripts.errors import Failed
from scripts.lease import Store, pause

_TRIES = 100


@dataclass(frozen=True)
class Entry:
    """A deployment; times in ISO 8601, UTC; unknown is None."""

    branch: str
    isolated: bool
    url: str | None = None
    database: str | None = None
    data_copied_at: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A run of `teardown --expired`."""

    at: str
    by: str


@dataclass(frozen=True)
class Book:
    """What the object says; `deployments` by service."""

    deployments: Mapping[str, Entry] = field(default_factory=dict)
    swept: Sweep | None = None

    @classmethod
    def of(cls, body: bytes | None) -> Book:
        """Read an object. What a later version has added is passed over, and so is an entry that is none.

        Raises Failed where it is no ledger at all: writing over it would lose what is in it.
        """
        try:
            found = json.loads(body or b"{}")
        except ValueError:
            found = None
        entries = found.get("deployments") or {} if isinstance(found, dict) else None
        if not isinstance(found, dict) or not isinstance(entries, dict):
            raise Failed(
                "The ledger of deployments is not what these tasks write. Look at "
                "test-environments/ledgers/ in the application's bucket: it has versions, and an older one "
                "can be taken back."
            )
        read = {service: _read(Entry, entry) for service, entry in entries.items()}
        return cls({name: each for name, each in read.items() if each}, _read(Sweep, found.get("swept")))

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()


_T = TypeVar("_T", Entry, Sweep)


def _read(kind: type[_T], found: object) -> _T | None:
    known = {each.name for each in fields(kind)}
    try:
        given = {name: value for name, value in dict(found).items() if name in known}  # type: ignore[call-overload]  # caught
        return kind(**given)
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Ledger:
    """The object, wherever it lies."""

    store: Store

    def read(self) -> Book:
        """Raises Failed where the store does not answer."""
        return Book.of(self.store.read().body)

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

    def _change(self, change: Callable[[Book], Book]) -> None:
        for _ in range(_TRIES):
            read = self.store.read()
            before = Book.of(read.body)
            after = change(before)
            if after == before or self.store.write(after.as_bytes(), read.version):
                return
            pause(0.05)
        raise Failed("The ledger of deployments cannot be written: too many write to it at once. Try again.")
