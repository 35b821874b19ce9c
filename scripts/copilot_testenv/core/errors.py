"""The errors a user can see, each with the exit code it ends in.

Exit codes: 0 done, 1 usage (Invoke's own), 2 settings or manifest wrong, 3 refused by a guard,
4 a command or AWS failed, 5 the slot is held by someone else, 130 interrupted.
"""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """What happened, why, and what to do next: one message, never a traceback."""

    exit_code: ClassVar[int] = 4


class UsageError(UserError):
    """A flag is missing or cannot be what was given."""

    exit_code = 1


class SettingsError(UserError):
    """A setting or a manifest is wrong; nothing was started."""

    exit_code = 2


class Refused(UserError):
    """A guard said no; nothing was changed."""

    exit_code = 3


class Failed(UserError):
    """A command or AWS failed."""

    exit_code = 4


class Held(UserError):
    """Somebody else holds the slot."""

    exit_code = 5


class Interrupted(UserError):
    """The user pressed Ctrl-C; what was under way has settled."""

    exit_code = 130
