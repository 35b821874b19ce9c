"""The errors of a copy, each with the exit code of the command."""

from __future__ import annotations

from typing import ClassVar


class CopyError(Exception):
    """An error that says what happened, why, and what to do next, in one line without any secret or row.

    It has no context: the server's error that led to it may quote a row.
    """

    exit_code: ClassVar[int] = 4

    @property  # it hides the interpreter's own field: programs that show errors read it by name
    def __context__(self) -> None:
        """Return None."""

    @__context__.setter
    def __context__(self, _: BaseException | None) -> None:
        """Keep nothing."""


class Misconfigured(CopyError):
    """A setting is missing or wrong; nothing was started."""

    exit_code = 2


class Refused(CopyError):
    """A guard refused; nothing was changed."""

    exit_code = 3


class Failed(CopyError):
    """A server or a Postgres tool failed; the target is unchanged."""

    exit_code = 4
