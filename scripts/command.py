"""Command and Shell: the only door to processes.

A Command is words and variables; it runs nothing and may always be printed, because secrets travel in
its variables and never in its words.
"""

from __future__ import annotations

import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts import child_variables
from scripts.errors import Failed

# A variable set to None is taken away from the child, whatever it inherits.
Variables = Mapping[str, str | None]

SETTLE_SECONDS = 900  # that a command gets to end after a signal, before it is killed


@dataclass(frozen=True)
class Command:
    """Words to run, in a folder.

    The child sees the base variables (child_variables.BASE), those that `inherits` names, and `env` on top. A
    name in `inherits` that ends in `*` is the beginning of names.
    """

    argv: tuple[str, ...]
    env: Variables = field(default_factory=dict, repr=False)
    cwd: Path | None = None
    inherits: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the child."""
        merged = {**child_variables.inherited(*self.inherits), **self.env}
        return {name: value for name, value in merged.items() if value is not None}

    def __str__(self) -> str:
        return shlex.join(self.argv)


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
        """Run to the end and keep what it prints. Raises Failed where the program cannot be started."""

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
            done = subprocess.run(
                command.argv,
                env=command.environment(),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise _cannot_start(command, error) from error
        return Result(done.returncode, done.stdout, done.stderr)

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
            for text in stdout:
                lines.put(text.rstrip("\n"))
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        kept: list[str] = []
        sent: dict[signal.Signals, float] = {}
        try:
            while True:
                due = signal_due()
                if due and due not in sent:
                    sent[due] = time.monotonic()
                    process.send_signal(due)
                if sent and time.monotonic() - max(sent.values()) > SETTLE_SECONDS:
                    process.kill()
                try:
                    line = lines.get(timeout=0.1)
                except queue.Empty:
                    continue
                if line is None:
                    break
                kept.append(line)
                on_line(line)
            return Result(process.wait(), "\n".join(kept))
        finally:
            if process.poll() is None:  # something of ours went wrong: leave nothing running unseen
                process.terminate()
                process.wait()
            stdout.close()


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
        """What to send to the command under way."""
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
