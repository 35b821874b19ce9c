"""Connect a run: its settings, its processes, its terminal, and the AWS that it uses."""

from __future__ import annotations

import functools
import getpass
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from copilot_testenv.branch_guard import branch_files
from copilot_testenv.copilot import disposable, manifest, staging_branch
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core import checkout, display, git, scratch
from copilot_testenv.core.errors import Failed, Held, SettingsError, UsageError, UserError
from copilot_testenv.core.polling import until
from copilot_testenv.core.process import Shell, Variables
from copilot_testenv.core.settings import Settings
from copilot_testenv.core.terminal import Patience, Report, confirm
from copilot_testenv.deployers import choice

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.deployers.deployer import Deployer

_LONGEST_WHO = 100  # letters of a person's name
_MANAGE = "python manage.py"  # in an image that starts in its folder
# Mark the sandbox's test database as disposable. copy_stage_db wants the name twice, as a person would give
# it.
_MARK_COMMAND = "python manage.py copy_stage_db --mark-disposable test --confirm test"
_SECRETS = ".sandbox.env"  # the sandbox reads it: copilot_sandbox.given
IN_SANDBOX = "Target: sandbox, the AWS embedded on this machine; nothing leaves it."


@dataclass(frozen=True)
class Target:
    """The AWS that this run uses: the variables for child processes, Copilot, and AWS's API."""

    variables: Variables
    copilot: Copilot
    aws: Aws

    def for_slot(self, settings: Settings) -> Target:
        """Return the same target, for another slot of the environment."""
        return replace(self, copilot=replace(self.copilot, settings=settings))


@dataclass(frozen=True)
class Session:
    """The connections of one run: settings, shell, report and environment variables."""

    settings: Settings
    shell: Shell
    report: Report
    environ: Mapping[str, str]

    def announce(self) -> None:
        """Say which AWS this run uses, as its first line."""
        if self.settings.target == "sandbox":
            self.report.say(IN_SANDBOX)
        else:
            self.report.say("Target: aws, the account of your AWS credentials.")

    def enter(self, *, start: bool = True, profile: str = "") -> Target | None:
        """Return the target of this run's commands; start the sandbox where it is the target and not running.

        Return None where the sandbox does not run and `start` is off. Raises Failed, SettingsError.
        """
        from copilot_testenv.aws import Aws  # noqa: PLC0415 - boto3 takes a tenth of a second, `--help` none

        self.clear_up()
        variables = self.child_environment(start=start)
        if variables is None:
            return None
        if profile and self.settings.target == "aws":
            variables = {**variables, "AWS_PROFILE": profile}
        copilot = Copilot(self.settings, variables, self.settings.root)
        if self.settings.target == "sandbox":
            return Target(variables, copilot, Aws(variables))
        configured = Aws(variables)
        # Before Copilot, whose words about wrong credentials are less plain.
        account = configured.account()
        try:
            known = self.deployer(Target(variables, copilot, configured)).environments()
        except Failed:
            self._require_application(configured, account)
            raise
        environment = next((each for each in known if each.name == self.settings.test_env), None)
        aws = Aws(variables, environment.region if environment else None)
        if environment and account != environment.account:
            raise SettingsError(
                f"Your AWS credentials are of account {account}, and Copilot has the environment "
                f"{self.settings.test_env} in account {environment.account}: use that account's credentials."
            )
        self.report.say(f"Account {account}, {aws.region}.")
        return Target(variables, copilot, aws)

    def _require_application(self, aws: Aws, account: str) -> None:
        """Raise SettingsError where Copilot has no such application in the configured region."""
        app = self.settings.app
        if aws.parameter(f"/copilot/applications/{app}") is None:
            raise SettingsError(
                f"Copilot has no application {app} in account {account}, {aws.region}. If it is in another "
                "account or region, set AWS_PROFILE or AWS_REGION; else make it with Copilot: "
                f"copilot app init {app}"
            )

    def deployer(self, target: Target) -> Deployer:
        """Return what deploys, deletes and runs in the target's slot, as DEPLOY_WITH says."""
        return choice.deployer(self.shell, target.copilot, target.aws)

    def enter_to_change(self, *, start: bool = False) -> Target | None:
        """Return the target with the right to change its deployments; every changing task begins here.

        With target `aws`, read the environment's mark before `enter`, which starts Copilot: nothing is
        started for an unmarked environment. In the sandbox read it after `enter`, because its server must run
        first. Return None as `enter` does. Raises Refused for an environment that is not marked as
        disposable, and the errors of `enter`.
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
        """Remove the folders of runs that were killed. An error is only reported, and the run goes on."""
        try:
            git.tidy(self.shell, self.settings.root)
            scratch.clear_temporaries()
        except (UserError, OSError) as error:
            self.report.say(f"(The folders of an earlier run could not be removed: {error})")

    def slot_of(self, target: Target, name: str) -> tuple[Session, Target]:
        """Return this session and target for the slot of a deployed branch: its own or the shared one.

        Without a name it is the shared slot. Raises Failed where the branch is in neither.
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

    def branch_flag(self, name: str | None) -> str:
        """Return the flag that a command needs for a slot of a branch's own; empty for the shared slot."""
        return f" --branch {name}" if self.settings.slug and name else ""

    def child_environment(self, *, start: bool) -> Variables | None:
        """Return the variables that point a child process at this run's AWS; only they lead to the sandbox.

        Return None where the sandbox does not run and `start` is off.
        """
        if self.settings.target == "aws":
            return {}
        lifecycle = _lifecycle()
        with _translating_errors():
            variables: Variables | None = lifecycle.enter(
                self.settings.root,
                self.report.say,
                functools.partial(_workspace, self) if start else None,
                filled=True,
            )
        return variables

    @contextmanager
    def rendering_environment(
        self, environments: Sequence[str], domain: str, *, alone: bool
    ) -> Iterator[tuple[Variables, Mapping[str, str]]]:
        """Yield the variables that point Copilot at an embedded AWS with these environments.

        The second value maps each environment that could not be created to the reason. With `alone`, do not
        use the running sandbox. Raises Refused where Copilot must not read this workspace, SettingsError
        where the sandbox is not installed, and Failed.
        """
        settings = self.settings
        # Copilot creates the environments from this workspace, without its addons and overrides.
        branch_files.require(settings.root, settings, os.environ, branch_files.Scope((), paths=False))
        lifecycle, workspace = _lifecycle(), _sandbox_workspace(settings)
        with (
            _translating_errors(),
            lifecycle.rendering(workspace, environments, domain, alone=alone) as rendering,
        ):
            yield rendering

    @contextmanager
    def stand_in(self) -> Iterator[Callable[..., Variables]]:
        """Start an AWS that only answers what Copilot asks while it packages.

        Yields a function that takes the fields of `copilot_sandbox.stand_in.Deployment`, and returns the
        variables that let a child process find that deployment there. Raises SettingsError where the sandbox
        is not installed.
        """
        with _lifecycle().stand_in() as variables:
            yield variables

    def sandbox(self, *, stop: bool, reset: bool, yes: bool, plan: bool, source: str = "") -> None:
        """Start the sandbox, or stop it, or reset it (delete its data).

        A new start fills staging from the branch `source`; see `staging_branch` for an empty one.
        """
        if stop and reset:
            raise UsageError("Use either --stop or --reset: a reset stops it too.")
        if source and (stop or reset):
            raise UsageError("--from names the branch that a start fills staging from: leave the other out.")
        root, say = self.settings.root, self.report.say
        say(IN_SANDBOX)
        if plan:
            kept = root / ".sandbox"
            would = f"delete all it keeps in {kept}" if reset else "stop it" if stop else "start it"
            runs = _lifecycle().is_alive(root)
            would = "Would do nothing" if runs and not (stop or reset) else f"Would {would}"
            say(f"The sandbox {'runs' if runs else 'does not run'}. {would}.")
            return
        self.clear_up()
        if reset:
            confirm(self.report, f"Stop the sandbox and delete all it keeps in {root / '.sandbox'}?", yes=yes)
        lifecycle = _lifecycle()
        with _translating_errors():
            if reset:
                lifecycle.reset(root, say)
            elif stop:
                lifecycle.stop(root, say)
            else:
                lifecycle.start(root, say, functools.partial(_workspace, self, source))

    def check_workspace(self) -> None:
        """Raise SettingsError unless the manifest has a block for the test environment; start no process."""
        content = manifest.read(self.settings.manifest)
        shown = self.settings.manifest.relative_to(self.settings.root)
        manifest.check_environment(content, self.settings.test_env, str(shown))

    def who(self) -> str:
        """Return who runs this: CI's actor, else Git's e-mail address, else the user on this machine."""
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
        """Return the slot's stack, which is not being changed.

        With `wait`, wait up to DEPLOY_TIMEOUT for a change, which a killed run may have begun. Raises Held
        where CloudFormation still changes the stack.
        """
        patience = Patience(self.report.say, f"the stack {self.settings.stack_name} is being changed")
        stack = self.at_rest(target, seconds=self.settings.timeout if wait else 0, patience=patience)
        require_settled(stack)
        return stack

    def at_rest(self, target: Target, *, seconds: float, patience: Patience) -> Stack | None:
        """Return the slot's stack once CloudFormation has stopped changing it, or after `seconds`."""
        return until(
            lambda: target.aws.stack(self.settings.stack_name),
            lambda stack: not stack or not stack.changing,
            seconds=seconds,
            every=0.2 if self.settings.target == "sandbox" else 5,
            tell=patience.tell,
        )


def sandbox_runs(image: str) -> bool:
    """Return True if the sandbox can run a public image."""
    runs: bool = _lifecycle().runs(image)
    return runs


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
def _translating_errors() -> Iterator[None]:
    """Translate the sandbox's errors into the errors of core.errors, with the same exit code."""
    from copilot_sandbox.errors import SandboxError  # noqa: PLC0415 - see _lifecycle

    try:
        yield
    except SandboxError as error:
        kind = SettingsError if error.exit_code == SettingsError.exit_code else Failed
        raise kind(str(error)) from error


def _sandbox_workspace(settings: Settings) -> Any:
    """Return the sandbox's description of the workspace; its test environment is marked as disposable."""
    from copilot_sandbox.workspace import Workspace  # noqa: PLC0415 - see _lifecycle

    name = disposable.IN_SANDBOX
    return Workspace(
        settings.root,
        settings.app,
        settings.base,
        settings.manifest_variables,
        {name: {disposable.TAG: disposable.value(settings.app, name)}},
        needed=(settings.test_env,),
        others=None if settings.sandbox_environments == ("all",) else settings.sandbox_environments,
        containers=settings.containers,
    )


@contextmanager
def _workspace(session: Session, source: str = "") -> Iterator[Any]:
    """Yield the sandbox's description of the workspace, with the build of the image that fills staging.

    The image's commit (see `staging_branch`) is checked out into a worktree that exists in this block.
    Raises Refused and SettingsError where a file of it or of the workspace is unsafe or wrong, UsageError
    where there is no branch `source`, and Failed.
    """
    from copilot_sandbox.workspace import Stage  # noqa: PLC0415 - see _lifecycle

    settings, root = session.settings, session.settings.root
    branch_files.require(root, settings, os.environ, branch_files.Scope((), paths=False))
    _require_uncommitted(session)
    branch = staging_branch.find(session.shell, settings, source, session.report.say)
    # `environment`: copy_stage_db works only in it, and this image fills only the sandbox's own databases.
    facts = {"environment": settings.test_env}
    with checkout.worktree(session.shell, settings, branch, facts) as folder:
        scope = branch_files.Scope((settings.base,), environments=False)
        branch_files.require(folder, settings, os.environ, scope, branch.name)
        written = folder / settings.manifest.relative_to(root)
        found = manifest.read(written)
        build = manifest.build_of(found, str(written), settings.test_env)
        say = session.report.say
        checkout.prepare_contexts(session.shell, root, folder, branch, manifest.builds(found), say)
        manage = manifest.manage_command(found, settings.test_env)
        if not (folder / build.dockerfile).is_file():
            raise SettingsError(
                f"The commit {branch.commit[:12]} has no {build.dockerfile}, and deployments are built from "
                "commits: commit it."
            )
        stage = Stage(
            str(folder / build.context),
            str(folder / build.dockerfile),
            settings.stage_command.replace(_MANAGE, manage),
            settings.stage_megabytes,
            _MARK_COMMAND.replace(_MANAGE, manage),
            # As in the test environment: without it an adopted project ignores DATABASE_URL.
            {"COPILOT_ENVIRONMENT_NAME": settings.test_env},
            target=build.target,
            root=str(folder),
            environment=settings.test_env,
            source=f"{branch.name} at {branch.commit[:12]}",
            arguments=dict(build.args),
        )
        yield replace(_sandbox_workspace(settings), stage=stage)


def _require_uncommitted(session: Session) -> None:
    """Raise SettingsError where Git has the file with the sandbox's secrets."""
    command = git.command(session.settings.root, "ls-files", "--", _SECRETS)
    if session.shell.run(command).stdout.strip():
        raise SettingsError(
            f"{_SECRETS} is in Git, and it is for secrets: `git rm --cached {_SECRETS}`, and add it to "
            ".gitignore. Replace secrets that were pushed."
        )


def require_settled(stack: Stack | None) -> None:
    """Raise Held where CloudFormation is changing the stack."""
    if stack and stack.changing:
        by = stack.tags.get("deployed_by") or "somebody"
        raise Held(
            f"The stack {stack.name} is {stack.status}: a deploy or teardown is under way "
            f"(last deployed by {by}). Wait until it has finished; `invoke status` shows it."
        )
