"""The errors a user can see, each with the exit code that `copilot-sandbox` ends in.

SandboxError
  · WorkspaceError (2): a setting, a manifest or a Dockerfile is wrong; nothing was started
  · Failed (4): a command, or a part of the sandbox, failed
"""

from __future__ import annotations

from typing import ClassVar

# What brings back a package that the sandbox needs.
REINSTALL = (
    "pip install -r requirements-sandbox.txt (requirements-testenv.txt in an adopted project), or install "
    "copilot-sandbox anew"
)


class SandboxError(Exception):
    """What happened, why, and what to do next: one message, never a traceback."""

    exit_code: ClassVar[int] = 4


class WorkspaceError(SandboxError):
    """A setting, a manifest or a Dockerfile is wrong; nothing was started."""

    exit_code = 2


class Failed(SandboxError):
    """A command, or a part of the sandbox, failed."""

    exit_code = 4
