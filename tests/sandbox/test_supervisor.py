"""Every part of the sandbox's server has an owner that notices its end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from copilot_sandbox import health
from copilot_sandbox.errors import Failed
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.postgres import PostgresServer, remove
from copilot_sandbox.server import Server
from copilot_sandbox.state import Running, State
from copilot_sandbox.supervisor import AGAIN_TIMES, Part, Supervisor


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path, {"SANDBOX_OWNER": str(tmp_path)})
    server.start()
    yield server
    server.stop()
    remove(tmp_path)


def postmaster(server: PostgresServer) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def part_of(server: PostgresServer) -> Part:
    return Part("Postgres", lambda: not server.ended, server.start, "; connections were cut")


def soon(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.02)
    return False


def find_problem(server: PostgresServer) -> str:
    """What the cheap question says, with a listener in the control plane's place."""
    with socket.create_server(("127.0.0.1", 0)) as plane:
        proxy = f"http://127.0.0.1:{plane.getsockname()[1]}"
        plane.listen()
        running = Running(1, {"HTTPS_PROXY": proxy}, "", str(server.socket))
        # Nobody accepts: that alone is an answer that is missing.
        assert health.find_problem(running) == "its control plane does not answer"
    return "" if health._accepts_sessions(running.postgres) else "Postgres"


def test_a_killed_postmaster_is_started_again_with_its_data_while_a_session_is_open(
    postgres: PostgresServer,
) -> None:
    told: list[str] = []
    supervisor = Supervisor([part_of(postgres)], told.append)
    supervisor.check()
    with postgres.connect() as session:
        session.execute("CREATE TABLE kept AS SELECT 1")
        os.kill(postmaster(postgres), signal.SIGKILL)
        assert soon(lambda: postgres.ended)
        begun = time.monotonic()
        supervisor.check()
        assert time.monotonic() - begun < 60
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with postgres.connect() as session:
        assert session.execute("SELECT count(*) FROM kept").fetchone() == (1,)
    assert len(told) == 1
    assert told[0].startswith("Postgres had ended and was restarted")
    assert told[0].endswith("; connections were cut")
    supervisor.check()
    assert len(told) == 1


def test_backends_of_a_dead_postmaster_do_not_keep_the_next_one_from_starting(
    postgres: PostgresServer,
) -> None:
    with postgres.connect() as session:
        row = session.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        os.kill(row[0], signal.SIGSTOP)  # it does not even notice that its postmaster is gone
        os.kill(postmaster(postgres), signal.SIGKILL)
        (postgres.data / "postmaster.pid").unlink()
        assert soon(lambda: postgres.ended)
        Supervisor([part_of(postgres)], print).check()
    with postgres.connect() as session:
        assert session.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_backend_is_postgres_own_affair_and_is_waited_for(postgres: PostgresServer) -> None:
    told: list[str] = []
    with postgres.connect() as session:
        row = session.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        os.kill(row[0], signal.SIGKILL)
    assert soon(lambda: not find_problem(postgres))
    Supervisor([part_of(postgres)], told.append).check()
    assert told == []


def test_the_cheap_question_tells_a_postgres_that_answers_from_one_that_does_not(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_SECONDS", 1.0)  # nobody answers for the control plane, each time
    assert not find_problem(postgres)
    before = postgres.log.read_text()
    for _ in range(2):
        assert not find_problem(postgres)
    assert postgres.log.read_text() == before  # nothing of it reaches the log
    os.kill(postmaster(postgres), signal.SIGSTOP)
    begun = time.monotonic()
    assert find_problem(postgres)
    assert time.monotonic() - begun < 30
    os.kill(postmaster(postgres), signal.SIGKILL)
    assert soon(lambda: postgres.ended)
    assert find_problem(postgres)


def test_what_cannot_be_started_again_ends_the_server_with_its_reason() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(Failed, match="Redis ended and could not be restarted: the disk is full"):
        Supervisor([Part("Redis", lambda: False, fail)], print).check()


def test_what_cannot_go_on_by_itself_ends_the_server() -> None:
    with pytest.raises(Failed, match="The task agent's thread ended"):
        Supervisor([Part("The task agent's thread", lambda: False)], print).check()


def test_what_ends_again_and_again_is_given_up() -> None:
    told: list[str] = []
    supervisor = Supervisor([Part("Redis", lambda: False, lambda: None)], told.append)
    for _ in range(AGAIN_TIMES):
        supervisor.check()
    with pytest.raises(Failed, match=f"ended {AGAIN_TIMES + 1} times within a minute"):
        supervisor.check()
    assert len(told) == AGAIN_TIMES


def test_a_thread_that_died_of_an_exception_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_self: Listeners) -> None:
        raise MemoryError

    monkeypatch.setattr(Listeners, "_run", die)
    monkeypatch.setattr("threading.excepthook", lambda _: None)
    monkeypatch.setattr("copilot_sandbox.load_balancer.listening._START_SECONDS", 0.1)
    listeners = Listeners(None, None)  # type: ignore[arg-type]  # it does not get as far as asking them
    listeners.start()
    assert soon(lambda: not listeners.is_running)
    listeners.stop()


def test_the_server_notes_why_it_ends_and_what_it_mended(tmp_path: Path) -> None:
    def fail() -> None:
        raise Failed("its data is damaged")

    state = State(tmp_path)
    state.create()
    server = Server.__new__(Server)  # nothing of it is started
    living = SimpleNamespace(is_running=True)
    redis = SimpleNamespace(poll=lambda: -9)

    def start_redis() -> None:
        server._redis = None

    vars(server).update(
        _state=state, _stop=threading.Event(), _load_balancers=living, _agent=living, _control_plane=living,
        _postgres=SimpleNamespace(ended=False, start=fail), _redis=redis, _start_redis=start_redis,
    )  # fmt: skip
    supervising = threading.Thread(target=lambda: suppressed(server._supervise), daemon=True)
    supervising.start()
    assert soon(state._notices.exists)
    (notice,) = state.notices()
    assert "The Redis of stage and production had ended and was restarted" in notice
    server._postgres.ended = True  # type: ignore[misc]  # no real one
    supervising.join(10)
    assert state.why_ended() == "Postgres ended and could not be restarted: its data is damaged"
    assert state.why_ended() == ""


def suppressed(run: Callable[[], None]) -> None:
    with suppress(Failed):
        run()
