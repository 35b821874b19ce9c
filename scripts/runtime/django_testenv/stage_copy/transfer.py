"""Copy staging into a throw-away database, from the lock to the swap.

The target serves until the new database beside it is complete. A failure before that leaves it unchanged.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from . import blockers, copy_metadata, engine, previous, swap
from .database import Connection, Database, reason
from .disposable_registry import COPYING, REPLACED, beside
from .golden import GoldenCopy
from .model import Silent
from .problems import Failed

if TYPE_CHECKING:
    from .model import Moved, Progress
    from .options import Options

Release = Mapping[str, str]


@dataclass(frozen=True)
class Receipt:
    """The result of a copy.

    `how` is "copied", "cloned" (from the golden copy), "spare", "kept" or "put back".
    """

    source: str
    target: str
    how: str
    copied_at: str  # ISO 8601 in UTC: the moment of the snapshot of staging
    tables: int
    rows: int
    bytes: int  # of rows that came from staging for this copy
    seconds: float
    phases: Mapping[str, float]  # seconds
    release: Release | None
    left: list[str] = field(default_factory=list)  # sentences: what the target may not have


@dataclass
class Copy:
    """One copy. `server` is a connection to `maintenance`, another database of the target's server."""

    source: Database
    target: Database
    maintenance: Database
    server: Connection
    options: Options
    release: Release | None
    progress: Progress
    fill: Callable[[Database, Database, Options, Progress], Moved] = engine.fill
    shared: str = ""  # the shared database, if the target is a branch's
    finish: Callable[[Database], None] = lambda _: None  # changes the new database before the swap
    state: str = "the target is as it was"  # what an interruption would leave
    _left: list[str] = field(default_factory=list)
    _phases: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def run(
        self,
        claim: Callable[[], None],
        guard: Callable[[], contextlib.AbstractContextManager[Connection]],
        *,
        fresh: bool,
    ) -> Receipt:
        """Replace the target by staging's data, unless it already has them for this release.

        `claim` refuses a target that must not be replaced; it is called while the target is locked. `guard`
        opens the connection to staging, or refuses; it is not called if the target keeps its data. Raises
        Refused or Failed; the target is unchanged then.
        """
        name = self.target.name
        try:
            swap.disable_timeouts(self.server)
            with swap.locked(self.server, name, partial(self._say_waiting, name)):
                claim()
                incoming, replaced = beside(name)
                swap.drop(self.server, incoming)
                swap.open_again(self.server, name)
                if not fresh and (kept := self._kept()):
                    previous.drop_old(self.server, name)
                    previous.drop_all_old(self.server)
                    return self._receipt("kept", kept, 0)
                blockers.require_none(self.server, name)
                if not fresh and (former := previous.data_of(self.server, replaced, self.release)):
                    self._exchange(name, replaced, incoming)
                    self._drop_if_it_can_be(incoming)
                    return self._receipt("put back", former, 0)
                if not fresh and previous.was_replaced(self.server, name, self.release):
                    self.progress.say(
                        "this is a roll-back, and the data that this release had are not kept any more: "
                        "staging is copied again"
                    )
                swap.drop(self.server, replaced)
                with guard() as staging:
                    golden = GoldenCopy.of(self.source, self.server, self.options, self.target.role)
                    try:
                        if golden is None:
                            how, new, size = "copied", *self._copy(staging, incoming, replaced)
                            self._put_in_place(new, incoming, replaced)
                        else:
                            how, new, size = self._clone(golden, staging, incoming, replaced, fresh=fresh)
                    finally:
                        self._drop_if_it_can_be(incoming)
                receipt = self._receipt(how, new, size)
                self._phases["until the target serves"] = receipt.seconds
                self._clear_up(golden)
                self._phases["clearing up"] = self._elapsed() - receipt.seconds
                return receipt
        except psycopg.Error as error:
            raise Failed(f'the copy into "{name}" failed: {reason(error)}') from None

    def would(self, *, fresh: bool) -> str:
        """Return one sentence about what a run would do now; change nothing."""
        kept = None if fresh else self._kept()
        golden = GoldenCopy.of(self.source, self.server, self.options, self.target.role)
        if kept:
            return f"The target keeps its data of {kept['copied_at']}: they were copied for this release."
        _, replaced = beside(self.target.name)
        if not fresh and (former := previous.data_of(self.server, replaced, self.release)):
            return f"The data of {former['copied_at']} are put back: they were copied for this release."
        if golden is None:
            return f'Staging is copied into "{self.target.name}".'
        age = golden.age(self.server)
        if fresh or age is None or age > golden.max_age:
            return f'Staging is copied into the golden copy, and "{self.target.name}" cloned from that.'
        way = "takes the spare clone" if golden.ready_spare(self.server) else "is cloned"
        return f'"{self.target.name}" {way} of the golden copy, which is {age / 3600:.1f} hours old.'

    def rehearse(self, staging: Connection) -> engine.Rehearsal:
        """Make staging's schema, without rows, in a database beside the target, and drop it.

        Raise Failed, which names what cannot be made.
        """
        name = self.target.name
        swap.disable_timeouts(self.server)
        with swap.locked(self.server, name, partial(self._say_waiting, name)):
            incoming, replaced = beside(name)
            try:
                self._create(staging, incoming, replaced)
                return engine.rehearse(self.source, self.target.named(incoming), self.options, Silent())
            finally:
                self._drop_if_it_can_be(incoming)

    def _kept(self) -> dict[str, Any] | None:
        """Return the target's stamp if it has the data for this release; else None."""
        return previous.data_of(self.server, self.target.name, self.release)

    def _copy(self, staging: Connection, into: str, replaced: str) -> tuple[dict[str, Any], int]:
        """Fill a new database `into`; return its stamp and the number of bytes that were moved."""
        self._create(staging, into, replaced)
        moved = self.fill(self.source, self.target.named(into), self.options, self.progress)
        self._phases.update(moved.seconds)
        self._left += moved.left
        new = {
            "copied_at": moved.copied_at,
            "source": self.source.name,
            "tables": len(moved.rows),
            "rows": sum(moved.rows.values()),
        }
        return new, moved.bytes

    def _create(self, staging: Connection, into: str, replaced: str) -> None:
        """Make an empty database with the locale of staging's."""
        swap.drop(self.server, into, replaced)
        locale = swap.locale(staging, self.server.info.server_version)
        try:
            swap.create(self.server, into, locale, self.progress.say)
            swap.own(self.server, into, self.target.role)
        except psycopg.Error as error:
            raise Failed(f'cannot create database "{into}" beside the target: {reason(error)}') from None

    def _put_in_place(self, new: Mapping[str, Any], incoming: str, replaced: str) -> None:
        self.finish(self.target.named(incoming))
        name = self.target.name
        before = previous.note(self.server, name, self.release)
        stamp = {**new, "release": dict(self.release) if self.release else None, **before}
        copy_metadata.write(self.server, incoming, stamp, copy_metadata.words(self.server, name))
        self._exchange(name, incoming, replaced, self.shared)

    def _exchange(self, name: str, incoming: str, replaced: str, shared: str = "") -> None:
        """Put `incoming` in the place of `name`. Raise Failed, which says why that was not possible."""
        if name == self.target.name:
            self.state = "it is not known whether the target has its new data"
        try:
            lost = swap.exchange(self.server, self.maintenance, name, incoming, replaced, shared)
        except psycopg.Error as error:
            raise Failed(self._why_not_exchanged(name, error)) from None
        if name == self.target.name:
            self.state = "the target has its new data"
        for what in lost:
            self._leave(what)

    def _why_not_exchanged(self, name: str, error: psycopg.Error) -> str:
        if self.server.broken:
            return (
                f'the connection was lost while a copy took the place of "{name}": {reason(error)}: '
                "it did so or not, wholly: run the command again"
            )
        why = f'the copy could not take the place of "{name}": {reason(error)}'
        if isinstance(error, psycopg.errors.ObjectInUse):
            with contextlib.suppress(psycopg.Error):
                who = blockers.found(self.server, name)
                why += f": {blockers.sentence(who, name, self.server.info.user)}" if who else ""
        return why

    def _leave(self, what: str) -> None:
        """Say that a part is not in the copy, at once and in the receipt."""
        self._left.append(what)
        self.progress.say(what)

    def _clone(
        self, golden: GoldenCopy, staging: Connection, incoming: str, replaced: str, *, fresh: bool
    ) -> tuple[str, dict[str, Any], int]:
        golden.require_ours(self.server)
        with swap.locked(self.server, golden.name, partial(self._say_waiting, golden.name)):
            age, size = golden.age(self.server), 0
            if fresh or age is None or age > golden.max_age:
                size = self._refresh(golden, staging)
            how = self._take(golden, incoming)
            new = copy_metadata.of(self.server, golden.name)
            assert new  # noqa: S101  it was just made, or existed
        self._put_in_place(new, incoming, replaced)
        return how, new, size

    def _take(self, golden: GoldenCopy, incoming: str) -> str:
        """Make `incoming` from the spare clone, else from a new clone. Return "spare" or "cloned"."""
        if spare := golden.ready_spare(self.server):
            swap.rename(self.server, spare, incoming)
            swap.allow(self.server, incoming, connections=True)
            return "spare"
        self.progress.phase("clone")
        swap.clone(self.server, incoming, golden.name)
        swap.own(self.server, incoming, self.target.role)
        return "cloned"

    def _refresh(self, golden: GoldenCopy, staging: Connection) -> int:
        """Copy staging into the golden copy; return the number of bytes that were moved."""
        incoming, replaced = golden.name + COPYING, golden.name + REPLACED
        try:
            new, size = self._copy(staging, incoming, replaced)
            swap.allow(self.server, incoming, connections=False)
            copy_metadata.write(self.server, incoming, new)
            self._exchange(golden.name, incoming, replaced)
        finally:
            self._drop_if_it_can_be(incoming)
        swap.drop(self.server, replaced)
        golden.drop_spares(self.server)
        return size

    def _drop_if_it_can_be(self, incoming: str) -> None:
        with contextlib.suppress(psycopg.Error):  # if the server is gone, the next run drops it
            swap.drop(self.server, incoming)

    def _clear_up(self, golden: GoldenCopy | None) -> None:
        """Do the work that can wait until the target serves. If it fails, the next run does it."""
        try:
            previous.drop_old(self.server, self.target.name)
            if golden:
                with swap.locked(self.server, golden.name, partial(self._say_waiting, golden.name)):
                    swap.drop(self.server, golden.name + COPYING, golden.name + REPLACED)  # a run died
                    if golden.wants_spare:
                        golden.order_spare(self.server, self.maintenance)
                    golden.drop_others(self.server, self.progress.say)
            previous.drop_all_old(self.server)
        except psycopg.Error as error:
            self.progress.say(f"the target serves, but not all could be cleared up: {reason(error)}")

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def _receipt(self, how: str, new: Mapping[str, Any], size: int) -> Receipt:
        return Receipt(
            source=str(new["source"]),
            target=self.target.name,
            how=how,
            copied_at=str(new["copied_at"]),
            tables=int(new["tables"]),
            rows=int(new["rows"]),
            bytes=size,
            seconds=self._elapsed(),
            phases=self._phases,
            release=self.release,
            left=self._left,
        )

    def _say_waiting(self, name: str) -> None:
        self.progress.say(f'another copy into "{name}" is running: waiting for it')
