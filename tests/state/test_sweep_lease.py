"""One lease covers the slots of a sweep: no other run has one of them meanwhile, whoever comes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from copilot_testenv.core.errors import Held
from copilot_testenv.state import lease
from copilot_testenv.state.bucket_object import Read
from copilot_testenv.state.lease import Claim, Lease, State
from tests.fakes import Memory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seconds of a lease be hundredths."""
    for name in ("LIFETIME", "_RENEWED_EVERY", "_RENEWED_AGAIN", "_LOOKED_EVERY", "_PATIENCE"):
        monkeypatch.setattr(lease, name, getattr(lease, name) / 50)


def sweep(store: Memory, *slots: str) -> Lease:
    return Lease(store, "the slots", "ada", "deleting 2 slots", slots=slots)


def slot(service: str, own: Memory, swept: Memory) -> Lease:
    looking = Lease(swept, service, "grace", "looking")
    return Lease(own, service, "grace", "deploying", service=service, sweep=looking)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_slot_of_the_sweep_is_held_and_another_is_free() -> None:
    swept, own = Memory(), Memory()
    with sweep(swept, "web-a", "web-b").held(wait=False, say=print):
        with (
            pytest.raises(Held, match="web-a is being changed: ada, deleting 2 slots since"),
            slot("web-a", own, swept).held(wait=False, say=print),
        ):
            raise AssertionError("never here")
        assert own.body is None  # the sweep would take a claim for a deploy that has begun
        with slot("web-c", Memory(), swept).held(wait=False, say=print) as other:
            other.require_held()
    with slot("web-a", own, swept).held(wait=False, say=print) as after:
        after.require_held()


def test_who_waits_comes_when_the_sweep_has_ended() -> None:
    swept, own, came = Memory(), Memory(), threading.Event()

    def deploy() -> None:
        with slot("web-a", own, swept).held(wait=True, say=print):
            came.set()

    with sweep(swept, "web-a").held(wait=False, say=print):
        waiting = threading.Thread(target=deploy)
        waiting.start()
        until(lambda: len(own.state.waiting) == 1)
        assert not came.is_set()
    waiting.join(20)
    assert came.is_set()


def test_a_slot_that_the_sweep_gives_back_is_free_before_its_end() -> None:
    swept = Memory()
    with sweep(swept, "web-a", "web-b").held(wait=False, say=print) as ours:
        ours.slots = ("web-b",)
        ours.require_held()
        with slot("web-a", Memory(), swept).held(wait=False, say=print) as other:
            other.require_held()
        with pytest.raises(Held), slot("web-b", Memory(), swept).held(wait=False, say=print):
            raise AssertionError("never here")


def test_a_sweep_that_was_silent_for_too_long_changes_nothing_after_a_slot_was_taken() -> None:
    swept, past = Memory(), time.time() - 1
    silent = sweep(swept, "web-a")
    swept.body = State(Claim(silent.token, "ada", "deleting", past, past, ("web-a",))).as_bytes()
    with slot("web-a", Memory(), swept).held(wait=False, say=print) as ours:
        ours.require_held()
        with pytest.raises(Held, match="another run has taken the slots"):
            silent.require_held()


def test_a_deploy_that_was_silent_for_too_long_changes_nothing_while_a_sweep_has_its_slot() -> None:
    swept, own = Memory(), Memory()
    with slot("web-a", own, swept).held(wait=False, say=print) as silent:
        with sweep(swept, "web-a").held(wait=False, say=print) as ours:
            with pytest.raises(Held, match="another run has taken web-a"):
                silent.require_held()
            ours.require_held()
        assert silent.lost


def test_of_a_sweep_and_a_deploy_that_begin_at_once_the_deploy_goes_back() -> None:
    swept = Memory()

    class Slow(Memory):
        """The deploy has seen no sweep; one begins before the deploy's claim is written."""

        def write(self, body: bytes, version: str | None) -> Read | None:
            if swept.body is None:
                now = time.time()
                claim = Claim("t", "ada", "deleting", now, now + lease.LIFETIME, ("web-a",))
                swept.body = State(claim).as_bytes()
            return super().write(body, version)

    own = Slow()
    with (
        pytest.raises(Held, match="web-a is being changed: ada, deleting"),
        slot("web-a", own, swept).held(wait=False, say=print),
    ):
        raise AssertionError("never here")
    assert own.state == State()


def test_a_second_sweep_is_held_off_until_the_first_has_ended_or_died() -> None:
    swept = Memory()
    with sweep(swept, "web-a").held(wait=False, say=print):
        with pytest.raises(Held), sweep(swept, "web-b").held(wait=False, say=print):
            raise AssertionError("never here")
        with pytest.raises(Held), slot("web-a", Memory(), swept).held(wait=False, say=print):
            raise AssertionError("never here")
    past = time.time() - 1
    swept.body = State(Claim("dead", "ada", "deleting", past, past, ("web-a",))).as_bytes()
    with sweep(swept, "web-a").held(wait=False, say=print) as ours:
        ours.require_held()


def test_only_a_sweeps_claim_names_slots_so_that_earlier_versions_read_the_others() -> None:
    own, swept = Memory(), Memory()
    with slot("web-a", own, swept).held(wait=False, say=print):
        assert own.body
        assert b"slots" not in own.body
    with sweep(swept, "web-a").held(wait=False, say=print):
        assert swept.state.holder
        assert swept.state.holder.slots == ("web-a",)


def test_a_claim_is_renewed_by_one_request_while_nobody_else_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    store, reads = Memory(), []
    read = Memory.read

    def counted(own: Memory) -> Read:
        reads.append(own)
        return read(own)

    with sweep(store, "web-a").held(wait=False, say=print) as ours:
        version = store.version
        monkeypatch.setattr(Memory, "read", counted)
        ours.require_held()
        ours.require_held()
        assert reads == []
        assert store.version >= version + 2
        other = State(store.state.holder, (Claim("w", "grace", "waiting", time.time(), time.time() + 0.2),))
        store.body, store.version = other.as_bytes(), store.version + 1
        ours.require_held()
        assert store.state.waiting  # the claim of who waits was not overwritten
        assert len(reads) == 1
