"""Check the conditions for a change: the programs, the environment, Docker, the reason given."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from copilot_testenv.aws.stack import tag_value
from copilot_testenv.core import child_variables, display
from copilot_testenv.core.errors import SettingsError, UsageError
from copilot_testenv.core.process import Command

if TYPE_CHECKING:
    from copilot_testenv.session import Session, Target


def preflight(session: Session, target: Target, *, builds: bool) -> None:
    """Check the conditions for the first change. Raises SettingsError with the next step, or Failed."""
    checks = [
        session.deployer(target).require_programs,
        lambda: _check_known(session, target),
    ]
    if session.settings.target == "aws" and builds:
        checks.append(lambda: _check_docker(session))
    with ThreadPoolExecutor(len(checks)) as pool:
        for done in [pool.submit(check) for check in checks]:
            done.result()


def _check_known(session: Session, target: Target) -> None:
    settings = session.settings
    names = known(session, target)
    if settings.test_env not in names:
        raise SettingsError(
            f"Copilot knows no environment {settings.test_env!r} in the application {settings.app!r} "
            f"(it knows {', '.join(names) or 'none'}): create it once with `invoke create-env`."
        )


def known(session: Session, target: Target) -> list[str]:
    """Return the names of the application's environments. Raises Failed."""
    return [environment.name for environment in session.deployer(target).environments()]


def _check_docker(session: Session) -> None:
    if not shutil.which("docker"):
        raise SettingsError(
            "Docker is not installed, and with DEPLOY_TARGET=aws Copilot builds the image with it: "
            "install Docker, or let CI deploy."
        )
    words = ("docker", "info", "--format", "{{.ServerVersion}}")
    answer = session.shell.run(Command(words, inherits=child_variables.DOCKER, timeout=20))
    if not answer.ok:
        why = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise SettingsError(f"Docker is installed but its engine does not answer ({why}): start Docker.")


def reason(why: str) -> str:
    """Return the reason for a deployment as a text that is safe to show. Raises UsageError, SettingsError."""
    if display.has_secret(why):
        raise UsageError(
            "--why holds an address with a password, or a secret of your settings: everybody who may read "
            "the stack can read it. Leave it out."
        )
    shown = display.line(why)
    tag_value(shown)
    return shown
