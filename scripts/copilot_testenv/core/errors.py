"""Define the errors that a user can see, each with its exit code.

Exit codes: 0 success, 1 wrong usage (also Invoke's own code), 2 a setting or manifest is wrong, 3 refused by
a guard, 4 a command or AWS failed, or nobody can use what was deployed, 5 another run holds the slot, 130
interrupted.
"""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """An error whose message says what happened, why, and what to do next; the user sees no traceback."""

    exit_code: ClassVar[int] = 4


class UsageError(UserError):
    """A flag is missing, or its value is not valid."""

    exit_code = 1


class SettingsError(UserError):
    """A setting or a manifest is wrong; nothing was started."""

    exit_code = 2


def malformed(name: str, text: str) -> UserError:
    """Return the error for the value of a setting, or of a flag if `name` begins with two dashes."""
    return UsageError(text) if name.startswith("--") else SettingsError(text)


class Refused(UserError):
    """A guard refused the run; nothing was changed."""

    exit_code = 3


class Failed(UserError):
    """A command or AWS failed."""

    exit_code = 4


class Held(UserError):
    """Somebody else holds the slot."""

    exit_code = 5


class Interrupted(UserError):
    """The user pressed Ctrl-C; the operation under way has settled."""

    exit_code = 130
