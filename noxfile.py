"""Sessions: lint, tests, e2e, kills, bench. `nox` alone runs the first two.

They run in the environment that nox is installed in (requirements-dev.txt): one install, no second one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
SOURCES = ("tasks.py", "noxfile.py", "manage.py", "scripts", "demo", "tests")
# Tests and benchmarks deploy to the sandbox, in CI too, and say so.
SANDBOX = {"DEPLOY_TARGET": "sandbox"}


def _python(session: nox.Session, *words: str, env: dict[str, str] | None = None) -> None:
    session.run(sys.executable, "-m", *words, env=env, external=True)


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Run ruff, mypy and the Dockerfile's linter."""
    _python(session, "ruff", "check", *SOURCES)
    _python(session, "ruff", "format", "--check", *SOURCES)
    _python(session, "mypy", *SOURCES)
    session.run(str(Path(sys.executable).with_name("hadolint")), "Dockerfile", external=True)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Run all tests: real Postgres, real Redis, real Copilot.

    Each file's tests run in order, several files at once: two more than there are cores, since the
    end-to-end tests wait more than they work.
    """
    words = ("--dist", "loadfile", "--no-loadscope-reorder", *session.posargs)
    _python(session, "pytest", "-n", str((os.cpu_count() or 1) + 2), *words, env=SANDBOX)


@nox.session(python=False)
def e2e(session: nox.Session) -> None:
    """Run the end-to-end tests alone: deploy, redeploy, fail and tear down, on the embedded AWS."""
    _python(session, "pytest", "-m", "e2e", *session.posargs, env=SANDBOX)


@nox.session(python=False)
def kills(session: nox.Session) -> None:
    """Kill 60 processes at random moments, or `-- --count N`, and judge what the next task makes of it."""
    _python(session, "tests.kills", *session.posargs, env=SANDBOX)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- deploy`. Prints a table and JSON; asserts nothing."""
    _python(session, "tests.bench", *session.posargs, env=SANDBOX)
