"""Keep results that are slow to compute and equal in every clone: by digest, in the user's cache folder.

The sandbox's images/venv_cache.py does the same for its packages: the tasks and the sandbox may not import
each other. Source of the folder: https://specifications.freedesktop.org/basedir-spec/latest/
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

_UNUSED_SECONDS = 30 * 24 * 3600.0
_MOST = 2000  # entries of a kind; those that were used last stay


def folder(kind: str) -> Path:
    """Return the cache folder of one kind; create it, and delete entries unused for a month, or too many.

    Raises OSError where the folder cannot be created, or another user may write to it.
    """
    configured = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(configured) if configured.startswith("/") else Path.home() / ".cache"
    entries = cache / "copilot-testenv" / kind
    for path in (entries.parent, entries):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{path} is not a folder that this user alone may write to")
    _delete_unused(entries)
    return entries


def use(entry: Path) -> bool:
    """Return True if the entry exists, and set its time of last use to now."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return False
    return True


def _delete_unused(entries: Path) -> None:
    used: list[tuple[float, Path]] = []
    for entry in entries.iterdir():
        with suppress(FileNotFoundError):  # another run has removed it
            used.append((entry.lstat().st_mtime, entry))
    for number, (moment, entry) in enumerate(sorted(used, reverse=True)):
        old = number >= _MOST or time.time() - moment > _UNUSED_SECONDS
        if old and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif old:
            entry.unlink(missing_ok=True)
