"""The folder of images' environments: a cache of the user that all clones share, by digest."""

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

MARKER = ".complete"  # its existence marks a complete environment, its time the last use
_UNUSED_SECONDS = 30 * 24 * 3600.0


def venv_folder(state_dir: Path, digest: str) -> Path:
    """Return the path of an environment; see `share`."""
    return (state_dir / "venvs").resolve() / digest


def share(state_dir: Path) -> None:
    """Put this sandbox's environments into the user's cache, which all clones of the project share.

    If that folder cannot be created, or others may use it, they stay in the sandbox's own folder.
    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    link, xdg = state_dir / "venvs", os.environ.get("XDG_CACHE_HOME", "")
    if link.is_dir():
        return
    try:
        cache = (Path(xdg) if xdg.startswith("/") else Path.home() / ".cache") / "copilot-sandbox"
        own_folder(cache)
        own_folder(cache / "venvs")
        link.unlink(missing_ok=True)  # its target is missing, because the user has emptied the cache
        link.symlink_to(cache / "venvs")
    except (OSError, RuntimeError, Failed):
        return


def mark_used(folder: Path) -> bool:
    """Return True if the environment is complete, and record the use for `delete_unused`."""
    try:
        os.utime(folder / MARKER)
    except FileNotFoundError:
        return False
    return True


def delete_unused(folder: Path, keep: Collection[str]) -> None:
    """Delete the environments in a folder that were not used for a month, except those in `keep`."""
    for venv in folder.glob("*"):
        try:
            is_old = time.time() - (venv / MARKER).stat().st_mtime > _UNUSED_SECONDS
        except OSError:  # it is unfinished; a build that needs it creates it again
            continue
        if is_old and venv.name not in keep:
            shutil.rmtree(venv, ignore_errors=True)
            venv.with_name(f"{venv.name}.lock").unlink(missing_ok=True)
