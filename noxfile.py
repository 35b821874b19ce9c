"""Sessions: lint, tests, e2e, bench. `nox` alone runs lint and tests."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.error_on_missing_interpreters = True
SOURCES = ("tasks.py", "noxfile.py", "manage.py", "scripts", "demo", "tests")


def _install(session: nox.Session) -> None:
    session.install("--require-hashes", "-r", "requirements-dev.txt")


def _sandbox(session: nox.Session) -> dict[str, str]:
    """Tests and benchmarks deploy to the sandbox, in CI too, and say so."""
    return {"DEPLOY_TARGET": "sandbox", **({"CI": session.env["CI"]} if session.env.get("CI") else {})}


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff, mypy and the Dockerfile's linter."""
    _install(session)
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)
    session.run("mypy", "tasks.py", "noxfile.py", "manage.py", "scripts", "demo", "tests")
    session.run("hadolint", "Dockerfile")


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests but the long end-to-end ones: real Postgres, real Redis, real Copilot."""
    _install(session)
    session.run("pytest", "-m", "not e2e", *session.posargs, env=_sandbox(session))


@nox.session
def e2e(session: nox.Session) -> None:
    """Deploy, redeploy, fail and tear down through the tasks, on the embedded AWS."""
    _install(session)
    session.run("pytest", "-m", "e2e", *session.posargs, env=_sandbox(session))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- deploy`. Prints a table and JSON; asserts nothing."""
    _install(session)
    session.run("python", "-m", "tests.bench", *session.posargs, env=_sandbox(session))
