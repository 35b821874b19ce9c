from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from copilot_testenv.core.errors import Failed, Held
from copilot_testenv.state import lease
from copilot_testenv.state.bucket_object import Read
from copilot_testenv.state.lease import Claim, Lease, State
from tests.fakes import Memory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seconds of a lease be hundredths."""
    for name in ("LIFETIME", "_RENEWED_EVERY", "_RENEWED_AGAIN", "_LOOKED_EVERY", "_PATIENCE"):
        monkeypatch.setattr(lease, name, getattr(lease, name) / 50)


def of(store: Memory, who: str = "ada", doing: str = "deploying main") -> Lease:
    return Lease(store, "web in test", who, doing)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_another_one_is_told_who_holds_the_slot_and_changes_nothing() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print):
        before = store.state.holder
        with (
            pytest.raises(Held, match="ada, deploying main since"),
            of(store, "grace").held(wait=False, say=print),
        ):
            raise AssertionError("never here")
        assert before
        assert store.state.holder
        assert store.state.holder.token == before.token
    assert store.state == State()


def test_of_twenty_at_once_one_at_a_time_holds_the_slot_and_the_others_are_held_off() -> None:
    store, inside, ended = Memory(), [], []

    def ask(number: int) -> None:
        try:
            with of(store, f"person {number % 2}").held(wait=False, say=lambda _: None):
                inside.append(number)
                assert inside == [number]
                time.sleep(0.02)
                inside.remove(number)
                ended.append("won")
        except Held:
            ended.append("held off")

    threads = [threading.Thread(target=ask, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ended) == 20
    assert "won" in ended
    assert store.state == State()


def test_those_who_wait_come_in_order_of_arrival() -> None:
    store = Memory()
    came: list[int] = []
    said: list[str] = []

    def ask(number: int) -> None:
        with of(store, f"person {number}").held(wait=True, say=said.append):
            came.append(number)
            time.sleep(0.01)

    threads = [threading.Thread(target=ask, args=[number]) for number in range(6)]
    with of(store).held(wait=False, say=print):
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda number=number: len(store.state.waiting) == number + 1)  # type: ignore[misc]  # its default is its type
    for thread in threads:
        thread.join(20)
    assert came == list(range(6))
    assert any("ada" in line for line in said)
    assert store.state == State()


def test_who_does_not_wait_does_not_overtake_those_who_do() -> None:
    store = Memory()
    waiting = Claim("t", "grace", "deploying feature/x", time.time(), time.time() + 60)
    store.body = State(None, (waiting,)).as_bytes()
    with pytest.raises(Held, match="grace"), of(store).held(wait=False, say=print):
        raise AssertionError("never here")


def test_a_holder_and_a_waiter_that_died_are_forgotten() -> None:
    store = Memory()
    past = time.time() - 1
    store.body = State(
        Claim("a", "dead", "deploying x", past, past), (Claim("b", "dead too", "deploying y", past, past),)
    ).as_bytes()
    with of(store).held(wait=False, say=print):
        assert store.state.holder
        assert store.state.holder.who == "ada"
        assert store.state.waiting == ()


def test_a_holder_that_lives_is_not_forgotten_however_long_it_takes() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        time.sleep(3 * lease.LIFETIME)
        assert not ours.lost
        with pytest.raises(Held), of(store, "grace").held(wait=False, say=print):
            raise AssertionError("never here")


def test_a_holder_that_was_not_heard_of_learns_that_it_has_lost_the_slot() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.ahead = 10  # this machine slept, and the others' time went on
        with of(store, "grace").held(wait=False, say=print):
            until(lambda: ours.lost)
        assert store.state == State()
    assert store.state == State()


def test_a_holder_without_network_knows_nothing_and_is_not_lost_until_the_store_says_so() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.broken = True
        time.sleep(2 * lease.LIFETIME)
        assert not ours.lost
        with pytest.raises(Failed, match=r"Nothing further was changed, .*\. no network"):
            ours.require_held()
        store.broken = False
        ours.require_held()
        assert store.state.holder
        assert store.state.holder.until > time.time()


def test_a_holder_that_was_silent_goes_on_where_nobody_has_taken_its_place() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.ahead = 3600  # this machine slept for an hour
        ours.require_held()
        assert store.state.holder
        assert store.state.holder.until > time.time() + 3600
        with pytest.raises(Held, match="ada"), of(store, "grace").held(wait=False, say=print):
            raise AssertionError("never here")


def test_who_only_asks_or_waits_leaves_a_silent_holder_in_its_place() -> None:
    store, now = Memory(), time.time()
    silent = Claim("a", "ada", "deploying main", now - 60, now - 40)
    first = Claim("b", "bob", "deploying x", now, now + 60)
    store.body = State(silent, (first,)).as_bytes()
    with pytest.raises(Held, match="bob"), of(store, "grace").held(wait=False, say=print):
        raise AssertionError("never here")
    assert store.state == State(silent, (first,))
    said: list[str] = []
    waiting = threading.Thread(target=lambda: wait_in_vain(of(store, "grace"), said))
    waiting.start()
    until(lambda: len(store.state.waiting) > 1)
    assert store.state.holder == silent
    store.body = State(silent, ()).as_bytes()
    store.version += 1
    waiting.join(20)
    assert said[-1] == "took it"
    assert store.state == State()


def wait_in_vain(lease: Lease, said: list[str]) -> None:
    with lease.held(wait=True, say=said.append):
        said.append("took it")


def test_the_object_of_a_slot_that_is_gone_is_deleted_unless_somebody_holds_it_or_waits() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print):
        assert not of(store).discard()
        assert store.state.holder
    assert of(store).discard()
    assert store.body is None
    assert of(store).discard()  # twice is fine
    waiting = Claim("b", "bob", "deploying x", time.time(), time.time() + 10)
    store.body = State(None, (waiting,)).as_bytes()
    assert not of(store).discard()
    assert store.state == State(None, (waiting,))


def test_a_holder_whose_object_is_gone_has_lost_the_slot() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.body = None
        with pytest.raises(Held, match="Nothing further was changed"):
            ours.require_held()
    assert store.body is None


def test_who_gives_up_waiting_leaves_the_queue() -> None:
    store = Memory()

    def give_up(_: str) -> None:
        raise KeyboardInterrupt

    with of(store).held(wait=False, say=print):
        with pytest.raises(KeyboardInterrupt), of(store, "grace").held(wait=True, say=give_up):
            raise AssertionError("never here")
        assert store.state.waiting == ()


def test_a_write_that_was_made_but_not_confirmed_is_recognised_as_ours() -> None:
    class Unsure(Memory):
        def write(self, body: bytes, version: str | None) -> Read | None:
            first = self.version == 0
            written = super().write(body, version)
            return None if first else written

    store = Unsure()
    with of(store).held(wait=False, say=print):
        assert store.state.holder
