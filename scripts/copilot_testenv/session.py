"""How a run goes: with which settings, by which door to processes, and to which AWS."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.copilot import commands, disposable, manifest
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import display, git, scratch
from copilot_testenv.core.errors import Failed, Held, SettingsError, UsageError, UserError
from copilot_testenv.core.polling import until
from copilot_testenv.core.process import Shell, Variables, output_of
from copilot_testenv.core.settings import Settings
from copilot_testenv.core.terminal import Patience, Report, confirm

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack

_LONGEST_WHO = 100  # letters of a person's name
# The test database may be emptied: what copy_stage_db asks a person to say twice is said once, here.
_MARK_COMMAND = "python manage.py copy_stage_db --mark-disposable test --confirm test"
IN_SANDBOX = "Target: sandbox, the AWS embedded on this machine; nothing leaves it."


@dataclass(frozen=True)
class Target:
    """Where this run's commands go."""

    variables: Variables
    copilot: Copilot
    aws: Aws

    def for_slot(self, settings: Settings) -> Target:
        """Return the same target, for another slot of the environment."""
        return replace(self, copilot=replace(self.copilot, settings=settings))


@dataclass(frozen=True)
class Session:
    """What a workflow works with."""

    settings: Settings
    shell: Shell
    report: Report
    environ: Mapping[str, str]

    def announce(self) -> None:
        """Say where the commands of a run go, as its first line."""
        if self.settings.target == "sandbox":
            self.report.say(IN_SANDBOX)
        else:
            self.report.say("Target: aws, the account of your AWS credentials.")

    def enter(self, *, start: bool = True, profile: str = "") -> Target | None:
        """Return the place this run's commands go to; the sandbox is started when it does not run.

        It is None where it does not run and `start` is off. Raises Failed, SettingsError.
        """
        from copilot_testenv.aws import Aws  # noqa: PLC0415 - boto3 takes a tenth of a second, `--help` none

        self.clear_up()
        variables = self.child_environment(start=start)
        if variables is None:
            return None
        if profile and self.settings.target == "aws":
            variables = {**variables, "AWS_PROFILE": profile}
        here = Copilot(self.settings, variables, self.settings.root)
        if self.settings.target == "sandbox":
            return Target(variables, here, Aws(variables))
        found = commands.environment(
            output_of(self.shell, here.environments(), "Asking Copilot for the environments"),
            self.settings.test_env,
        )
        aws = Aws(variables, found.region if found else None)
        account = aws.account()
        if found and account != found.account:
            raise SettingsError(
                f"Your AWS credentials are of account {account}, and Copilot has the environment "
                f"{self.settings.test_env} in account {found.account}: use that account's credentials."
            )
        self.report.say(f"Account {account}, {aws.region}.")
        return Target(variables, here, aws)

    def enter_to_change(self, *, start: bool = False) -> Target | None:
        """Return the target, with the right to change what is deployed there: all changes begin here.

        In an account the environment's mark is asked for before Copilot is started. None as for `enter`.
        Raises Refused for an environment that does not say that it is disposable, and what `enter` raises.
        """
        from copilot_testenv.aws import Aws  # noqa: PLC0415 - see `enter`

        settings = self.settings
        marked = disposable.require(settings, Aws({})) if settings.target == "aws" else ""
        target = self.enter(start=start)
        if target is None:
            return None
        marked = marked or disposable.require(settings, target.aws)
        return replace(target, copilot=replace(target.copilot, marked=marked))

    def clear_up(self) -> None:
        """Remove the folders of runs that were killed. A failure is said and keeps nothing from going on."""
        try:
            git.tidy(self.shell, self.settings.root)
            scratch.clear_temporaries()
        except (UserError, OSError) as error:
            self.report.say(f"(What an earlier run left could not be removed: {error})")

    def carrying(self, target: Target, name: str) -> tuple[Session, Target]:
        """Return the slot that carries a branch, its own or the shared one; without a name the shared one.

        Raises Failed where neither does.
        """
        if not name:
            return self, target
        own = self.settings.isolated_for(git.slug(git.check_name(name)))
        if target.aws.stack(own.stack_name):
            return replace(self, settings=own), target.for_slot(own)
        shared = target.aws.stack(self.settings.stack_name)
        if shared and shared.tags.get("branch") == name:
            return self, target
        raise Failed(
            f"{name} is not deployed: `invoke status` shows what is, `invoke deploy-test --branch` deploys."
        )

    def child_environment(self, *, start: bool) -> Variables | None:
        """Return the variables that point a child process at this run's AWS: the only door to the sandbox."""
        if self.settings.target == "aws":
            return {}
        lifecycle = _lifecycle()
        with _as_ours():
            found: Variables | None = lifecycle.enter(
                self.settings.root,
                self.report.say,
                functools.partial(_workspace, self) if start else None,
                filled=True,
            )
        return found

    @contextmanager
    def rendering_environment(
        self, environments: Sequence[str], domain: str, *, alone: bool
    ) -> Iterator[tuple[Variables, Mapping[str, str]]]:
        """Yield the variables that point Copilot at an embedded AWS with these environments.

        With them, the reason why an environment could not be made there. `alone`: not in the running sandbox.
        Raises Refused where Copilot must not read this workspace, SettingsError where the sandbox is not
        installed, and Failed.
        """
        settings = self.settings
        # Copilot makes environments out of this workspace, whose addons and overrides are left out.
        branch_files.require(settings.root, settings, os.environ, branch_files.Scope((), paths=False))
        lifecycle, described = _lifecycle(), _described(settings)
        with _as_ours(), lifecycle.rendering(described, environments, domain, alone=alone) as found:
            yield found

    def sandbox(self, *, stop: bool, reset: bool, yes: bool, plan: bool) -> None:
        """Start the sandbox or say that it runs, stop it, wipe it."""
        if stop and reset:
            raise UsageError("Say --stop or --reset: a reset stops it too.")
        root, say = self.settings.root, self.report.say
        say(IN_SANDBOX)
        if plan:
            kept = root / ".sandbox"
            would = f"delete all it keeps in {kept}" if reset else "stop it" if stop else "start it"
            say(f"The sandbox {'runs' if _lifecycle().is_alive(root) else 'does not run'}. Would {would}.")
            return
        self.clear_up()
        if reset:
            confirm(self.report, f"Stop the sandbox and delete all it keeps in {root / '.sandbox'}?", yes=yes)
        lifecycle = _lifecycle()
        with _as_ours():
            if reset:
                lifecycle.reset(root, say)
            elif stop:
                lifecycle.stop(root, say)
            else:
                lifecycle.start(root, say, functools.partial(_workspace, self))

    def check_workspace(self) -> None:
        """Raise SettingsError unless the manifest has a block for the test environment; start nothing."""
        found = manifest.read(self.settings.manifest)
        shown = self.settings.manifest.relative_to(self.settings.root)
        manifest.check_environment(found, self.settings.test_env, str(shown))

    def who(self) -> str:
        """Return who asks: the CI's actor, else Git's e-mail address, else the user on this machine."""
        for name in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BITBUCKET_STEP_TRIGGERER_UUID"):
            if self.environ.get(name):
                return display.line(self.environ[name], _LONGEST_WHO)
        email = self.shell.run(git.command(self.settings.root, "config", "user.email")).stdout.strip()
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container's user without a name
            user = str(os.getuid())
        return display.line(email or f"{user}@{socket.gethostname()}", _LONGEST_WHO)

    def settled(self, target: Target, *, wait: bool) -> Stack | None:
        """Return the slot's stack at rest.

        With `wait`, after the change that a run left behind when it was killed.

        Raises Held where CloudFormation is at work on it, or still is after DEPLOY_TIMEOUT.
        """
        patience = Patience(self.report.say, f"the stack {self.settings.stack_name} is being changed")
        stack = self.at_rest(target, seconds=self.settings.timeout if wait else 0, patience=patience)
        require_settled(stack)
        return stack

    def at_rest(self, target: Target, *, seconds: float, patience: Patience) -> Stack | None:
        """Return the slot's stack when CloudFormation has stopped changing it, or after that many seconds."""
        return until(
            lambda: target.aws.stack(self.settings.stack_name),
            lambda stack: not stack or not stack.changing,
            seconds=seconds,
            every=0.2 if self.settings.target == "sandbox" else 5,
            tell=patience.tell,
        )


def sandbox_runs(image: str) -> bool:
    """Return True if the sandbox can run a public image."""
    found: bool = _lifecycle().runs(image)
    return found


def _lifecycle() -> ModuleType:
    try:
        from copilot_sandbox import lifecycle  # noqa: PLC0415 - a deploy in CI does not install the sandbox
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"The sandbox is not installed ({error.name} is missing): pip install -r "
            "requirements-sandbox.txt (requirements-testenv.txt in an adopted project), or set "
            "DEPLOY_TARGET=aws."
        ) from error
    return lifecycle


@contextmanager
def _as_ours() -> Iterator[None]:
    """Raise an error of the sandbox as one of these tasks', with the same exit code."""
    from copilot_sandbox.errors import SandboxError  # noqa: PLC0415 - see _lifecycle

    try:
        yield
    except SandboxError as error:
        kind = SettingsError if error.exit_code == SettingsError.exit_code else Failed
        raise kind(str(error)) from error


def _described(settings: Settings) -> Any:
    """Return the workspace as the sandbox wants it told.

    The test environment there is disposable from the start.
    """
    from copilot_sandbox.workspace import Workspace  # noqa: PLC0415 - see _lifecycle

    name = disposable.IN_SANDBOX
    return Workspace(
        settings.root,
        settings.app,
        settings.service,
        settings.manifest_variables,
        {name: {disposable.TAG: disposable.value(settings.app, name)}},
    )


@contextmanager
def _workspace(session: Session) -> Iterator[Any]:
    """Yield what the sandbox is started for: HEAD's image fills staging, from a worktree that lasts as long.

    Raises Refused, SettingsError where a file of HEAD or of the workspace is not as it must be, and Failed.
    """
    from copilot_sandbox.workspace import Stage  # noqa: PLC0415 - see _lifecycle

    settings, root = session.settings, session.settings.root
    branch_files.require(root, settings, os.environ, branch_files.Scope((), paths=False))
    head = output_of(session.shell, git.command(root, "rev-parse", "HEAD"), "Looking up HEAD").strip()
    # The image only fills databases of the sandbox's own, and copy_stage_db asks which environment it is for.
    of_head = git.Branch("HEAD", head)
    with git.worktree(session.shell, root, of_head, environment=settings.test_env) as folder:
        scope = branch_files.Scope((settings.base,), environments=False)
        branch_files.require(folder, settings, os.environ, scope, "HEAD")
        written = folder / settings.manifest.relative_to(root)
        build = manifest.build_of(manifest.read(written), str(written))
        if not (folder / build.dockerfile).is_file():
            raise SettingsError(
                f"The commit {head[:12]} has no {build.dockerfile}, and a deployment is made of a commit: "
                "commit it."
            )
        stage = Stage(
            str(folder / build.context),
            str(folder / build.dockerfile),
            settings.stage_command,
            settings.stage_megabytes,
            _MARK_COMMAND,
            # As in the test environment: elsewhere an adopted project does not look at DATABASE_URL.
            {"COPILOT_ENVIRONMENT_NAME": settings.test_env},
        )
        yield replace(_described(settings), stage=stage)


def require_settled(stack: Stack | None) -> None:
    """Raise Held where CloudFormation is at work on the stack."""
    if stack and stack.changing:
        by = stack.tags.get("deployed_by") or "somebody"
        raise Held(
            f"The stack {stack.name} is {stack.status}: a deploy or teardown is under way there "
            f"(last deployed by {by}). Wait until it is through; `invoke status` shows it."
        )
