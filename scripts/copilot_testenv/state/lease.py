"""Let one run at a time change a slot, from laptops and from CI.

The lease is one small object in the bucket that Copilot keeps for the application. A run writes it only if it
still has the version that the run has read, so S3 accepts one of several runs that try at once. All times are
S3's, so the clocks of the machines do not matter. A holder renews its claim every few seconds; without that
it expires. A holder that was silent for longer may go on if no other run has taken the slot: only a run that
takes the slot writes another holder. An object that cannot be read counts neither as free nor as held, so
nothing is done until a person has looked at it.

A run that deletes several slots at once, a sweep, writes one claim for all of them, into an object of its
own. It looks at the slots' leases after it has written that claim, and a run looks at the sweep's claim after
it has written its own into a slot's lease: so of two that come at once, at least one goes back. Source:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
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

LIFETIME = 30.0  # seconds for which a claim is valid after it was last renewed
VERSION = 1  # of the object's form
_RENEWED_EVERY = 10.0
_RENEWED_AGAIN = 1.0  # seconds until the next attempt, where the store did not answer
_LOOKED_EVERY = 1.0
_TICK = 0.2  # seconds between checks of the clock: after a sleep of the machine the claim is renewed at once
_PATIENCE = 20.0  # seconds for which a store may not answer before a run gives up
_MOST_UNANSWERED = 5  # writes in a row that a store may leave without an answer, although it answers reads
_CLOCK_DIFFERENCE = 60.0  # seconds by which two of S3's clocks may differ
_MOST_WAITING = 50
_LONGEST = 128 << 10  # bytes
_LONGEST_NAME, _LONGEST_DOING, _LONGEST_TOKEN = 200, 300, 100  # letters that are written
_LONGEST_READ = 2000  # letters of a name that are read: earlier versions did not shorten names
_CLAIM = ("token", "who", "doing", "since", "until", "slots")
_MOST_SLOTS = 1000

_T = TypeVar("_T")


class Unreadable(Failed):
    """The lease object is not what these tasks write."""


@dataclass(frozen=True)
class Claim:
    """A run that holds the slot, or waits for it. Times are S3's, in Unix seconds."""

    token: str
    who: str
    doing: str  # "deploying feature/x"
    since: float
    until: float
    slots: tuple[str, ...] = ()  # the services of the slots that a sweep deletes

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).strftime("%H:%M:%S UTC")
        return f"{self.who}, {self.doing} since {since}"

    @classmethod
    def of(cls, value: object) -> Claim:
        """Return the claim that a JSON value contains; only a sweep's has `slots`. Raises Malformed."""
        claim = strict_json.only(
            {"slots": [], **value} if isinstance(value, dict) else value, _CLAIM, "a claim"
        )
        since, until = (strict_json.number(claim[name], "a claim's time") for name in ("since", "until"))
        if not 0 <= since < 1 << 40 or not 0 <= until < 1 << 40:
            raise Malformed("a claim's time is out of range")
        token = strict_json.text(claim["token"], "a claim's token", _LONGEST_TOKEN)
        who, doing = (strict_json.text(claim[name], "a name", _LONGEST_READ) for name in ("who", "doing"))
        slots = claim["slots"]
        if not isinstance(slots, list) or len(slots) > _MOST_SLOTS:
            raise Malformed("a claim's slots are not a list, or too many")
        names = tuple(strict_json.text(name, "a slot's name", _LONGEST_TOKEN) for name in slots)
        return cls(token, who, doing, since, until, names)

    def document(self) -> dict[str, object]:
        return {name: value for name, value in asdict(self).items() if name != "slots" or self.slots}


@dataclass(frozen=True)
class State:
    """The content of the lease object."""

    holder: Claim | None = None
    waiting: tuple[Claim, ...] = ()

    def without_expired(self, now: float) -> State:
        """Return the same state without the claims that have expired."""
        holder = self.holder if self.holder and self.holder.until > now else None
        return State(holder, tuple(claim for claim in self.waiting if claim.until > now))

    def without(self, token: str) -> State:
        holder = None if self.holder and self.holder.token == token else self.holder
        return State(holder, tuple(claim for claim in self.waiting if claim.token != token))

    def as_bytes(self) -> bytes:
        holder, waiting = self.holder and self.holder.document(), [each.document() for each in self.waiting]
        document = {"version": VERSION, "holder": holder, "waiting": waiting}
        return json.dumps(document, ensure_ascii=False).encode()

    @classmethod
    def of(cls, body: bytes | None) -> State:
        """Read the object's body; None means that there is no holder and no queue. Raises Malformed.

        Early versions of these tasks wrote the same object without `version`.
        """
        if body is None:
            return cls()
        document = strict_json.read(body, _LONGEST)
        strict_json.version(document, VERSION)
        strict_json.only(document, (field.name for field in fields(cls)), "it")
        holder, waiting = document["holder"], document["waiting"]
        if not isinstance(waiting, list) or len(waiting) > 2 * _MOST_WAITING:
            raise Malformed("its queue is not a list, or is too long")
        state = cls(None if holder is None else Claim.of(holder), tuple(map(Claim.of, waiting)))
        tokens = [claim.token for claim in state.claims]
        if len(set(tokens)) < len(tokens):
            raise Malformed("two of its claims have the same token")
        return state

    @property
    def claims(self) -> tuple[Claim, ...]:
        return (*((self.holder,) if self.holder else ()), *self.waiting)

    def require_plausible_times(self, now: float) -> None:
        """Raise Malformed where a claim begins in the future, or lasts longer than these tasks allow."""
        for claim in self.claims:
            if claim.since > now + _CLOCK_DIFFERENCE or claim.until > now + LIFETIME + _CLOCK_DIFFERENCE:
                raise Malformed("a claim lasts longer than these tasks allow")


def _clock() -> float:
    """Return the seconds of a clock that continues while the machine sleeps, unlike `time.monotonic`.

    Source: clock_gettime(2); on macOS CLOCK_MONOTONIC continues too.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class Lease:
    """The right to change a slot, inside the block of `held`."""

    store: Store
    slot: str  # the slot's name in messages: "web in test"
    who: str
    doing: str
    service: str = ""  # the slot's, where a sweep may have it too
    sweep: Lease | None = None  # of the sweep of all slots
    slots: tuple[str, ...] = ()  # a sweep's own; it may give some back
    lost: bool = False  # this run is no longer the holder: another run has taken the slot
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _unanswered: int = 0  # writes in a row that the store did not answer
    _last: tuple[Read, float] | None = None  # what this run wrote last, and when by its own clock

    @contextmanager
    def held(self, *, wait: bool, say: Callable[[str], None]) -> Iterator[Lease]:
        """Hold the slot in this block. The block goes on where the lease is lost: see `require_held`.

        Raises Held where another run holds it or waits for it; with `wait`, queue behind it, and raise Held
        only where the queue is full. Raises Unreadable, and Failed where the store does not answer.
        """
        try:
            self._take(wait=wait, say=say)
        except BaseException:  # Ctrl-C too: otherwise later runs wait until this run's claim expires
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
        """Delete the lease of a slot that is gone.

        Return False where a run holds it or waits for it, or where it was written meanwhile. S3 deletes
        it only if it still has the version that was read. Raises Failed.
        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-deletes.html
        """
        read, state = self._retry(self._look)
        if read.version is None:
            return True
        return not state.without_expired(read.now).claims and self.store.delete(read.version)

    def require_held(self) -> None:
        """Check in the store that this run still holds the slot, and renew its claim.

        Raises Held where another run has taken the slot, Failed where the store does not answer.
        """
        try:
            if not self.lost:
                self._retry(self._renew_once)
            # A sweep takes a slot whose holder was silent, and leaves its claim as it was.
            self.lost = self.lost or self._sweep_of_slot() is not None
        except Failed as error:
            raise Failed(
                f"Nothing further was changed, because it is unknown if this run still holds {self.slot}. "
                f"{error}"
            ) from error
        if self.lost:
            raise Held(
                f"Nothing further was changed, because this run did not renew its claim in time and another "
                f"run has taken {self.slot}. Look at `invoke status`, then run this again."
            )

    def holder(self) -> Claim | None:
        """Return the claim that holds the slot now. Raises Failed where the store does not answer."""
        read, state = self._retry(self._look)
        return state.without_expired(read.now).holder

    def covering(self, service: str) -> Claim | None:
        """Return the claim of the sweep that deletes a slot now; end one that was silent for too long.

        Raises Failed where the store does not answer.
        """
        while True:
            read, state = self._retry(self._look)
            holder = state.holder
            if holder is None or service not in holder.slots:
                return None
            if holder.until > read.now:
                return holder
            # The sweep may still run: without its claim it changes nothing further.
            if self._wrote(state.without(holder.token), read):
                return None
            pause(0.05)

    def _sweep_of_slot(self) -> Claim | None:
        return self.sweep.covering(self.service) if self.sweep else None

    def _take(self, *, wait: bool, say: Callable[[str], None]) -> None:
        """Write this run's claim as the holder's, at once or after those that wait before it."""
        shown = ""
        while True:
            read, state = self._retry(self._look)
            current = state.without_expired(read.now)
            mine = self._claim(current, read.now)
            ahead = self._sweep_of_slot() or self._ahead(current)
            if ahead is None:
                if self._wrote(replace(current.without(self.token), holder=mine), read):
                    if not self._sweep_of_slot():
                        return
                    self._leave()
                pause(0.05)  # another run was faster: read its claim
                continue
            if not wait:
                waits = ahead in current.waiting
                what = "is free, and another run is next" if waits else "is being changed"
                raise Held(
                    f"{self.slot} {what}: {ahead}. Nothing was changed. "
                    "Use --wait to continue when it is free."
                )
            if str(ahead) != shown:
                shown = str(ahead)
                say(f"Waiting for {self.slot}: {ahead}.")
            # Keep an expired holder in the object: it may go on until another run takes the slot.
            self._queue(read, replace(current, holder=state.holder), mine)
            pause(_LOOKED_EVERY)

    def _look(self) -> tuple[Read, State]:
        """Read the claims. Raises Unreadable, and the store's errors."""
        read = self.store.read()
        return read, self._state(read)

    def _state(self, read: Read) -> State:
        try:
            state = State.of(read.body)
            state.require_plausible_times(read.now)
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
        """Return this run's claim, renewed; it keeps the time at which the run began to wait."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        return Claim(
            self.token,
            display.line(self.who, _LONGEST_NAME),
            display.line(self.doing, _LONGEST_DOING),
            known.since if known else now,
            now + LIFETIME,
            self.slots,
        )

    def _ahead(self, state: State) -> Claim | None:
        """Return the claim that holds the slot or waits before this run; None where it is this run's turn."""
        if state.holder and state.holder.token != self.token:  # its own: the store did not confirm that write
            return state.holder
        first = next(iter(state.waiting), None)
        return first if first and first.token != self.token else None

    def _queue(self, read: Read, state: State, mine: Claim) -> None:
        """Join the queue, or renew the claim there; where another run wrote first, the next call does it."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        if known and known.until - read.now > LIFETIME / 2:
            return
        if not known and len(state.waiting) >= _MOST_WAITING:
            raise Held(f"{_MOST_WAITING} runs already wait for {self.slot}. Nothing was changed: try later.")
        waiting = tuple(mine if claim.token == self.token else claim for claim in state.waiting)
        self._wrote(replace(state, waiting=waiting if known else (*waiting, mine)), read)

    def _wrote(self, state: State, read: Read) -> bool:
        self._last = None
        try:
            written = self.store.write(state.as_bytes(), read.version)
        except Unreachable:  # the write may have succeeded: the next read shows it
            self._unanswered += 1
            if self._unanswered >= _MOST_UNANSWERED:
                raise
            return False
        self._unanswered = 0
        if written:
            self._last = written, _clock()
        return written is not None

    def _change(self, wanted: Callable[[Read], bytes | None]) -> None:
        """Change the object as `change` does; try first without a read, over what this run wrote last."""
        last, self._last = self._last, None
        if last:
            read = replace(last[0], now=last[0].now + _clock() - last[1])
            body = wanted(read)
            written = self.store.write(body, read.version) if body is not None else None
            # A virtual machine can stop for a while, and its clock with it: then the time was wrong.
            if written and written.now - read.now < LIFETIME / 2:
                self._last = written, _clock()
                return
        if written := change(self.store, wanted):
            self._last = written, _clock()

    def _renew(self, over: threading.Event) -> None:
        due = _clock() + _RENEWED_EVERY
        while not self.lost and not over.wait(min(_TICK, _RENEWED_EVERY)):
            if _clock() < due:
                continue
            due = _clock() + _RENEWED_AGAIN
            with suppress(Exception):  # any error means that the store gave no answer: try again soon
                self._renew_once()
                due = _clock() + _RENEWED_EVERY

    def _renew_once(self) -> None:
        """Renew the claim that holds the slot; set `lost` where another run holds it. Raises Failed."""

        def renewed(read: Read) -> bytes | None:
            state = self._state(read)
            if not state.holder or state.holder.token != self.token:
                self.lost = True
                return None
            mine = replace(state.holder, until=read.now + LIFETIME, slots=self.slots)
            return replace(state, holder=mine).as_bytes()

        self._change(renewed)

    def _leave(self) -> None:
        """Remove this run's claim; where that fails, the claim expires in a few seconds."""

        def released(read: Read) -> bytes | None:
            state = self._state(read)
            return state.without(self.token).as_bytes() if state != state.without(self.token) else None

        with suppress(UserError):
            self._change(released)

    def _retry(self, work: Callable[[], _T]) -> _T:
        """Return the result of `work`; retry it for a while where the store does not answer."""
        end = _clock() + _PATIENCE
        while True:
            try:
                return work()
            except Unreachable:
                if _clock() >= end:
                    raise
            pause(0.5)
