"""Sessions: lint, tests, quick, e2e, nightly, runtime, kills, bench. `nox` alone runs the first two.

All but `runtime` run in the environment that nox is installed in (requirements-dev.txt): one install, no
second one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
LINTED = ("tasks.py", "noxfile.py", "manage.py", "scripts", "demo", "tests")
# The three import packages lie here; nothing is installed.
SOURCES = ("scripts", "scripts/sandbox", "scripts/runtime")
PACKAGES = {"PYTHONPATH": os.pathsep.join(str(Path(each).resolve()) for each in SOURCES)}
# Tests of what starts no server, by folder.
QUICK = tuple(
    f"tests/{each}"
    for each in (
        *("aws", "ci", "core", "costs", "deploys", "page", "state"),
        *("test_documents.py", "test_layout.py", "test_session.py", "test_tasks.py"),
    )
)
# Tests and benchmarks deploy to the sandbox, in CI too, and say so.
SANDBOX = {"DEPLOY_TARGET": "sandbox", **PACKAGES}


def _python(session: nox.Session, *words: str, env: dict[str, str] | None = None) -> None:
    session.run(sys.executable, "-m", *words, env=env, external=True)


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Run ruff, mypy and the Dockerfile's linter."""
    _python(session, "ruff", "check", *LINTED)
    _python(session, "ruff", "format", "--check", *LINTED)
    _python(session, "mypy", *LINTED)
    # The oldest Python that mypy knows; tests/runtime/test_compatibility.py holds 3.9.
    _python(session, "mypy", "--python-version", "3.10", "scripts/runtime")
    session.run(
        str(Path(sys.executable).with_name("lint-imports")),
        env=PACKAGES,
        external=True,
    )
    session.run(str(Path(sys.executable).with_name("hadolint")), "Dockerfile", external=True)


@nox.session(python=False)
def quick(session: nox.Session) -> None:
    """Run ruff, mypy, the order of the packages, and the tests that start no server: under a minute."""
    _python(session, "ruff", "check", *LINTED)
    _python(session, "mypy", *LINTED)
    session.run(str(Path(sys.executable).with_name("lint-imports")), env=PACKAGES, external=True)
    _python(session, "pytest", "-q", "-n", str(os.cpu_count() or 1), *QUICK, *session.posargs, env=SANDBOX)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Run the tests: real Postgres, real Redis, real Copilot. What `nightly` runs is left out.

    Each file's tests run in order, several files at once: three more than there are cores, since the
    end-to-end tests wait more than they work.
    """
    _several_files_at_once(session, "not nightly")


@nox.session(python=False)
def nightly(session: nox.Session) -> None:
    """Run every further case of what `tests` shows once: all deploys and sweeps, and more drawn examples."""
    _several_files_at_once(session, "nightly or hypothesis or e2e", "--hypothesis-profile=nightly")


def _several_files_at_once(session: nox.Session, marked: str, *more: str) -> None:
    words = ("--dist", "loadfile", "--no-loadscope-reorder", "-m", marked, *more, *session.posargs)
    _python(session, "pytest", "-n", str((os.cpu_count() or 1) + 3), *words, env=SANDBOX)


@nox.session(python=False)
def e2e(session: nox.Session) -> None:
    """Run the end-to-end tests alone: deploy, redeploy, fail and tear down, on the embedded AWS."""
    _python(session, "pytest", "-m", "e2e", *session.posargs, env=SANDBOX)


@nox.session(venv_backend="uv|virtualenv")
@nox.parametrize(("python", "django"), [("3.9", "3.2"), ("3.9", "4.2"), ("3.12", "5.2")])
def runtime(session: nox.Session, django: str) -> None:
    """Try django-testenv in clean environments, from the oldest Python and Django that it supports on."""
    session.install("./scripts/runtime", f"Django~={django}.0", "psycopg2-binary")
    apart = str(Path(session.create_tmp()).resolve() / "libraries")
    session.install("--target", apart, "psycopg[binary]>=3.2")
    python = str(Path(session.bin) / "python")
    _python(session, "tests.runtime.smoke", python, apart, env={"PYTHONPATH": ".:scripts:scripts/sandbox"})


@nox.session(python=False)
def kills(session: nox.Session) -> None:
    """Kill 60 processes at random moments, or `-- --count N`, and judge what the next task makes of it."""
    _python(session, "tests.kills", *session.posargs, env=SANDBOX)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Measure: `nox -s bench -- deploy`. Prints a table and JSON; asserts nothing."""
    _python(session, "tests.bench", *session.posargs, env=SANDBOX)
