"""Files that only this user may read, from the moment they are there."""

from __future__ import annotations

import os
from pathlib import Path

from copilot_sandbox.errors import Failed


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file completely or not at all, also where several processes write it at once."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}~")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:  # noqa: PTH123 - Path cannot open with a mode
        file.write(text)
    unfinished.replace(path)


def own_folder(path: Path) -> None:
    """Make a folder of mode 0700, or close one that is there to everybody else.

    Raises Failed where it is a link, no folder, or somebody else's.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != os.geteuid():
        raise Failed(f"{path} is a link or belongs to somebody else: the sandbox does not use it. Remove it.")
    if found.st_mode & 0o077:
        path.chmod(0o700)
