"""Folders that last as long as the process that made them, also where that is killed, and file locks.

Beside each folder lies a file that its process keeps locked. The system frees the lock however the process
ends, so whoever comes next knows which folders nobody needs any more, and removes them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from copilot_sandbox.errors import Failed
from copilot_sandbox.private import own_folder

WAIT_SECONDS = 60.0  # for another process that makes or removes a folder, which takes it seconds
_TOLD_EVERY = 30.0  # seconds
_LOCK = ".lock"


@contextmanager
def folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make an empty folder in `parent` and remove it afterwards, with those that killed processes left.

    Raises OSError, or Failed where another process holds `parent` for too long.
    """
    with _alone(parent):
        clear(parent)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock_of(made).open("w")
        try_to_lock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
            with _alone(parent):
                _lock_of(made).unlink(missing_ok=True)


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Make a folder for the moment, in a folder of this user's below the system's one for such."""
    parent = _temporaries()
    try:
        own_folder(parent)
    except (OSError, Failed):  # somebody else has taken the name
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            yield Path(name)
        return
    with folder(parent, prefix) as made:
        yield made


def clear_temporaries() -> None:
    """Remove what killed processes have left of `temporary`."""
    parent = _temporaries()
    with suppress(OSError, Failed):  # there is none, or it is no folder of this user's alone
        found = parent.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            with _alone(parent):
                clear(parent)


def _temporaries() -> Path:
    return Path(tempfile.gettempdir()) / f"copilot-sandbox-{os.geteuid()}"


def clear(parent: Path) -> None:
    """Remove the folders whose processes are over."""
    for lock in parent.glob(f"*{_LOCK}"):
        if not is_held(lock):
            shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
            lock.unlink(missing_ok=True)


def lock_within(
    file: IO[str], seconds: float, of_what: str, say: Callable[[str], None] = lambda _: None
) -> None:
    """Lock an open file for this process alone. Raises Failed where others hold it for longer than that."""
    begun = told = time.monotonic()
    while not try_to_lock(file, fcntl.LOCK_EX):
        now = time.monotonic()
        if now - begun >= seconds:
            raise Failed(
                f"Another process has held {of_what} for {seconds:.0f} s (the lock is {file.name}): wait "
                "until it is through, or end it (`fuser` or `lsof` names it), then try again."
            )
        if now - told >= _TOLD_EVERY:
            told = now
            say(f"  still waiting: another process has {of_what} ({now - begun:.0f} s)")
        time.sleep(0.02)


def try_to_lock(file: IO[str], how: int) -> bool:
    """Lock an open file without waiting, by fcntl.LOCK_EX or LOCK_SH; return False where others hold it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(lock: Path) -> bool:
    """Return True while a process has the file locked. Those who only look do not disturb each other."""
    try:
        with lock.open() as file:
            return not try_to_lock(file, fcntl.LOCK_SH)
    except OSError:
        return True


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    with (parent / "lock").open("a") as guard:
        lock_within(guard, WAIT_SECONDS, f"the folders in {parent}")
        yield


def _lock_of(made: Path) -> Path:
    return made.with_name(f"{made.name}{_LOCK}")
