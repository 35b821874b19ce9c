"""Create the test environment, or mark an existing one as disposable: `invoke create-env`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from copilot_testenv.copilot import disposable, manifest, ownership
from copilot_testenv.core import documents
from copilot_testenv.core.errors import Failed, Interrupted, Refused
from copilot_testenv.core.process import catching_signals
from copilot_testenv.core.terminal import confirm
from copilot_testenv.deploys import preflight

if TYPE_CHECKING:
    from copilot_testenv.core.process import Command
    from copilot_testenv.session import Session, Target


_STAGING = re.compile("sta?g", re.IGNORECASE)


@dataclass(frozen=True)
class Options:
    """The flags of `create-env`."""

    profile: str = ""
    region: str = ""
    mark_disposable: str = ""  # the environment's name: mark it, and create nothing
    confirm: str = ""  # the same name again
    yes: bool = False
    plan: bool = False


def create_env(session: Session, options: Options) -> None:
    """Create the test environment, mark it, and say which of its secrets are missing; or only mark it.

    An environment that these tasks did not create is marked only where both flags give its name. Raises the
    errors of core.errors.
    """
    session.announce()
    marks_only = bool(options.mark_disposable or options.confirm)
    if marks_only:
        _require_twice(session.settings.test_env, options)
    session.check_workspace()
    target = session.enter(start=not options.plan, profile=options.profile)
    if not target:
        session.report.say("Would start the sandbox, which has its environments and secrets already.")
        return
    if marks_only:
        _mark(session, target, options)
    else:
        _create(session, target, options)
        _tell_missing_secrets(session, target)
        if session.settings.target == "aws" and not options.plan:
            _tell_missing_network(session, target)


def _require_twice(name: str, options: Options) -> None:
    """Raise Refused unless both flags name the test environment."""
    if (options.mark_disposable, options.confirm) != (name, name):
        raise Refused(
            f"Nothing is marked: --mark-disposable {options.mark_disposable or '(missing)'} and --confirm "
            f"{options.confirm or '(missing)'} must both name the test environment: {name} (TEST_ENV)."
        )


def _mark(session: Session, target: Target, options: Options) -> None:
    settings, say = session.settings, session.report.say
    if disposable.is_marked(settings, target.aws):
        say(f"{settings.test_env} is already marked as disposable.")
        return
    foreign = [
        stack
        for stack in target.aws.service_stacks(settings.app, settings.test_env)
        if not all(stack.tags.get(name) for name in ownership.MADE)
    ]
    for stack in foreign:
        say(f"Deployed there by others: {stack.tags['copilot-service']} ({stack.name}).")
    where = f"{settings.test_env} of the application {settings.app}"
    if options.plan:
        say(f"Would mark {where} as disposable.")
        return
    question = f"Mark {where} as disposable, so that everything in it may be replaced and deleted?"
    confirm(session.report, question, yes=options.yes)
    disposable.mark(settings, target.aws)
    say(f"{settings.test_env} is marked as disposable: branches may be deployed to it.")


def _create(session: Session, target: Target, options: Options) -> None:
    """Create the missing parts of the environment; mark it last, so that an incomplete one is not marked.

    The first of two steps creates Copilot's record of the environment. The record is then tagged as being
    created by these tasks. So a later run continues an interrupted one, and never an environment of somebody
    else.
    """
    settings, say, copilot = session.settings, session.report.say, target.copilot
    is_there = settings.test_env in preflight.known(session, target)
    if is_there and not disposable.is_begun(settings, target.aws):
        say(f"Copilot already knows the environment {settings.test_env}.")
        if not disposable.is_marked(settings, target.aws):
            say(
                "It is not marked as disposable, so no branch is deployed to it. If everything that is "
                f"deployed there may be replaced and deleted: {disposable.command(settings)}"
            )
        return
    if not is_there:
        profile = options.profile or session.environ.get("AWS_PROFILE") or "default"
        command = copilot.environment_init(profile, options.region or target.aws.region)
        try:
            _run(session, "Creating", command, options)
        except Interrupted:
            if settings.test_env in preflight.known(session, target):
                disposable.begin(settings, target.aws)
            raise
        if not options.plan:
            disposable.begin(settings, target.aws)
    _run(session, "Deploying", copilot.environment_deploy(), options)
    if options.plan:
        say(f"Would mark {settings.test_env} as disposable.")
        return
    disposable.mark(settings, target.aws)
    say(f"{settings.test_env} is marked as disposable.")


def _run(session: Session, doing: str, command: Command, options: Options) -> None:
    settings = session.settings
    if options.plan:
        session.report.say(f"Would run: {command}")
        return
    confirm(session.report, f"{doing} the environment {settings.test_env}: {command}?", yes=options.yes)
    with catching_signals(settings.timeout, session.report.say) as stop:
        result = session.shell.stream(command, session.report.say, stop.signal_due)
    if stop.interrupted:
        raise Interrupted(f"Interrupted while {doing.lower()} {settings.test_env}: run it again to finish.")
    if not result.ok:
        raise Failed(
            f"{doing} the environment {settings.test_env} failed: see Copilot's lines above, then run it "
            "again."
        )


def _tell_missing_network(session: Session, target: Target) -> None:
    """Say what is missing on the way to staging's database, for each environment that is called staging."""
    settings, say = session.settings, session.report.say
    exports = target.aws.exports()
    here = exports.get(f"{settings.app}-{settings.test_env}-VpcId")
    for name in preflight.known(session, target):
        there = exports.get(f"{settings.app}-{name}-VpcId")
        if not _STAGING.match(name) or not here or not there or here == there:
            continue
        missing = target.aws.missing_between(here, there)
        if missing:
            say(f"Copies of {name}'s database cannot reach it yet. Missing: {'; '.join(missing)}.")
        else:
            say(f"The networks of {settings.test_env} and {name} are connected.")
        say(
            f"Besides, the security group of {name}'s database must admit {settings.test_env}'s tasks, and "
            f"the peering connection must resolve DNS names ({documents.page('stack.md')} says how). "
            "`invoke check --account` looks at all of it."
        )


def _tell_missing_secrets(session: Session, target: Target) -> None:
    settings, say = session.settings, session.report.say
    names = manifest.secret_parameters(manifest.read(settings.manifest), settings.app, settings.test_env)
    missing = target.aws.missing_parameters(names)
    if not missing:
        say(f"All {len(names)} secrets of {settings.test_env} exist.")
        return
    say(
        f"Missing secrets of {settings.test_env}; a task that uses them will not start. Create each as a "
        f"SecureString with the tags copilot-application={settings.app} and "
        f"copilot-environment={settings.test_env} (`copilot secret init` does both):"
    )
    for name in missing:
        say(f"  {name}")
