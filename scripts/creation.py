"""The test environment made once, or one that is there already marked as disposable: `invoke create-env`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts import disposable, environment, manifest, ownership, preflight
from scripts.command import catching_signals
from scripts.errors import Failed, Interrupted, Refused
from scripts.report import confirm

if TYPE_CHECKING:
    from scripts.command import Command
    from scripts.environment import Bench, Place


@dataclass(frozen=True)
class Asked:
    """The flags of `create-env`."""

    profile: str = ""
    region: str = ""
    mark_disposable: str = ""  # the environment's name: mark it, and create nothing
    confirm: str = ""  # the same once more
    yes: bool = False
    plan: bool = False


def create_env(bench: Bench, asked: Asked) -> None:
    """Create the test environment and mark it, or mark it alone; say which of its secrets are missing.

    An environment that these tasks have not made is marked only where its name was said twice. Raises the
    errors of scripts.errors.
    """
    environment.announce(bench)
    marks_only = bool(asked.mark_disposable or asked.confirm)
    if marks_only:
        _require_twice(bench.settings.test_env, asked)
    environment.check_workspace(bench)
    place = environment.enter(bench, start=not asked.plan, profile=asked.profile)
    if not place:
        bench.report.say("The sandbox would be started; it brings its environments and secrets along.")
        return
    if marks_only:
        _mark(bench, place, asked)
    else:
        _create(bench, place, asked)
        _tell_missing_secrets(bench, place)


def _require_twice(name: str, asked: Asked) -> None:
    """Raises Refused unless both flags name the test environment."""
    if (asked.mark_disposable, asked.confirm) != (name, name):
        raise Refused(
            f"Nothing is marked: --mark-disposable {asked.mark_disposable or '(missing)'} and --confirm "
            f"{asked.confirm or '(missing)'} must both name the test environment, which is {name} (TEST_ENV)."
        )


def _mark(bench: Bench, place: Place, asked: Asked) -> None:
    settings, say = bench.settings, bench.report.say
    if disposable.is_marked(settings, place.aws):
        say(f"{settings.test_env} is marked as disposable already.")
        return
    foreign = [
        stack
        for stack in place.aws.service_stacks(settings.app, settings.test_env)
        if not all(stack.tags.get(name) for name in ownership.MADE)
    ]
    for stack in foreign:
        say(f"Deployed there, and not by these tasks: {stack.tags['copilot-service']} ({stack.name}).")
    where = f"{settings.test_env} of the application {settings.app}"
    if asked.plan:
        say(f"Would mark {where} as disposable.")
        return
    question = f"Mark {where} as disposable, so that whatever is deployed there may be replaced and deleted?"
    confirm(bench.report, question, yes=asked.yes)
    disposable.mark(settings, place.aws)
    say(f"{settings.test_env} is marked as disposable: branches may be deployed to it.")


def _create(bench: Bench, place: Place, asked: Asked) -> None:
    """Create what is missing of the environment, and mark it last: half of one is not marked.

    Copilot's record of it is made by the first of two steps, and then says that these tasks are about it: a
    run that was interrupted is gone on with, and nobody else's environment is taken for its rest.
    """
    settings, say, copilot = bench.settings, bench.report.say, place.copilot
    is_there = settings.test_env in preflight.known(bench, place)
    if is_there and not disposable.is_begun(settings, place.aws):
        say(f"Copilot knows the environment {settings.test_env} already.")
        if not disposable.is_marked(settings, place.aws):
            say(
                "It does not say that it is disposable, so no branch is deployed to it. If everything that "
                f"is deployed there may be replaced and deleted: {disposable.command(settings)}"
            )
        return
    if not is_there:
        profile = asked.profile or bench.environ.get("AWS_PROFILE") or "default"
        command = copilot.environment_init(profile, asked.region or place.aws.region)
        try:
            _run(bench, "Creating", command, asked)
        except Interrupted:
            if settings.test_env in preflight.known(bench, place):
                disposable.begin(settings, place.aws)
            raise
        if not asked.plan:
            disposable.begin(settings, place.aws)
    _run(bench, "Deploying", copilot.environment_deploy(), asked)
    if asked.plan:
        say(f"Would mark {settings.test_env} as disposable.")
        return
    disposable.mark(settings, place.aws)
    say(f"{settings.test_env} is marked as disposable.")


def _run(bench: Bench, doing: str, command: Command, asked: Asked) -> None:
    settings = bench.settings
    if asked.plan:
        bench.report.say(f"Would run: {command}")
        return
    confirm(bench.report, f"{doing} the environment {settings.test_env}: {command}?", yes=asked.yes)
    with catching_signals(settings.timeout, bench.report.say) as stop:
        result = bench.shell.stream(command, bench.report.say, stop.signal_due)
    if stop.interrupted:
        raise Interrupted(f"Interrupted while {doing.lower()} {settings.test_env}: run it again to finish.")
    if not result.ok:
        raise Failed(
            f"{doing} the environment {settings.test_env} failed: see Copilot's lines above, then run it "
            "again."
        )


def _tell_missing_secrets(bench: Bench, place: Place) -> None:
    settings, say = bench.settings, bench.report.say
    names = manifest.secret_parameters(manifest.read(settings.manifest), settings.app, settings.test_env)
    missing = place.aws.missing_parameters(names)
    if not missing:
        say(f"All {len(names)} secrets of {settings.test_env} are there.")
        return
    say(
        f"Missing secrets of {settings.test_env}; a task that names them will not start. Put each as a "
        f"SecureString with the tags copilot-application={settings.app} and "
        f"copilot-environment={settings.test_env} (`copilot secret init` does both):"
    )
    for name in missing:
        say(f"  {name}")
