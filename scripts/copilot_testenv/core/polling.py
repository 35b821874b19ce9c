"""Look again and again, until it is done or the time is over."""

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
    """Return what `look` gave last: it is `done`, or `seconds` are over, though it looked once.

    Pauses last `every` seconds; `tell` is called before each.
    """
    end = time.monotonic() + seconds
    while not done(found := look()) and time.monotonic() < end:
        tell()
        time.sleep(every)
    return found
