"""Where the environments of images lie: in a cache of the user's that all clones share, by digest."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox.errors import Failed
from copilot_sandbox.private import own_folder

if TYPE_CHECKING:
    from collections.abc import Collection

MARKER = ".complete"  # the file that says that an environment is; its time says when it was last used
_UNUSED_SECONDS = 30 * 24 * 3600.0


def venv_folder(state_dir: Path, digest: str) -> Path:
    """Return where an environment lies; see `share`."""
    return (state_dir / "venvs").resolve() / digest


def share(state_dir: Path) -> None:
    """Keep this sandbox's environments in the user's cache, which all clones of the project share.

    Where that folder cannot be made, or is not this user's alone, they stay in the sandbox's own folder.
    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    link, given = state_dir / "venvs", os.environ.get("XDG_CACHE_HOME", "")
    if link.is_dir():
        return
    try:
        cache = (Path(given) if given.startswith("/") else Path.home() / ".cache") / "copilot-sandbox"
        own_folder(cache)
        own_folder(cache / "venvs")
        link.unlink(missing_ok=True)  # the user has emptied the cache that it led to
        link.symlink_to(cache / "venvs")
    except (OSError, RuntimeError, Failed):
        return


def use(folder: Path) -> bool:
    """Return True if the environment is complete, and note that it is in use: see `forget_unused`."""
    try:
        os.utime(folder / MARKER)
    except FileNotFoundError:
        return False
    return True


def forget_unused(folder: Path, keep: Collection[str]) -> None:
    """Remove the environments in a folder that nobody has used for a month, but those of these digests."""
    for venv in folder.glob("*"):
        try:
            old = time.time() - (venv / MARKER).stat().st_mtime > _UNUSED_SECONDS
        except OSError:  # one that is being made, or was cut off: whoever needs it makes it anew
            continue
        if old and venv.name not in keep:
            shutil.rmtree(venv, ignore_errors=True)
            venv.with_name(f"{venv.name}.lock").unlink(missing_ok=True)
