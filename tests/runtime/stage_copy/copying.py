"""A copy in a process of its own, and what it told."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django_testenv.stage_copy.database import Database
from django_testenv.stage_copy.secret import Secret
from tests.runtime.stage_copy.copies import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Mapping

CHECKOUT = Path(__file__).resolve().parents[3]
PATIENCE = 60  # seconds after which a process or a session counts as one that never ends


class Copying:
    """A copy in a process of its own, and what it told."""

    def __init__(self, told: queue.Queue[str], pid: int) -> None:
        self._told, self._pid = told, pid
        self.lines: list[str] = []

    def reach(self, start: str) -> str:
        """Wait until it tells a line that starts with that; the line."""
        while not (line := self._told.get(timeout=PATIENCE)).startswith(start):
            assert not line.startswith("end "), f"it ended before {start!r}: {self.lines}"
            self.lines.append(line)
        return line

    def wait_for(self, moment: str | float, seconds: float) -> None:
        """Wait until it tells of a phase, or that part of `seconds`."""
        if isinstance(moment, str):
            self.lines.append(self.reach(moment))
        else:
            time.sleep(seconds * moment)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.kill(self._pid, signal.SIGKILL)

    @property
    def running(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> int:
        """Wait until it ends; its exit code."""
        return int(self.reach("end ").split()[1])

    @property
    def phase(self) -> str:
        """The last phase that it told of."""
        return next((one for one in reversed(self.lines) if one.startswith("phase ")), "before any phase")

    @property
    def outcome(self) -> tuple[str, float]:
        """What became of the target and in how many seconds, after a run that succeeded."""
        assert self.lines[-1].startswith("how "), self.lines
        _, how, seconds = self.lines[-1].split()
        return how, float(seconds)

    @property
    def problem(self) -> str:
        """The one line that a run told which failed."""
        *before, last = self.lines
        assert all(line.startswith(("phase ", "say ")) for line in before), self.lines
        assert last.startswith("error Failed: "), self.lines
        assert PASSWORD not in last
        assert len(last.split()) > 5, "it says neither what nor why"
        return last.removeprefix("error Failed: ")


class Runner:
    """A process that has imported all that a copy needs, and forks one for each job."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.runtime.stage_copy.runner"],
            cwd=CHECKOUT, env={**os.environ, "TMPDIR": str(home)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._told: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._told.put(line.rstrip("\n"))

    def start(self, job: Mapping[str, Any]) -> Copying:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        kind, _, pid = self._told.get(timeout=PATIENCE).partition(" ")
        assert kind == "pid"
        return Copying(self._told, int(pid))

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        assert self._process.stdout
        self._process.stdout.close()


def revealed(database: Database) -> dict[str, str]:
    """What the other process needs: its passwords are made up."""
    return {
        key: value.reveal() if isinstance(value, Secret) else value
        for key, value in database.parameters.items()
    }
