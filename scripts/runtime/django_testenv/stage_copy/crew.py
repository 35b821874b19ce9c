"""Run jobs in threads, the largest first; each thread has its own connections to the two servers."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from .problems import Failed

if TYPE_CHECKING:
    from .database import Connection

_TICK = 0.2  # seconds between two checks of the main thread, the only one that receives Ctrl-C
_HELD = 16  # tables, with their indexes, whose locks a connection to the source holds at most
_CANCEL = 2.0  # seconds that a server may need to cancel a statement


class Worker:
    """One thread's connections, opened when a job first asks for them."""

    def __init__(
        self,
        open_source: Callable[[], Connection],
        open_target: Callable[[], Connection],
        begin: Callable[[Connection], None],
    ) -> None:
        """Keep how to open connections; `begin` begins a transaction of the source's, in the snapshot."""
        self._open_source, self._open_target, self._begin = open_source, open_target, begin
        self._read = 0
        self._source: Connection | None = None
        self._target: Connection | None = None

    @property
    def source(self) -> Connection:
        self._source = self._source or self._open_source()
        return self._source

    @property
    def target(self) -> Connection:
        self._target = self._target or self._open_target()
        return self._target

    def try_to_open(self, end: str) -> None:
        """Open the "source" or the "target"; where that fails, the job that asks for it says why."""
        with contextlib.suppress(psycopg.Error, Failed):
            getattr(self, end)

    def release_locks(self) -> None:
        """Count a table; after some of them end the source's transaction, which holds their locks."""
        self._read += 1
        if self._read % _HELD == 0 and self._source:
            self._source.execute("COMMIT")
            self._begin(self._source)

    def cancel(self) -> None:
        """Cancel the target's running statement; closing the connection ends the source's."""
        if self._target:
            with contextlib.suppress(psycopg.Error):
                self._target.cancel_safe(timeout=_CANCEL)

    def close(self) -> None:
        """Close the connections; a job that asks for them opens others."""
        for connection in (self._source, self._target):
            if connection:
                connection.close()
        self._source = self._target = None


@dataclass(order=True)
class _Job:
    rank: tuple[int, int]
    work: Callable[[Worker], None] = field(compare=False)
    size: int = field(compare=False)


class Crew:
    """Threads that run jobs, and the jobs that these add, until none is left or one raises an error."""

    def __init__(self, size: int, make_worker: Callable[[], Worker]) -> None:
        self._workers = [make_worker() for _ in range(size)]
        self._jobs: list[_Job] = []
        self._busy = 0
        self._waiting = 0  # the sum of the sizes of the jobs
        self._error: BaseException | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._opening: list[threading.Thread] = []

    @property
    def stopped(self) -> Callable[[], bool]:
        return self._stop.is_set

    def open(self) -> None:
        """Open the connections in threads, while others work: each takes many round trips."""
        self._opening = [
            threading.Thread(target=worker.try_to_open, args=[end], daemon=True)
            for worker in self._workers
            for end in ("source", "target")
        ]
        for thread in self._opening:
            thread.start()

    def add(self, weight: int, work: Callable[[Worker], None], size: int = 0) -> None:
        """Add a job. The waiting job with the largest weight is the next to run.

        `size` is how much it works through, in bytes; 0 if it takes next to no time.
        """
        with self._changed:
            heapq.heappush(self._jobs, _Job((-weight, next(self._numbers)), work, size))
            self._waiting += size
            self._changed.notify()

    def free(self, size: int) -> int:
        """Return how many of the other threads will have nothing to do before a job of this size ends."""
        with self._changed:
            return len(self._workers) - 1 if self._waiting < size else 0

    def run(self) -> None:
        """Work until every job is done; raise the first error that a job raised."""
        _join(self._opening)
        threads = [
            threading.Thread(target=self._work, args=[worker], daemon=True) for worker in self._workers
        ]
        try:
            for thread in threads:
                thread.start()
            with self._changed:
                while (self._jobs or self._busy) and not self._stop.is_set():
                    self._changed.wait(_TICK)
        finally:
            interrupted = bool(self._jobs or self._busy)
            self._stop.set()
            with self._changed:
                self._changed.notify_all()
            if interrupted:
                for worker in self._workers:
                    worker.cancel()
            _join(threads)
            self._stop.clear()
        if self._error:
            raise self._error

    def close(self) -> None:
        _join(self._opening)
        for worker in self._workers:
            worker.close()

    def _work(self, worker: Worker) -> None:
        while (job := self._next()) is not None:
            error: BaseException | None = None
            try:
                job.work(worker)
            except BaseException as raised:  # noqa: BLE001  `run` raises it again
                error = raised
            with self._changed:
                self._busy -= 1
                if error:
                    self._error = self._error or error
                    self._stop.set()
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._jobs and self._busy and not self._stop.is_set():
                self._changed.wait()
            if self._stop.is_set() or not self._jobs:
                return None
            self._busy += 1
            job = heapq.heappop(self._jobs)
            self._waiting -= job.size
            return job


def _join(threads: Iterable[threading.Thread]) -> None:
    """Wait for the end of threads; an interruption may have come before all were started."""
    for thread in threads:
        if thread.is_alive():
            thread.join()
