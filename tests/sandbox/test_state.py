from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from copilot_sandbox.ports import Ports, bindable
from copilot_sandbox.state import OWNER, Running, State

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")
HOLD = (
    "import sys, time; from pathlib import Path; from copilot_sandbox.state import State\n"
    "with State(Path(sys.argv[1])).held() as got:\n    print(got, flush=True); time.sleep(60)"
)


@pytest.fixture
def state(tmp_path: Path) -> State:
    made = State(tmp_path)
    made.create()
    return made


def test_a_folder_without_a_sandbox_has_no_live_server_and_is_left_alone(tmp_path: Path) -> None:
    assert not State(tmp_path).alive()
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_alive_for_as_long_as_its_process_lives_however_it_ends(
    state: State, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert state.alive()
        with state.held() as got:
            assert not got
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not state.alive()


def test_what_a_ready_server_tells_is_there_until_it_stops_in_good_order(state: State) -> None:
    assert state.running() is None
    running = Running(4711, {"HTTPS_PROXY": "http://127.0.0.1:1"})
    state.ready(running)
    assert state.running() == running
    state.stopped()
    state.stopped()
    assert state.running() is None


def test_the_sweep_ends_what_carries_this_folders_mark_and_nothing_else(state: State) -> None:
    with (
        subprocess.Popen(SLEEP, env={**os.environ, OWNER: str(state.folder)}) as ours,
        subprocess.Popen(SLEEP, env={**os.environ, OWNER: f"{state.folder}-other"}) as others,
        subprocess.Popen(SLEEP) as nobodys,
    ):
        end = time.monotonic() + 5
        while OWNER not in psutil.Process(ours.pid).environ() and time.monotonic() < end:
            time.sleep(0.01)  # it has not got there yet
        assert state.sweep() == 1
        assert ours.wait(timeout=5) == -signal.SIGKILL
        assert others.poll() is None
        assert nobodys.poll() is None
        others.kill()
        nobodys.kill()
    assert state.sweep() == 0


def test_the_sweep_ends_what_a_marked_process_has_started_without_the_mark(state: State) -> None:
    code = f"import subprocess\nprint(subprocess.Popen({SLEEP}, env={{}}).pid, flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, OWNER: str(state.folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as ours:
        assert ours.stdout is not None
        step = psutil.Process(int(ours.stdout.readline()))
        assert state.sweep() == 1
        _, left = psutil.wait_procs([step], timeout=5)
        assert left == []


def test_a_port_stays_the_same_until_something_else_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = Ports(file)
    test, stage = first.of("test"), first.of("stage")
    assert test != stage
    assert first.of("test") == test
    assert Ports(file).of("test") == test
    from socket import create_server  # noqa: PLC0415 - only here

    with create_server(("127.0.0.1", test)):
        assert not bindable("127.0.0.1", test)
        again = Ports(file)
        assert again.of("test") != test
        assert again.of("stage") == stage
