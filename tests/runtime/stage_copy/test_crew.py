"""The threads of a copy: which job is the next, and how many threads will have nothing to do."""

from __future__ import annotations

import threading

import pytest

from django_testenv.stage_copy.crew import Crew, Worker
from django_testenv.stage_copy.problems import Failed


def crew_of(size: int, opened: list[str] | None = None) -> Crew:
    def connect(which: str) -> object:
        if opened is not None:
            opened.append(which)
        raise Failed(f"cannot connect to the {which}")

    return Crew(
        size,
        lambda: Worker(
            lambda: connect("source"),  # type: ignore[arg-type,return-value]
            lambda: connect("target"),  # type: ignore[arg-type,return-value]
            lambda _: None,
        ),
    )


def test_the_waiting_job_with_the_largest_weight_is_the_next() -> None:
    crew, done = crew_of(1), []
    for weight in (1, 3, 2):
        crew.add(weight, lambda _, weight=weight: done.append(weight))  # type: ignore[misc]
    crew.run()
    assert done == [3, 2, 1]


def test_other_threads_are_free_only_if_less_is_waiting_than_a_job_has_to_do() -> None:
    crew = crew_of(3)
    crew.add(1, lambda _: None, 50)
    crew.add(1, lambda _: None)  # a job that takes no time does not count
    assert (crew.free(51), crew.free(50)) == (2, 0)
    crew.run()
    assert crew.free(1) == 2


def test_a_connection_that_could_not_be_opened_beforehand_fails_the_job_that_asks_for_it() -> None:
    opened: list[str] = []
    crew = crew_of(2, opened)
    crew.open()
    crew.add(1, lambda _: None)
    crew.run()
    assert sorted(opened) == ["source", "source", "target", "target"]
    crew.add(1, lambda worker: worker.target.close())
    with pytest.raises(Failed, match="cannot connect to the target"):
        crew.run()
    crew.close()


def test_closing_waits_for_connections_that_are_being_opened() -> None:
    may_go, closed = threading.Event(), []

    class Connection:
        def close(self) -> None:
            closed.append(self)

    def slowly() -> Connection:
        assert may_go.wait(10)
        return Connection()

    crew = Crew(1, lambda: Worker(slowly, slowly, lambda _: None))  # type: ignore[arg-type]
    crew.open()
    threading.Timer(0.05, may_go.set).start()
    crew.close()
    assert len(closed) == 2


@pytest.mark.parametrize("step", ["open", "run"])
def test_an_interruption_while_threads_are_started_ends_those_that_were(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if len(started) == 1:
            raise KeyboardInterrupt
        start(thread)
        started.append(thread)

    crew = crew_of(3)
    crew.add(1, lambda _: None)
    crew.add(1, lambda _: None)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(crew, step)()
    crew.close()
    assert [thread.is_alive() for thread in started] == [False]
