"""Sessions: check. What is checked needs no AWS account."""

from __future__ import annotations

import sys

import nox


@nox.session(python=False)
def check(session: nox.Session) -> None:
    """Check the Copilot manifests, in the environment that nox is installed in."""
    session.run(sys.executable, "-m", "invoke", "check", *session.posargs, external=True)
