"""Repeat a check until it succeeds or its time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(
    look: Callable[[], _T],
    done: Callable[[_T], bool],
    *,
    seconds: float,
    every: float,
    tell: Callable[[], None] = lambda: None,
) -> _T:
    """Call `look` until its result is `done` or `seconds` are over, at least once; return the last result.

    Pauses last `every` seconds; `tell` is called before each pause.
    """
    end = time.monotonic() + seconds
    while not done(result := look()) and time.monotonic() < end:
        tell()
        time.sleep(every)
    return result
