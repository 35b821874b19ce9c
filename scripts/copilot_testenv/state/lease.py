"""Who changes a slot: one at a time, laptops and CI alike.

The lease is one small object in the bucket that Copilot keeps for the application. It is written on
condition that it is still as it was read, so of several that try at once S3 lets one win. Times are S3's, so
no clock of ours counts; a holder that dies is forgotten after a few seconds, because a living one says so
again and again. One that was silent for longer goes on where nobody has taken its place: only who takes the
slot writes another holder. An object that cannot be understood counts neither as free nor as held: nothing is
done until somebody has looked at it.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TypeVar

from copilot_testenv.core import display, strict_json
from copilot_testenv.core.errors import Failed, Held, UserError
from copilot_testenv.core.strict_json import Malformed, WrittenByNewerVersion
from copilot_testenv.state.bucket_object import Read, Store, Unreachable, change, pause

LIFETIME = 20.0  # seconds that a holder or waiter counts as alive after it was last heard of
VERSION = 1  # of the object's form
_RENEWED_EVERY = 5.0
_RENEWED_AGAIN = 1.0  # seconds after the store did not answer
_LOOKED_EVERY = 1.0
_TICK = 0.2  # seconds between two looks at the clock: after a sleep of the machine the store is asked at once
_PATIENCE = 20.0  # seconds that a store may be silent before a run gives up
_UNANSWERED = 5  # writes that a store may leave without an answer, though it answers to reads
_CLOCKS = 60.0  # seconds by which two of S3's clocks may differ
_MOST_WAITING = 50
_LONGEST = 128 << 10  # bytes
_LONGEST_NAME, _LONGEST_DOING, _LONGEST_TOKEN = 200, 300, 100  # letters that are written
_LONGEST_READ = 2000  # letters of a name that are read: earlier versions wrote them as they were
_CLAIM = ("token", "who", "doing", "since", "until")

_T = TypeVar("_T")


class Unreadable(Failed):
    """The object is not what these tasks write."""


@dataclass(frozen=True)
class Claim:
    """Somebody who holds the slot, or waits for it. Times are S3's, in Unix seconds."""

    token: str
    who: str
    doing: str  # "deploying feature/x"
    since: float
    until: float

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%H:%M:%S UTC")
        return f"{self.who}, {self.doing} since {since}"

    @classmethod
    def of(cls, found: object) -> Claim:
        """Return the claim that an object holds. Raise Malformed where it holds none."""
        claim = strict_json.only(found, _CLAIM, "a claim")
        since, until = (strict_json.number(claim[name], "a claim's time") for name in ("since", "until"))
        if not 0 <= since < 1 << 40 or not 0 <= until < 1 << 40:
            raise Malformed("a claim's time is none")
        token = strict_json.text(claim["token"], "a claim's token", _LONGEST_TOKEN)
        who, doing = (strict_json.text(claim[name], "a name", _LONGEST_READ) for name in ("who", "doing"))
        return cls(token, who, doing, since, until)


@dataclass(frozen=True)
class State:
    """What the object says."""

    holder: Claim | None = None
    waiting: tuple[Claim, ...] = ()

    def alive(self, now: float) -> State:
        """Return the same without those that have not been heard of for too long."""
        holder = self.holder if self.holder and self.holder.until > now else None
        return State(holder, tuple(claim for claim in self.waiting if claim.until > now))

    def without(self, token: str) -> State:
        holder = None if self.holder and self.holder.token == token else self.holder
        return State(holder, tuple(claim for claim in self.waiting if claim.token != token))

    def as_bytes(self) -> bytes:
        return json.dumps({"version": VERSION, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def of(cls, body: bytes | None) -> State:
        """Read an object; where there is none, nobody holds or waits. Raises Malformed.

        Earlier versions of these tasks wrote the same without `version`.
        """
        if body is None:
            return cls()
        found = strict_json.read(body, _LONGEST)
        strict_json.version(found, VERSION)
        strict_json.only(found, (each.name for each in fields(cls)), "it")
        holder, waiting = found["holder"], found["waiting"]
        if not isinstance(waiting, list) or len(waiting) > 2 * _MOST_WAITING:
            raise Malformed("its queue is none")
        state = cls(None if holder is None else Claim.of(holder), tuple(Claim.of(each) for each in waiting))
        tokens = [claim.token for claim in state.claims]
        if len(set(tokens)) < len(tokens):
            raise Malformed("two of its claims are one")
        return state

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (*((self.holder,) if self.holder else ()), *self.waiting)

    def require_possible(self, now: float) -> None:
        """Raise Malformed where a claim begins in the future, or lasts longer than any that was made."""
        for claim in self.claims:
            if claim.since > now + _CLOCKS or claim.until > now + LIFETIME + _CLOCKS:
                raise Malformed("a claim lasts longer than any that these tasks make")


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, which `time.monotonic` need not count.

    Source: clock_gettime(2); on macOS CLOCK_MONOTONIC counts them.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class Lease:
    """The right to change a slot, for as long as the block of `held` lasts."""

    store: Store
    slot: str  # what a message calls it: "web in test"
    who: str
    doing: str
    lost: bool = False  # the object names us no more: somebody else has taken our place
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _unanswered: int = 0  # writes in a row that the store did not answer

    @contextmanager
    def held(self, *, wait: bool, say: Callable[[str], None]) -> Iterator[Lease]:
        """Hold the slot. Raises Held where another does, unless `wait`: then in order of arrival."""
        try:
            self._take(wait=wait, say=say)
        except BaseException:  # Ctrl-C too: who comes after us need not wait until we are forgotten
            self._leave()
            raise
        over = threading.Event()
        renewing = threading.Thread(target=self._renew, args=[over], daemon=True)
        renewing.start()
        try:
            yield self
        finally:
            over.set()
            renewing.join()
            self._leave()

    def discard(self) -> bool:
        """Delete the object of a slot that is gone; return False where somebody holds it or waits for it.

        It is deleted on condition that it is still as it was read. Raises Failed.
        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        read, state = self._patiently(self._look)
        if read.version is None:
            return True
        return not state.alive(read.now).claims and self.store.delete(read.version)

    def require_held(self) -> None:
        """Ask the store whether the slot is still ours, and be heard of there.

        Raises Held where somebody else has taken our place, Failed where that cannot be told.
        """
        try:
            if not self.lost:
                self._patiently(self._confirm)
        except Failed as error:
            raise Failed(
                f"It cannot be told whether {self.slot} is still held by this run, so nothing further was "
                f"touched. {error}"
            ) from error
        if self.lost:
            raise Held(
                f"This machine was not heard of for too long, and somebody else has had {self.slot} "
                "since: nothing further was touched. `invoke status`, then again."
            )

    def holder(self) -> Claim | None:
        """Return who holds the slot now. Raises Failed where that cannot be told."""
        read, state = self._patiently(self._look)
        return state.alive(read.now).holder

    def _take(self, *, wait: bool, say: Callable[[str], None]) -> None:
        told = ""
        while True:
            read, state = self._patiently(self._look)
            alive = state.alive(read.now)
            mine = self._claim(alive, read.now)
            ahead = self._ahead(alive)
            if ahead is None:
                if self._wrote(replace(alive.without(self.token), holder=mine), read.version):
                    return
                pause(0.05)  # somebody was first: look who
                continue
            if not wait:
                raise Held(
                    f"{self.slot} is being changed: {ahead}. Nothing was changed. "
                    "Say --wait to go on when it is free."
                )
            if str(ahead) != told:
                told = str(ahead)
                say(f"Waiting for {self.slot}: {ahead}.")
            # A holder that is silent stays named until somebody takes its place.
            self._queue(read, replace(alive, holder=state.holder), mine)
            pause(_LOOKED_EVERY)

    def _look(self) -> tuple[Read, State]:
        """Read the claims. Raise Unreadable, and what the store raises."""
        read = self.store.read()
        return read, self._understood(read)

    def _understood(self, read: Read) -> State:
        try:
            state = State.of(read.body)
            state.require_possible(read.now)
        except WrittenByNewerVersion:
            raise Unreadable(
                f"The lease of {self.slot}, {self.store.name}, was written by a later version of these "
                "tasks: update them. Nothing was changed."
            ) from None
        except Malformed as error:
            raise Unreadable(
                f"The lease of {self.slot}, {self.store.name}, is not what these tasks write: {error}. "
                "Nothing was changed. When you are sure that nobody is changing the slot, "
                f"{self.store.removal}."
            ) from None
        return state

    def _claim(self, state: State, now: float) -> Claim:
        """Our own entry, alive from now on; it keeps the moment since when we wait."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        return Claim(
            self.token,
            display.line(self.who, _LONGEST_NAME),
            display.line(self.doing, _LONGEST_DOING),
            known.since if known else now,
            now + LIFETIME,
        )

    def _ahead(self, state: State) -> Claim | None:
        """Return who holds the slot or came before us; None where it is our turn."""
        if state.holder and state.holder.token != self.token:  # ours: what we wrote was not confirmed to us
            return state.holder
        first = next(iter(state.waiting), None)
        return first if first and first.token != self.token else None

    def _queue(self, read: Read, state: State, mine: Claim) -> None:
        """Stand in the queue, or be heard of there again; where somebody else was first, next time."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        if known and known.until - read.now > LIFETIME / 2:
            return
        if not known and len(state.waiting) >= _MOST_WAITING:
            raise Held(f"{_MOST_WAITING} runs wait for {self.slot} already. Nothing was changed: try later.")
        waiting = tuple(mine if claim.token == self.token else claim for claim in state.waiting)
        self._wrote(replace(state, waiting=waiting if known else (*waiting, mine)), read.version)

    def _wrote(self, state: State, version: str | None) -> bool:
        try:
            written = self.store.write(state.as_bytes(), version)
        except Unreachable:  # it may be written all the same: the next look tells
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED:
                raise
            return False
        self._unanswered = 0
        return written

    def _renew(self, over: threading.Event) -> None:
        due = _clock() + _RENEWED_EVERY
        while not self.lost and not over.wait(min(_TICK, _RENEWED_EVERY)):
            if _clock() < due:
                continue
            due = _clock() + _RENEWED_AGAIN
            with suppress(Exception):  # whatever it is: until the store has answered, nothing is known
                self._confirm()
                due = _clock() + _RENEWED_EVERY

    def _confirm(self) -> None:
        """Be heard of, in the very object that names us; `lost` where it does no more. Raises Failed."""

        def renewed(read: Read) -> bytes | None:
            state = self._understood(read)
            if not state.holder or state.holder.token != self.token:
                self.lost = True
                return None
            return replace(state, holder=replace(state.holder, until=read.now + LIFETIME)).as_bytes()

        change(self.store, renewed)

    def _leave(self) -> None:
        """Take ourselves out; what cannot be taken out ends by itself, in a few seconds."""

        def left(read: Read) -> bytes | None:
            state = self._understood(read)
            return state.without(self.token).as_bytes() if state != state.without(self.token) else None

        with suppress(UserError):
            change(self.store, left)

    def _patiently(self, work: Callable[[], _T]) -> _T:
        """Return what `work` returns; ask a store that is silent again for a while."""
        end = _clock() + _PATIENCE
        while True:
            try:
                return work()
            except Unreachable:
                if _clock() >= end:
                    raise
            pause(0.5)
