"""Keep a folder for as long as a copy takes; the next copy removes it where this one is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "stage-copy-"
_LOCK = "lock"


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder and remove it afterwards, with those of copies that were killed. Raises OSError."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another copy removes it too, or just ends
            if _is_left(folder):
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / f"{_LOCK}~").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{_LOCK}~").rename(folder / _LOCK)  # whoever sees it finds it held
            yield folder


def _is_left(folder: Path) -> bool:
    """Return True where it is ours and the copy that made it has ended: the system has freed its lock."""
    if folder.is_symlink() or folder.lstat().st_uid != os.geteuid() or not (folder / _LOCK).is_file():
        return False
    with (folder / _LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
