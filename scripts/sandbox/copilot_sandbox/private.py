"""Files that only this user may read, from the moment they exist."""

from __future__ import annotations

import os
from pathlib import Path

from copilot_sandbox.errors import Failed

FILE_OF_SECRETS = ".sandbox.env"  # the user's, beside copilot/; `given` reads it


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file completely or not at all, even if several processes write it at once."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}~")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:  # noqa: PTH123 - Path cannot open with a mode
        file.write(text)
    temporary.replace(path)


def own_folder(path: Path) -> None:
    """Create a folder of mode 0700, or close an existing one to other users.

    Raises Failed if it is a link or belongs to another user.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = path.lstat()
    if path.is_symlink() or info.st_uid != os.geteuid():
        raise Failed(f"{path} belongs to another user or is a link: the sandbox does not use it. Remove it.")
    if info.st_mode & 0o077:
        path.chmod(0o700)
