"""Show the progress of a copy: a live line on a terminal, a plain line from time to time in a log."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Progress

_EVERY = 5.0  # seconds between two plain lines
Say = Callable[[str], None]


def choose(stream: IO[str], say: Say) -> Lines:
    """Return the progress for `stream`: a live line on a terminal if rich is installed, else plain lines."""
    if stream.isatty():
        with suppress(ImportError):
            return Bars(stream, say)
    return Lines(say)


class Lines:
    """Prints one plain line every five seconds of a phase: amount, speed, remaining time."""

    def __init__(self, say: Say, clock: Callable[[], float] = time.monotonic) -> None:
        self._print, self._clock = say, clock
        self._lock = threading.Lock()
        self._phase, self._total, self._done, self._rows = "", 0, 0, 0
        self._began = self._printed = clock()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing on the screen."""

    def say(self, line: str) -> None:
        with self._lock:
            self._print(line)

    def phase(self, name: str, *, total: int = 0) -> None:
        with self._lock:
            self._phase, self._total, self._done, self._rows = name, total, 0, 0
            self._began = self._printed = self._clock()

    def advance(self, *, amount: int, rows: int = 0) -> None:
        with self._lock:
            self._done += amount
            self._rows += rows
            if self._clock() - self._printed >= _EVERY:
                self._printed = self._clock()
                self._print(self._state())

    def _state(self) -> str:
        seconds = max(self._clock() - self._began, 0.001)
        parts = [f"{self._phase}:"]
        if self._total:
            parts.append(f"{100 * self._done // self._total} %, {size(self._done)} of {size(self._total)}")
            if self._done:
                left = seconds * (self._total - self._done) / self._done
                parts[-1] += f", {size(round(self._done / seconds))}/s, about {left:.0f} s left"
        if self._rows:
            parts.append(f"({self._rows:,} rows)")
        return " ".join(parts)


class Bars(Lines):
    """Draws the same line on a terminal, again and again. Raises ImportError if rich is not installed."""

    def __init__(self, stream: IO[str], say: Say) -> None:
        from rich.console import Console  # noqa: PLC0415  an image need not have it
        from rich.live import Live  # noqa: PLC0415

        super().__init__(say)
        self._console = Console(file=stream)
        self._live = Live(
            console=self._console, get_renderable=self._drawn, refresh_per_second=8, transient=True
        )

    def __enter__(self) -> Progress:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    def advance(self, *, amount: int, rows: int = 0) -> None:
        with self._lock:
            self._done += amount
            self._rows += rows

    def _drawn(self) -> Any:
        from rich.text import Text  # noqa: PLC0415

        return Text(self._state() if self._phase else "")


def size(count: int) -> str:
    """Return a number of bytes in a readable unit."""
    if count < 1 << 20:
        return f"{count / 1024:.0f} kB"
    if count < 1 << 30:
        return f"{count / (1 << 20):.0f} MB"
    return f"{count / (1 << 30):.2f} GB"
