"""The errors that a user sees, with the exit codes of `copilot-sandbox`.

SandboxError
  · WorkspaceError (2): a setting, a manifest or a Dockerfile is wrong; nothing was started
  · Failed (4): a command, or a part of the sandbox, failed
"""

from __future__ import annotations

from typing import ClassVar

# How to install a missing package of the sandbox again.
REINSTALL = (
    "pip install -r requirements-sandbox.txt (requirements-testenv.txt in an adopted project), or install "
    "copilot-sandbox again"
)


class SandboxError(Exception):
    """A message for the user: what happened, why, and the next step. It is shown without a traceback."""

    exit_code: ClassVar[int] = 4


class WorkspaceError(SandboxError):
    """A setting, a manifest or a Dockerfile is wrong; nothing was started."""

    exit_code = 2


class Failed(SandboxError):
    """A command, or a part of the sandbox, failed."""

    exit_code = 4
