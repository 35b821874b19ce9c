"""Define the errors of a copy, each kind with the exit code that the command ends in."""

from __future__ import annotations

from typing import ClassVar


class CopyError(Exception):
    """An error that says what happened, why, and what to do next, in one line without any secret or row.

    It has no context: what it was made of, a server's own error, may quote a row.
    """

    exit_code: ClassVar[int] = 4

    @property  # of the interpreter's own field: what shows errors reads it by name
    def __context__(self) -> None:
        """Return None."""

    @__context__.setter
    def __context__(self, _: BaseException | None) -> None:
        """Keep nothing."""


class Misconfigured(CopyError):
    """A setting is missing; nothing was started."""

    exit_code = 2


class Refused(CopyError):
    """A guard said no; nothing was touched."""

    exit_code = 3


class Failed(CopyError):
    """A server or one of Postgres's tools failed; the target is as it was."""

    exit_code = 4
