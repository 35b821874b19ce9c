"""Reads `.sandbox.env`, in which a user gives the sandbox real values for secrets.

The file lies beside `copilot/`, and Git ignores it. Only this user's own regular file is read: a branch that
brings a link of this name gets nothing.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from copilot_sandbox.private import FILE_OF_SECRETS as FILE

_LARGEST = 1_000_000  # bytes


def read(root: Path) -> tuple[Mapping[str, str], str]:
    """Return the file's values by name, and a warning or nothing. A missing file has no values.

    A name is a variable's, an SSM parameter's path, a secret's name or an export's.
    """
    file = root / FILE
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        return {}, f"{FILE} is not read, because it is a link or cannot be opened ({error.strerror})"
    with open(descriptor, "rb") as opened:  # noqa: PTH123 - it is a descriptor
        state = os.fstat(opened.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
            return {}, f"{FILE} is not read, because it is not a regular file of yours"
        text = opened.read(_LARGEST).decode(errors="replace")
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    others = state.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    warning = f"other users may read {FILE}: run `chmod 600 {FILE}`" if others else ""
    return {name: value for name, value in values.items() if value is not None}, warning
