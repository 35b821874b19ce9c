"""Measure what a command uses: seconds, processor time and memory, and its servers' processor time."""

from __future__ import annotations

import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tests.runtime.stage_copy.servers import PostgresServer

_ENDING = 0.2  # seconds in which the servers' processes end after their clients


@dataclass(frozen=True)
class Figures:
    """One run of a command."""

    seconds: float
    served: float  # seconds until the target serves
    peak: float  # MiB that its processes held together
    client: float  # CPU seconds of its processes
    servers: float  # CPU seconds of the servers


def measure(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], servers: Iterable[PostgresServer]
) -> tuple[Figures, bytes]:
    """Run a command; return its figures and its output. Raise RuntimeError if it fails."""
    servers = list(servers)
    before, busy = _of_children(), sum(map(_of_server, servers))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.monotonic()
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=err)
        with _Memory(process.pid) as memory:
            process.wait()
        seconds = time.monotonic() - began
        time.sleep(_ENDING)
        client, used = _of_children() - before, sum(map(_of_server, servers)) - busy
        err.seek(0)
        if process.returncode:
            raise RuntimeError(f"{list(words)[:3]}: {err.read().decode()[-2000:]}")
        out.seek(0)
        return Figures(seconds, seconds, memory.peak, client, used), out.read()


def _of_children() -> float:
    """Return the CPU seconds of all processes that this one has waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _of_server(server: PostgresServer) -> float:
    """Return the CPU seconds of a server's processes; its first one counts those that have ended."""
    assert server.process
    first = psutil.Process(server.process.pid)
    used = 0.0
    for one in (first, *first.children(recursive=True)):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system + times.children_user + times.children_system
    return used


class _Memory:
    """The largest sum of what a process and its children hold, in MiB, looked at every 100 ms."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            held = 0
            try:
                for one in (self._process, *self._process.children(recursive=True)):
                    held += one.memory_info().rss
            except psutil.Error:
                continue
            self.peak = max(self.peak, held / 2**20)
