from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from scripts import lease
from scripts.errors import Held
from scripts.lease import Claim, Lease, State
from tests.fakes import Memory


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the seconds of a lease be hundredths."""
    for name in ("LIFETIME", "_RENEWED_EVERY", "_LOOKED_EVERY"):
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


def test_a_holder_without_network_counts_as_lost_when_its_time_is_over() -> None:
    store = Memory()
    with of(store).held(wait=False, say=print) as ours:
        store.broken = True
        until(lambda: ours.lost)


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
        def write(self, body: bytes, version: str | None) -> bool:
            first = self.version == 0
            return super().write(body, version) and not first

    store = Unsure()
    with of(store).held(wait=False, say=print):
        assert store.state.holder


@pytest.mark.parametrize("body", [b"", b"[]", b"no json", b'{"holder": {"who": "x"}}', b'{"waiting": 3}'])
def test_an_object_that_nobody_of_ours_wrote_counts_as_none(body: bytes) -> None:
    store = Memory(body, 1)
    with of(store).held(wait=False, say=print):
        assert store.state.holder
