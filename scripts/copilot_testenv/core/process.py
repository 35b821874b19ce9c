"""Start child processes: every process of these tasks is a Command that a Shell runs.

A Command holds words and variables and runs nothing. It may always be printed, because secrets are in its
variables and never in its words.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from copilot_testenv.core import child_variables, display
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.scratch import is_held

# A variable that is None is removed from the child's environment, even if the child would inherit it.
Variables = Mapping[str, str | None]

SETTLE_SECONDS = 900.0  # a command may take this long to end after a signal; then it is killed
RUN_SECONDS = 60.0  # the default timeout of a command that `Shell.run` runs
SILENCE_SECONDS = 30.0  # without output, before a line says that the command still runs
LIFELINE = "SANDBOX_LIFELINE"  # the variable that names the lock of the sandbox's server
_LOOKED_EVERY = 0.5  # seconds between checks of the lifeline
_GIT_VERBS = frozenset({"fetch", "rev-parse", "worktree", "config", "ls-files", "status"})
_END_SECONDS = 5.0  # for the remaining output, and for a process to end after SIGTERM


@dataclass(frozen=True)
class Command:
    """A program with its arguments, the folder that it runs in and its variables.

    The child inherits the variables in child_variables.BASE and in `inherits`; `env` is added to them. A name
    in `inherits` that ends in `*` is a prefix. `timeout`, in seconds, is for `Shell.run`. `settle` is the
    time in seconds that `Shell.stream` gives the command after a signal. `lifeline` is a lock file: the
    command is stopped once no process holds the lock.
    """

    argv: tuple[str, ...]
    env: Variables = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    timeout: float = RUN_SECONDS
    settle: float = SETTLE_SECONDS
    lifeline: Path | None = None
    quiet: bool = False  # do not report that it still runs
    stdin: str = field(default="", repr=False)  # for `Shell.run`: a secret that must not be an argument
    inherits: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the child."""
        merged = {**child_variables.inherited(*self.inherits), **self.env}
        return {name: value for name, value in merged.items() if value is not None}

    def __str__(self) -> str:
        return display.masked(shlex.join(self.argv))

    @property
    def name(self) -> str:
        """The program and its verb, without folders and flags: `copilot svc delete`."""
        verbs = list(itertools.takewhile(str.isalpha, self.argv[1:3]))
        if self.argv[0] == "git":
            verbs = [word for word in self.argv if word in _GIT_VERBS][:1]
        return " ".join((Path(self.argv[0]).name, *verbs))


@dataclass(frozen=True)
class Result:
    """A command's exit code (negative: the signal that ended it) and its output."""

    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0


class Shell(Protocol):
    """Run commands: RealShell, or FakeShell in tests."""

    def run(self, command: Command) -> Result:
        """Run a command to its end and return its output.

        Raises Failed where it cannot be started, takes longer than its timeout, or its lifeline ends.
        """

    def stream(
        self,
        command: Command,
        on_line: Callable[[str], None],
        signal_due: Callable[[], signal.Signals | None],
    ) -> Result:
        """Run a command to its end and pass each line to `on_line` as it comes; see RealShell.stream."""


def output_of(shell: Shell, command: Command, doing: str) -> str:
    """Run a command and return its standard output. Raises Failed, with its last lines, where it fails."""
    result = shell.run(command)
    if result.ok:
        return result.stdout
    last_lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
    raise Failed(
        f"{doing} failed: `{command}` ended with exit code {result.returncode}."
        + "".join(f"\n  {line}" for line in last_lines)
    )


class RealShell:
    """Start real processes.

    Without a standard input of the command it is closed, so an unexpected prompt fails and does not hang.
    """

    def run(self, command: Command) -> Result:
        process = _start(command, stderr=subprocess.PIPE, own_session=False)
        watch, stdin = _Watch(command), command.stdin or None
        with process:
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        given, stdin = stdin, None  # communicate takes it once
                        stdout, stderr = process.communicate(given, timeout=_LOOKED_EVERY)
                        return Result(process.returncode, stdout, stderr)
                    watch.look(limit=command.timeout)
            except BaseException:
                process.kill()
                raise

    def stream(
        self,
        command: Command,
        on_line: Callable[[str], None],
        signal_due: Callable[[], signal.Signals | None],
    ) -> Result:
        """Run a command in its own session, so that Ctrl-C at the terminal reaches only this program.

        `signal_due` is called several times a second. Each signal that it returns is sent to the command
        once; then the command may finish, because Copilot rolls back on SIGINT. Standard error is part of the
        same stream as standard output.
        """
        process = _start(command, stderr=subprocess.STDOUT, own_session=True)
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        stdout = process.stdout
        assert stdout is not None  # noqa: S101 - PIPE was asked for above; this tells the type checker

        def read() -> None:
            with stdout:
                for text in stdout:
                    lines.put(text.rstrip("\n"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        kept: list[str] = []
        watch, signals = _Watch(command), _Signals(process, command.settle)
        try:
            while not watch.is_over(process):
                signals.send(signal_due())
                watch.look()
                try:
                    line = lines.get(timeout=0.1)
                except queue.Empty:
                    continue
                if line is None:
                    break
                watch.heard()
                kept.append(line)
                on_line(line)
            return Result(_wait_or_kill(process), "\n".join(kept))
        finally:
            # After a signal or an error nothing is left running unseen: Copilot's builds outlive Copilot.
            if signals.were_sent or process.poll() is None:
                _signal_group(process, signal.SIGTERM)
                _wait_or_kill(process)


class _Signals:
    """Send each signal to a command once, and kill the command where it does not end in time."""

    def __init__(self, process: subprocess.Popen[str], settle: float) -> None:
        self._process = process
        self._settle = settle
        self._sent: dict[signal.Signals, float] = {}

    @property
    def were_sent(self) -> bool:
        return bool(self._sent)

    def send(self, due: signal.Signals | None) -> None:
        if due and due not in self._sent:
            self._sent[due] = time.monotonic()
            self._process.send_signal(due)
        if self._sent and time.monotonic() - max(self._sent.values()) > self._settle:
            _signal_group(self._process, signal.SIGKILL)


class _Watch:
    """Watch a running command: its timeout, its lifeline, and how long it has printed nothing."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._begun = self._heard = self._looked = time.monotonic()
        self._ended = 0.0

    def heard(self) -> None:
        self._heard = time.monotonic()

    def is_over(self, process: subprocess.Popen[str]) -> bool:
        """Return True once the command has ended and its output has been silent for some seconds.

        A process that it started can keep the output open for longer than the command itself runs.
        """
        if process.poll() is None:
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - max(self._ended, self._heard) > _END_SECONDS

    def look(self, limit: float = math.inf) -> None:
        """Raise Failed where the command has run longer than `limit` seconds, or its lifeline has ended."""
        now, command = time.monotonic(), self._command
        took = now - self._begun
        if took >= limit:
            raise Failed(
                f"`{command.name}` did not end within {limit:.0f} s and was stopped: {command}. Run it "
                "yourself to see why it waits (for the network, a password, a lock), then try again."
            )
        if now - self._heard >= SILENCE_SECONDS and not command.quiet:
            self._heard = now
            with suppress(OSError):  # standard error is closed
                sys.stderr.write(f"  `{command.name}` still runs ({took:.0f} s)\n")
        if command.lifeline and now - self._looked >= _LOOKED_EVERY:
            self._looked = now
            if is_cut(command.lifeline):
                raise Failed(
                    f"The sandbox's server ended while `{command.name}` ran: its deployments are gone, "
                    "its databases are kept. Run the same again."
                )


def is_cut(lifeline: Path) -> bool:
    """Return True once no process holds the lock that commands depend on."""
    return not lifeline.exists() or not is_held(lifeline)


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process that leads a session, and to all that it has started there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _wait_or_kill(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        return process.wait(timeout=_END_SECONDS)


def _start(command: Command, *, stderr: int, own_session: bool) -> subprocess.Popen[str]:
    """Start a command with its own standard input, or none. Raises Failed where it cannot be started."""
    try:
        return subprocess.Popen(
            command.argv,
            env=command.environment(),
            cwd=command.cwd,
            stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=own_session,
        )
    except OSError as error:
        raise Failed(
            f"`{command.argv[0]}` could not be started: {error.strerror}. Is it installed, and on PATH?"
        ) from error


class Stop:
    """Says if the work under way must end early, because of a signal or because its time is over."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.interrupted = False

    @property
    def timed_out(self) -> bool:
        return time.monotonic() >= self.deadline

    def asked(self) -> bool:
        return self.interrupted or self.timed_out

    def signal_due(self) -> signal.Signals | None:
        """Return the signal to send to the command under way."""
        return signal.SIGINT if self.asked() else None


@contextmanager
def catching_signals(
    seconds: float,
    say: Callable[[str], None],
    interrupted: str = "Interrupted: waiting until the change under way has settled.",
) -> Iterator[Stop]:
    """Make Ctrl-C and SIGTERM only set `Stop.interrupted` in this block, and `say` a line to the user."""
    stop = Stop(seconds)

    def note(_number: int, _frame: object) -> None:
        again, stop.interrupted = stop.interrupted, True
        say("Still waiting: to stop now would leave the stack half changed." if again else interrupted)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
