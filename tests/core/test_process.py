from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from copilot_testenv.core import git
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Command, RealShell, Result, catching_signals, output_of

SHELL = RealShell()


def python(code: str, **env: str | None) -> Command:
    return Command((sys.executable, "-c", code), env=env)


def test_a_command_can_be_printed_without_its_variables() -> None:
    command = python("print('a b')", PASSWORD="hunter2")
    assert "hunter2" not in str(command)
    assert "hunter2" not in repr(command)


def test_standard_input_is_closed_so_that_a_prompt_fails() -> None:
    assert "EOFError" in SHELL.run(python("input()")).stderr


def test_a_variable_set_to_none_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    result = SHELL.run(
        python("import os; print(os.environ.get('AWS_PROFILE'), os.environ['X'])", AWS_PROFILE=None, X="1")
    )
    assert result.stdout.split() == ["None", "1"]


def test_a_program_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(Failed, match="could not be started"):
        SHELL.run(Command(("no-such-program",)))
    with pytest.raises(Failed, match="could not be started"):
        SHELL.stream(Command(("no-such-program",)), print, lambda: None)


def test_a_failure_carries_the_commands_own_last_lines() -> None:
    with pytest.raises(Failed, match=r"(?s)exit code 7.*the reason"):
        output_of(SHELL, python("import sys; print('the reason', file=sys.stderr); sys.exit(7)"), "Trying")


def test_lines_come_as_they_are_written() -> None:
    seen: list[tuple[str, float]] = []
    code = "import time; print('one', flush=True); time.sleep(0.6); print('two')"
    result = SHELL.stream(python(code), lambda line: seen.append((line, time.monotonic())), lambda: None)
    assert [line for line, _ in seen] == ["one", "two"]
    assert seen[1][1] - seen[0][1] > 0.3
    assert result.stdout == "one\ntwo"


def test_asked_to_stop_it_sends_one_sigint_and_waits_for_the_end() -> None:
    code = (
        "import signal, time\n"
        "count = 0\n"
        "def note(*_):\n    global count; count += 1\n"
        "signal.signal(signal.SIGINT, note)\n"
        "print('ready', flush=True)\n"
        "end = time.monotonic() + 1\n"
        "while time.monotonic() < end: time.sleep(0.05)\n"
        "print('settled', count)"
    )
    ready = threading.Event()
    result = SHELL.stream(
        python(code), lambda _: ready.set(), lambda: signal.SIGINT if ready.is_set() else None
    )
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "settled 1"


def test_ctrl_c_is_noted_and_told_and_the_old_handler_comes_back() -> None:
    told: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with catching_signals(60, told.append) as stop:
        assert not stop.asked()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.interrupted
    assert len(told) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_the_time_limit_asks_to_stop_without_being_an_interruption() -> None:
    with catching_signals(0, print) as stop:
        assert stop.asked()
        assert stop.timed_out
        assert not stop.interrupted


def test_only_process_py_starts_processes() -> None:
    root = Path(__file__).parents[2]
    files = [root / "tasks.py", *(root / "scripts/copilot_testenv").rglob("*.py")]
    assert len(files) > 50
    users = {file.name for file in files if "import subprocess" in file.read_text()}
    assert users == {"process.py"}


def test_a_command_that_takes_too_long_is_ended_and_that_is_said() -> None:
    slow = Command((sys.executable, "-c", "import time; time.sleep(60)"), timeout=0.7)
    begun = time.monotonic()
    with pytest.raises(Failed, match=r"did not end within 1 s .* try again"):
        SHELL.run(slow)
    assert time.monotonic() - begun < 10


def test_whoever_a_command_has_started_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("copilot_testenv.core.process._END_SECONDS", 0.5)
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('done', flush=True)"
    )
    begun = time.monotonic()
    result = SHELL.stream(python(code), lambda _: None, lambda: None)
    assert (result.returncode, result.stdout) == (0, "done")
    assert time.monotonic() - begun < 30


def test_a_command_that_ignores_signals_is_killed_when_it_had_its_time() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('go', flush=True)\n"
        "time.sleep(60)"
    )
    ready = threading.Event()
    stubborn = Command((sys.executable, "-c", code), settle=0.3)
    result = SHELL.stream(stubborn, lambda _: ready.set(), lambda: signal.SIGINT if ready.is_set() else None)
    assert result.returncode == -signal.SIGKILL


@pytest.mark.parametrize("way", ["run", "stream"])
def test_a_command_whose_lifeline_ends_is_ended_and_that_is_said(tmp_path: Path, way: str) -> None:
    lifeline = tmp_path / "server.lock"
    with lifeline.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        quick = Command((sys.executable, "-c", "print('through')"), lifeline=lifeline)
        assert SHELL.run(quick).stdout == "through\n"
    hangs = Command((sys.executable, "-c", "import time; time.sleep(60)"), lifeline=lifeline)
    ways: dict[str, Callable[[Command], Result]] = {
        "run": SHELL.run,
        "stream": lambda command: SHELL.stream(command, lambda _: None, lambda: None),
    }
    with pytest.raises(Failed, match=r"server ended while `python.*Run the same again"):
        ways[way](hangs)


def test_what_a_command_has_started_ends_with_it_where_its_lifeline_ends(tmp_path: Path) -> None:
    lifeline, started = tmp_path / "server.lock", []

    def note(line: str) -> None:
        started.append(psutil.Process(int(line)))
        lifeline.unlink()

    builds = Command(("sh", "-c", "sleep 600 & echo $!; wait"), lifeline=lifeline)
    with lifeline.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Failed, match="server ended"):
            SHELL.stream(builds, note, lambda: None)
    _, left = psutil.wait_procs(started, timeout=5)
    assert (len(started), left) == (1, [])


def test_what_an_interrupted_command_has_started_ends_with_it() -> None:
    started: list[psutil.Process] = []
    # Not a shell's trap, which does nothing where the tests' own SIGINT is ignored, as in the background.
    program = (
        "import signal, subprocess, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit(3)); "
        "started = subprocess.Popen(['sleep', '600']); print(started.pid, flush=True); signal.pause()"
    )
    builds = Command((sys.executable, "-c", program))
    result = SHELL.stream(
        builds,
        lambda line: started.append(psutil.Process(int(line))),
        lambda: signal.SIGINT if started else None,
    )
    _, left = psutil.wait_procs(started, timeout=5)
    assert (result.returncode, len(started), left) == (3, 1, [])


def test_silence_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("copilot_testenv.core.process.SILENCE_SECONDS", 0.2)
    slow = Command((sys.executable, "-c", "import time; time.sleep(1.5)"))
    SHELL.run(slow)
    SHELL.stream(slow, lambda _: None, lambda: None)
    assert capsys.readouterr().err.count("still runs") >= 2
    SHELL.stream(replace(slow, quiet=True), lambda _: None, lambda: None)
    assert capsys.readouterr().err == ""


def test_a_command_is_called_by_its_program_and_verb() -> None:
    assert Command(("/usr/bin/copilot", "svc", "delete", "--app=demo")).name == "copilot svc delete"
    assert git.command(Path("x"), "fetch", "--quiet", "origin").name == "git fetch"
