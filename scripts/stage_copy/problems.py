"""What can go wrong with a copy, each kind with the exit code the command ends in."""

from __future__ import annotations

from typing import ClassVar


class CopyError(Exception):
    """What happened, why, and what to do next, in one line; never with a password in it."""

    exit_code: ClassVar[int] = 4


class Misconfigured(CopyError):
    """A setting is missing; nothing was started."""

    exit_code = 2


class Refused(CopyError):
    """A guard said no; nothing was touched."""

    exit_code = 3


class Failed(CopyError):
    """A server or one of Postgres's tools failed; the target is as it was."""

    exit_code = 4
