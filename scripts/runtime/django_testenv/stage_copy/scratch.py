"""Make a temporary folder for one copy. If the copy is killed, the next copy removes the folder.

The tasks and the sandbox have such a module too: the three parts may not import each other.
"""

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
    """Make a folder and remove it afterwards; first remove the folders of killed copies. Raises OSError."""
    parent = Path(tempfile.gettempdir())
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another copy removes it too, or is ending
            if _is_abandoned(folder):
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        folder = Path(name)
        with (folder / f"{_LOCK}~").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / f"{_LOCK}~").rename(folder / _LOCK)  # a lock file under this name is already held
            yield folder


def _is_abandoned(folder: Path) -> bool:
    """Return True if the folder is this user's and its copy has ended, which frees the lock."""
    if folder.is_symlink() or folder.lstat().st_uid != os.geteuid() or not (folder / _LOCK).is_file():
        return False
    with (folder / _LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
