"""What is dear to make and the same in every clone, kept by digest in the user's cache folder.

Source of the folder: https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

_UNUSED_SECONDS = 30 * 24 * 3600.0


def folder(kind: str) -> Path:
    """Return the folder of one kind, made if need be. What nobody has used for a month is removed from it.

    Raises OSError where it cannot be made, or is somebody else's.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(given) if given.startswith("/") else Path.home() / ".cache"
    made = cache / "copilot-testenv" / kind
    for each in (made.parent, made):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(f"{each} is not a folder that this user alone may write to")
    _forget_unused(made)
    return made


def use(entry: Path) -> bool:
    """Return True if the entry is there, and note that it is in use."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    return True


def _forget_unused(made: Path) -> None:
    for entry in made.iterdir():
        try:
            old = time.time() - entry.lstat().st_mtime > _UNUSED_SECONDS
        except FileNotFoundError:  # another run has removed it
            continue
        if old and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif old:
            entry.unlink(missing_ok=True)
