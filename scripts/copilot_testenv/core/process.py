"""Command and Shell: the only door to processes.

A Command is words and variables; it runs nothing and may always be printed, because secrets travel in
its variables and never in its words.
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

# A variable set to None is taken away from the child, whatever it inherits.
Variables = Mapping[str, str | None]

SETTLE_SECONDS = 900.0  # that a command gets to end after a signal, before it is killed
RUN_SECONDS = 60.0  # that a command gets to answer a question, unless it says otherwise
SILENCE_SECONDS = 30.0  # after which a person is told that a command still runs
LIFELINE = "SANDBOX_LIFELINE"  # the variable that names the lock of the sandbox's server
_LOOKED_EVERY = 0.5  # seconds between looks at the lifeline
_GIT_VERBS = frozenset({"fetch", "rev-parse", "worktree", "config", "ls-files", "status"})
_END_SECONDS = 5.0  # that what is left of a command gets to end


@dataclass(frozen=True)
class Command:
    """Words to run, in a folder.

    The child sees the base variables (child_variables.BASE), those that `inherits` names, and `env` on top. A
    name in `inherits` that ends in `*` is the beginning of names. `timeout` is in seconds and for
    `Shell.run`; `settle` is what a streamed command gets after a signal; `lifeline` is a lock file: the
    command is of no use once nobody holds it.
    """

    argv: tuple[str, ...]
    env: Variables = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    timeout: float = RUN_SECONDS
    settle: float = SETTLE_SECONDS
    lifeline: Path | None = None
    quiet: bool = False  # it may be silent for as long as it likes
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
    """How a command ended: its exit code (negative: the signal that ended it) and what it printed."""

    returncode: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.returncode == 0


class Shell(Protocol):
    """What runs commands: RealShell, or FakeShell in tests."""

    def run(self, command: Command) -> Result:
        """Run to the end and keep what it prints.

        Raises Failed where the program cannot be started, takes longer than its timeout, or its lifeline
        ends.
        """

    def stream(
        self,
        command: Command,
        on_line: Callable[[str], None],
        signal_due: Callable[[], signal.Signals | None],
    ) -> Result:
        """Run to the end, handing over each line as it comes; see RealShell.stream."""


def output_of(shell: Shell, command: Command, doing: str) -> str:
    """Run a command that must succeed and return its standard output.

    Raises Failed with the command's own last lines when it does not.
    """
    result = shell.run(command)
    if result.ok:
        return result.stdout
    said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-8:]
    raise Failed(
        f"{doing} failed: `{command}` ended with exit code {result.returncode}."
        + "".join(f"\n  {line}" for line in said)
    )


class RealShell:
    """Starts real processes, with standard input closed: an unforeseen prompt fails, it never hangs."""

    def run(self, command: Command) -> Result:
        try:
            process = subprocess.Popen(
                command.argv,
                env=command.environment(),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise _cannot_start(command, error) from error
        watch = _Watch(command)
        with process:
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        stdout, stderr = process.communicate(timeout=_LOOKED_EVERY)
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
        """Run in a session of its own, so that a Ctrl-C at the terminal reaches only this program.

        `signal_due` is asked several times a second. Each signal that it names is sent to the command once,
        and the command is waited for: Copilot rolls back on SIGINT. Standard error comes in the same stream
        as standard output.
        """
        try:
            process = subprocess.Popen(
                command.argv,
                env=command.environment(),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise _cannot_start(command, error) from error
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
            if process.poll() is None:  # something of ours went wrong: leave nothing running unseen
                process.terminate()
                _wait_or_kill(process)


class _Signals:
    """What is sent to a command: each signal once, and an end by force where it does not settle."""

    def __init__(self, process: subprocess.Popen[str], settle: float) -> None:
        self._process = process
        self._settle = settle
        self._sent: dict[signal.Signals, float] = {}

    def send(self, due: signal.Signals | None) -> None:
        if due and due not in self._sent:
            self._sent[due] = time.monotonic()
            self._process.send_signal(due)
        if self._sent and time.monotonic() - max(self._sent.values()) > self._settle:
            _kill_group(self._process)


class _Watch:
    """Looks now and then at a command that runs: is it of any use still, and does anybody hear of it."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._begun = self._heard = self._looked = time.monotonic()
        self._ended = 0.0

    def heard(self) -> None:
        self._heard = time.monotonic()

    def is_over(self, process: subprocess.Popen[str]) -> bool:
        """Return True where the command has ended and is not heard of any more.

        Somebody whom it has started may hold its output open for longer than it lives.
        """
        if process.poll() is None:
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - max(self._ended, self._heard) > _END_SECONDS

    def look(self, limit: float = math.inf) -> None:
        """Raise Failed where the command has taken longer than `limit` seconds, or its lifeline ended."""
        now, command = time.monotonic(), self._command
        took = now - self._begun
        if took >= limit:
            raise Failed(
                f"`{command.name}` did not end within {limit:.0f} s and was stopped: {command}. Run it "
                "yourself to see what it waits for (the network, a password, a lock), then try again."
            )
        if now - self._heard >= SILENCE_SECONDS and not command.quiet:
            self._heard = now
            with suppress(OSError):  # nobody listens any more
                sys.stderr.write(f"  `{command.name}` still runs ({took:.0f} s)\n")
        if command.lifeline and now - self._looked >= _LOOKED_EVERY:
            self._looked = now
            if is_cut(command.lifeline):
                raise Failed(
                    f"The sandbox's server ended while `{command.name}` ran: what was deployed in it is "
                    "gone, its databases are kept. Run the same again."
                )


def is_cut(lifeline: Path) -> bool:
    """Return True once nobody holds the lock that commands depend on."""
    return not lifeline.exists() or not is_held(lifeline)


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End a process that leads a session, and all that it has started there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _wait_or_kill(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        _kill_group(process)
        return process.wait(timeout=_END_SECONDS)


def _cannot_start(command: Command, error: OSError) -> Failed:
    return Failed(
        f"`{command.argv[0]}` could not be started: {error.strerror}. Is it installed, and on PATH?"
    )


class Stop:
    """Whether the work under way should end early: a signal came, or its time is over."""

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
def catching_signals(seconds: float, told: Callable[[str], None]) -> Iterator[Stop]:
    """Within this block Ctrl-C and SIGTERM only set `Stop.interrupted`; `told` gets a line for the user."""
    stop = Stop(seconds)

    def note(_number: int, _frame: object) -> None:
        again, stop.interrupted = stop.interrupted, True
        told(
            "Still settling: leaving now would leave the stack half changed."
            if again
            else "Interrupted: waiting until what is under way has settled."
        )

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
