"""Create folders that are removed with the run that created them, even where the run is killed.

Beside each folder is a file that its run keeps locked. The system releases the lock however the run ends. So
the next run knows which folders are abandoned, and removes them. A process id would be less safe, because the
system uses it again. The sandbox and the runtime have such a module too: the three parts may not import each
other.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from copilot_testenv.core.errors import Failed
from copilot_testenv.core.terminal import Patience

WAIT_SECONDS = 60.0  # for another run that creates or removes a folder, which takes it some seconds
UNKNOWN_SECONDS = 24 * 3600.0  # after this time a folder without a lock file counts as abandoned
_LOCK = ".lock"
_GUARD = "lock"


class Scratch:
    """Create and remove folders below `parent`; each belongs to one run."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent

    @contextmanager
    def folder(self, prefix: str) -> Iterator[Path]:
        """Create an empty folder and remove it afterwards. Raises OSError, or Failed; see `alone`."""
        with ExitStack() as locks:
            with self.alone():
                self.clear()
                folder = Path(tempfile.mkdtemp(prefix=prefix, dir=self.parent))
                lock = locks.enter_context(self._lock_of(folder).open("w"))
                lock_within(
                    lock, WAIT_SECONDS, folder.name
                )  # `is_held` of another run can hold it for a moment
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(Failed), self.alone():
                    self._lock_of(folder).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock for creating and removing folders.

        Raises Failed where another run holds it too long.
        """
        with (self.parent / _GUARD).open("a") as guard:
            lock_within(guard, WAIT_SECONDS, f"the folders in {self.parent}")
            yield

    def clear(self) -> list[Path]:
        """Remove the abandoned folders and return their paths. Call it within `alone`."""
        removed = []
        for folder in self.abandoned():
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                self._lock_of(folder).unlink(missing_ok=True)
                removed.append(folder)
        for lock in self.parent.glob(f"*{_LOCK}"):
            if not (self.parent / lock.name.removesuffix(_LOCK)).exists() and not is_held(lock):
                lock.unlink(missing_ok=True)
        return removed

    def abandoned(self) -> list[Path]:
        """Return the folders whose runs have ended. Takes no lock and changes nothing."""
        return [
            folder
            for folder in sorted(self.parent.glob("*"))
            if folder.is_dir() and not folder.is_symlink() and self._is_abandoned(folder)
        ]

    def _is_abandoned(self, folder: Path) -> bool:
        lock = self._lock_of(folder)
        if lock.is_file():
            return not is_held(lock)
        try:  # an earlier version of these tasks created folders without a lock
            return time.time() - folder.stat().st_mtime > UNKNOWN_SECONDS
        except OSError:
            return False

    @staticmethod
    def _lock_of(folder: Path) -> Path:
        return folder.with_name(f"{folder.name}{_LOCK}")


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Create a temporary folder, in this user's own folder below the system's temporary folder.

    Raises OSError where it cannot be created.
    """
    if scratch := _temporaries(make=True):
        with scratch.folder(prefix) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix=prefix) as name:
            yield Path(name)


def clear_temporaries() -> None:
    """Remove the temporary folders of runs that were killed. Raises Failed; see `Scratch.alone`."""
    scratch = _temporaries(make=False)
    if scratch and scratch.abandoned():
        with scratch.alone():
            scratch.clear()


def _temporaries(*, make: bool) -> Scratch | None:
    """Return this user's folder; None where it does not exist, or another user could put links into it."""
    parent = Path(tempfile.gettempdir()) / f"copilot-testenv-{os.geteuid()}"
    if make:
        with suppress(FileExistsError):
            parent.mkdir(mode=0o700)
    try:
        status = parent.lstat()
    except FileNotFoundError:
        return None
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return Scratch(parent) if own else None


def lock_within(
    file: IO[str], seconds: float, of_what: str, say: Callable[[str], None] = lambda _: None
) -> None:
    """Lock an open file for this process alone. Raises Failed where others hold the lock for `seconds`."""
    end = time.monotonic() + seconds
    patience = Patience(say, f"another run has {of_what}")
    while not _try_to_lock(file, fcntl.LOCK_EX):
        if time.monotonic() >= end:
            raise Failed(
                f"Another run has held {of_what} for {seconds:.0f} s (the lock is {file.name}): wait until "
                "it has finished, or end it (`fuser` or `lsof` shows its process), then try again."
            )
        patience.tell()
        time.sleep(0.02)


def _try_to_lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(lock: Path) -> bool:
    """Return True while a process has the file locked. Several processes can call this at the same time."""
    try:
        with lock.open() as file:
            return not _try_to_lock(file, fcntl.LOCK_SH)
    except OSError:
        return True
