"""Temporary folders that are removed even if their process is killed, and file locks.

Beside each folder there is a file that its process keeps locked. The system frees the lock however the
process ends, so the next process can tell which folders are unused, and removes them. The tasks and the
runtime have such a module too: the three parts may not import each other.
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

WAIT_SECONDS = 60.0  # for another process to create or remove a folder, which takes seconds
_MESSAGE_SECONDS = 30.0  # between two messages of a process that waits
_LOCK = ".lock"


@contextmanager
def folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Create an empty folder in `parent` and remove it afterwards. Remove those of killed processes, too.

    Raises OSError, or Failed if another process locks `parent` for too long.
    """
    with _locked(parent):
        clear(parent)
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock_of(path).open("w")
        try_to_lock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with _locked(parent):
                _lock_of(path).unlink(missing_ok=True)


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Create a temporary folder in this user's folder below the system's temporary folder."""
    parent = _temporaries()
    try:
        own_folder(parent)
    except (OSError, Failed):  # another user has created a folder of this name
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            yield Path(name)
        return
    with folder(parent, prefix) as path:
        yield path


def clear_temporaries() -> None:
    """Remove the folders of `temporary` that killed processes left."""
    parent = _temporaries()
    with suppress(OSError, Failed):  # the parent is missing, or other users may use it
        info = parent.lstat()
        if stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid() and not info.st_mode & 0o077:
            with _locked(parent):
                clear(parent)


def _temporaries() -> Path:
    return Path(tempfile.gettempdir()) / f"copilot-sandbox-{os.geteuid()}"


def clear(parent: Path) -> None:
    """Remove the folders whose processes have ended."""
    for lock in parent.glob(f"*{_LOCK}"):
        if not is_held(lock):
            shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
            lock.unlink(missing_ok=True)


def lock_within(
    file: IO[str], seconds: float, resource: str, say: Callable[[str], None] = lambda _: None
) -> None:
    """Lock an open file for this process alone. Raises Failed if others hold it for longer than `seconds`."""
    started = last_message = time.monotonic()
    while not try_to_lock(file, fcntl.LOCK_EX):
        now = time.monotonic()
        if now - started >= seconds:
            raise Failed(
                f"Another process has held {resource} for {seconds:.0f} s (the lock is {file.name}): wait "
                "until it is done, or end it (`fuser` or `lsof` names it), then try again."
            )
        if now - last_message >= _MESSAGE_SECONDS:
            last_message = now
            say(f"  still waiting: another process uses {resource} ({now - started:.0f} s)")
        time.sleep(0.02)


def try_to_lock(file: IO[str], how: int) -> bool:
    """Lock an open file without waiting, with fcntl.LOCK_EX or LOCK_SH. Return False if others hold it."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(lock: Path) -> bool:
    """Return True while a process has the file locked. Concurrent calls do not affect each other."""
    try:
        with lock.open() as file:
            return not try_to_lock(file, fcntl.LOCK_SH)
    except OSError:
        return True


@contextmanager
def _locked(parent: Path) -> Iterator[None]:
    with (parent / "lock").open("a") as guard:
        lock_within(guard, WAIT_SECONDS, f"the folders in {parent}")
        yield


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}{_LOCK}")
