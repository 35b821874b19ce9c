"""Runs a step of a build, or another command of a branch's, in a file system of its own where that goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox.agent import filesystem
from copilot_sandbox.boot import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PROBE_SECONDS = 30
_REFUSED = 126  # as a shell says of a program that it may not run


@contextmanager
def confined(
    words: Sequence[str], *, readable: Sequence[Path], writable: Sequence[Path]
) -> Iterator[list[str]]:
    """Give a command line that runs `words` where nothing else of this user's is, its /tmp included.

    Where the system has no namespaces it is `words` as they are. The working folder has to be in one of those
    that are shown.
    """
    if obstacle() is not None:
        yield list(words)
        return
    with tempfile.TemporaryDirectory(prefix="copilot-sandbox-step-") as scratch:
        yield _command(
            filesystem.Shown(
                [*map(str, readable), *filesystem.interpreter()],
                [str(each) for each in writable],
                hidden(),
                scratch,
            ),
            words,
        )


def hidden() -> list[str]:
    """Return the folders of the user's that system folders may hold."""
    return sorted({str(Path.home()), str(Path.cwd())} - {"/"})


@cache
def obstacle() -> str | None:
    """Return why this system gives no file system of its own; None where it does."""
    if sys.platform != "linux":
        return "this system has no namespaces"
    with tempfile.TemporaryDirectory(prefix="copilot-sandbox-probe-") as scratch:
        done = subprocess.run(
            _command(
                filesystem.Shown(filesystem.interpreter(), [], [], scratch), [sys.executable, "-ISc", ""]
            ),
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
        )
    lines = done.stderr.strip().splitlines() or ["for an unknown reason"]
    return lines[-1] if done.returncode else None


def _command(shown: filesystem.Shown, words: Sequence[str]) -> list[str]:
    return [*bare("copilot_sandbox.agent.confined", "main"), json.dumps(shown), *words]


def main(arguments: list[str]) -> None:
    """Go into the file system that the first argument describes, and become the rest."""
    shown, *words = arguments
    folder = Path.cwd()
    try:
        filesystem.enter(filesystem.Shown(*json.loads(shown)), network=True)
        os.chdir(folder if folder.is_dir() else "/")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(_REFUSED)
    os.execvp(words[0], words)  # noqa: S606 -- what it was told to run
