"""The test environment: where commands run, what must hold before anything starts, and its workflows."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING

from scripts import (
    branch,
    copilot,
    display,
    disposable,
    manifest,
    scratch,
)
from scripts.command import Shell, Variables, output_of
from scripts.copilot import Copilot
from scripts.errors import Failed, Held, SettingsError, UserError
from scripts.polling import until
from scripts.report import Patience, Report
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Aws
    from scripts.stack import Stack

_LONGEST_WHO = 100  # letters of a person's name
IN_SANDBOX = "Target: sandbox, the AWS embedded on this machine; nothing leaves it."


@dataclass(frozen=True)
class Bench:
    """What a workflow works with."""

    settings: Settings
    shell: Shell
    report: Report
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Where this run's commands go."""

    variables: Variables
    copilot: Copilot
    aws: Aws


def announce(bench: Bench) -> None:
    """Say where the commands of a run go, as its first line."""
    if bench.settings.target == "sandbox":
        bench.report.say(IN_SANDBOX)
    else:
        bench.report.say("Target: aws, the account of your AWS credentials.")


def enter(bench: Bench, *, start: bool = True, profile: str = "") -> Place | None:
    """Return the place this run's commands go to; the sandbox is started when it does not run.

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
    """Return the place, with the right to change what is deployed there: each task that does so enters here.

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
    """Return the same place, for another slot of the environment."""
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
    """Return the variables that point a child process at this run's AWS: the only door to the sandbox."""
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
    """Return True if the sandbox can run a public image."""
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
