"""Who changes a slot: one at a time, laptops and CI alike.

The lease is one small object in the bucket that Copilot keeps for the application. It is written on
condition that it is still as it was read, so of several that try at once S3 lets one win. Times are S3's, so
no clock of ours counts; a holder that dies is forgotten after a few seconds, because a living one says so
again and again.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from scripts.errors import Failed, Held, UserError

LIFETIME = 20.0  # seconds that a holder or waiter counts as alive after it was last heard of
_RENEWED_EVERY = 5.0
_LOOKED_EVERY = 1.0


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


@dataclass(frozen=True)
class State:
    """What the object says."""

    holder: Claim | None = None
    waiting: tuple[Claim, ...] = ()

    def alive(self, now: float) -> State:
        """The same without those that have not been heard of for too long."""
        holder = self.holder if self.holder and self.holder.until > now else None
        return State(holder, tuple(claim for claim in self.waiting if claim.until > now))

    def without(self, token: str) -> State:
        holder = None if self.holder and self.holder.token == token else self.holder
        return State(holder, tuple(claim for claim in self.waiting if claim.token != token))

    def as_bytes(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def of(cls, body: bytes | None) -> State:
        """Read an object; one that nobody of ours wrote counts as none."""
        try:
            found: dict[str, Any] = json.loads(body or b"{}")
            holder = found.get("holder")
            return cls(
                Claim(**holder) if holder else None,
                tuple(Claim(**claim) for claim in found.get("waiting") or ()),
            )
        except (ValueError, TypeError, AttributeError):
            return cls()


@dataclass(frozen=True)
class Read:
    """The object as it was read: `version` is None where there is none; `now` is the store's clock."""

    body: bytes | None
    version: str | None
    now: float


class Store(Protocol):
    """Where the object lies."""

    def read(self) -> Read:
        """Raises UserError where the store does not answer."""

    def write(self, body: bytes, version: str | None) -> bool:
        """Replace the object if it still has that version, or is still absent; whether that was so."""


@dataclass(frozen=True)
class BucketObject:
    """An object in S3."""

    client: Any
    bucket: str
    key: str

    def read(self) -> Read:
        try:
            found = self.client.get_object(Bucket=self.bucket, Key=self.key)
            body = found["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return Read(None, None, _date(error.response))
            raise self._failed("read", error) from error
        except (BotoCoreError, OSError) as error:
            raise self._failed("read", error) from error
        return Read(body, found["ETag"], _date(found))

    def write(self, body: bytes, version: str | None) -> bool:
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            self.client.put_object(Bucket=self.bucket, Key=self.key, Body=body, **condition)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in {404, 409, 412}:
                return False
            raise self._failed("written", error) from error
        except BotoCoreError as error:
            raise self._failed("written", error) from error
        return True

    def _failed(self, what: str, error: Exception) -> Failed:
        return Failed(
            f"The object s3://{self.bucket}/{self.key} could not be {what}: {str(error).rstrip('.')}. "
            "The role needs s3:GetObject and s3:PutObject there, s3:ListBucket on the "
            "bucket, and the use of its key."
        )


def _date(answer: Any) -> float:
    """S3's own clock."""
    told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(told).timestamp() if told else time.time()


@dataclass
class Lease:
    """The right to change a slot, for as long as the block of `held` lasts."""

    store: Store
    slot: str  # what a message calls it: "web in test"
    who: str
    doing: str
    lost: bool = False  # somebody else has it: we were not heard of for too long
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

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

    def require_held(self) -> None:
        """Raises Held where we were not heard of for too long, and somebody else may have the slot."""
        if self.lost:
            raise Held(
                f"This machine was not heard of for too long, and somebody else may have {self.slot} "
                "now: nothing further was touched. `invoke status`, then again."
            )

    def holder(self) -> Claim | None:
        """Who holds the slot now. Raises UserError where that cannot be told."""
        return self._look()[1].holder

    def _leave(self) -> None:
        with suppress(UserError):  # what is not taken out ends by itself, in a few seconds
            self._change(lambda state, _: state.without(self.token))

    def _take(self, *, wait: bool, say: Callable[[str], None]) -> None:
        told = ""
        while True:
            read, state = self._look()
            mine = self._claim(state, read.now)
            ahead = self._ahead(state)
            if ahead is None:
                if self.store.write(replace(state.without(self.token), holder=mine).as_bytes(), read.version):
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
            self._queue(read, state, mine)
            pause(_LOOKED_EVERY)

    def _look(self) -> tuple[Read, State]:
        read = self.store.read()
        return read, State.of(read.body).alive(read.now)

    def _claim(self, state: State, now: float) -> Claim:
        """Our own entry, alive from now on; it keeps the moment since when we wait."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        return Claim(self.token, self.who, self.doing, known.since if known else now, now + LIFETIME)

    def _ahead(self, state: State) -> Claim | None:
        """Who holds the slot or came before us; None where it is our turn."""
        if state.holder and state.holder.token != self.token:  # ours: what we wrote was not confirmed to us
            return state.holder
        first = next(iter(state.waiting), None)
        return first if first and first.token != self.token else None

    def _queue(self, read: Read, state: State, mine: Claim) -> None:
        """Stand in the queue, or be heard of there again; where somebody else was first, next time."""
        known = next((claim for claim in state.waiting if claim.token == self.token), None)
        if known and known.until - read.now > LIFETIME / 2:
            return
        waiting = tuple(mine if claim.token == self.token else claim for claim in state.waiting)
        self.store.write(
            replace(state, waiting=waiting if known else (*waiting, mine)).as_bytes(), read.version
        )

    def _renew(self, over: threading.Event) -> None:
        heard = time.monotonic()
        while not over.wait(_RENEWED_EVERY):
            try:
                self._change(self._renewed)
                heard = time.monotonic()
            except UserError:  # the network may come back in time
                pass
            if self.lost or time.monotonic() - heard > LIFETIME:
                self.lost = True
                return

    def _renewed(self, state: State, now: float) -> State:
        if not state.holder or state.holder.token != self.token:
            self.lost = True
            return state
        return replace(state, holder=replace(state.holder, until=now + LIFETIME))

    def _change(self, change: Callable[[State, float], State]) -> None:
        """Change the object, whoever else writes to it meanwhile. Raises UserError."""
        for _ in range(100):
            read, state = self._look()
            changed = change(state, read.now)
            if changed == State.of(read.body) or self.store.write(changed.as_bytes(), read.version):
                return
            pause(0.02)
        raise Failed(f"The lease of {self.slot} cannot be written: too many write to it at once.")


def pause(seconds: float) -> None:
    """Wait about so long; each a little differently, so that two do not meet again and again."""
    time.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
