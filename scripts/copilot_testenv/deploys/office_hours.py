"""Let a deployment sleep and wake: `invoke sleep`, `invoke wake`, and by AWS's schedule its office hours.

A deployment that sleeps is a service that is to have no task. Its stack, URL and data stay. A task that
starts again is of the same release, so that the copy of staging keeps the data it finds
(`stage_copy.previous`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from copilot_testenv.copilot.resource_usage import footprint
from copilot_testenv.core import documents, git, moments, office_hours
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import catching_signals
from copilot_testenv.core.terminal import as_json
from copilot_testenv.deploys import nothing, outcome, settling, slot_services, stopping, waking
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.deploys.outcome import Served
    from copilot_testenv.session import Session, Target

_STILL = "Interrupted: its tasks still start. `invoke status` shows it, `invoke sleep` stops them again."


@dataclass(frozen=True)
class Options:
    """The flags of `sleep` and `wake`; without a branch they change the shared slot."""

    branch: str = ""
    wait: bool = False
    plan: bool = False
    json: bool = False


def require_fixed_count(settings: Settings, found: Mapping[str, Any], path: str) -> None:
    """Raise SettingsError where office hours are set, and Copilot itself scales the manifest's service."""
    if settings.hours and footprint(found, settings.test_env).at_most is not None:
        raise SettingsError(
            f"{office_hours.SETTING} is set, but `count` of {path} is a range in {settings.test_env}, so "
            "that AWS scales the service itself: write a number for "
            f"environments.{settings.test_env}.count, or remove the hours."
        )


def apply(session: Session, target: Target, before: Stack | None) -> None:
    """Set the office hours of what was just deployed, or end those that `before` had, and wake its service.

    CloudFormation can have left the count at zero, and AWS's schedule can have set it meanwhile. Raises
    Failed.
    """
    settings, aws = session.settings, target.aws
    hours, name = settings.hours, settings.stack_name
    if hours:
        zone, count = hours.zone.key, aws.task_count(name)
        tags = {"copilot-application": settings.app, "copilot-environment": settings.test_env}
        try:
            aws.schedule(name, wakes=hours.wakes, sleeps=hours.sleeps, zone=zone, count=count, tags=tags)
        except Failed as error:
            raise Failed(
                f"{settings.service} is deployed, but its office hours were not set: {error} "
                f"{documents.page('iam.md')} has the rights; then deploy again."
            ) from error
    elif before:
        stopping.unschedule(target, before)
    if aws.desired_count(name) == 0:
        aws.scale_service(name, aws.task_count(name))


def started(session: Session, target: Target, branch: Branch) -> Served:
    """Start the tasks of a deployment that sleeps, and wait until it is served.

    Raises Failed where it is not served within DEPLOY_TIMEOUT, and Interrupted.
    """
    name = session.settings.stack_name
    doing = f"Waking {branch.name} at {branch.commit[:12]}"
    with catching_signals(session.settings.timeout, session.report.say, _STILL) as stop:
        target.aws.scale_service(name, target.aws.task_count(name))
        with session.report.waiting(doing):
            served = settling.wait_until_served(session, target, branch, stop)
        others = _others(session, target)
        for _, stack in others:  # they work on what the web service's task has made ready
            if target.aws.desired_count(stack.name) == 0:
                target.aws.scale_service(stack.name, target.aws.task_count(stack.name))
        webs = [own for own, _ in others if own.base in served.deployment.urls]
        found = [
            settling.wait_until_served(own_session, there, branch, stop)
            for own_session, there in slot_services.sessions(session, target, webs)
        ]
        return outcome.together(served, found)


def _others(session: Session, target: Target) -> list[tuple[Settings, Stack]]:
    """Return the slot's other services with their stacks."""
    stack = target.aws.stack(session.settings.stack_name)
    return slot_services.stacks(session.settings, target, stack) if stack else []


def woken(session: Session, target: Target, branch: Branch, before: Stack) -> Served | None:
    """Start the tasks of a slot that has this commit and sleeps; None where it does not sleep."""
    if target.aws.desired_count(before.name) != 0:
        return None
    apply(session, target, before)
    for own, stack in slot_services.stacks(session.settings, target, before):
        apply(replace(session, settings=own), target, stack)
    served = started(session, target, branch)
    session.report.say(
        f"{branch.name} was asleep with this commit: its tasks were started, and its data are still of "
        f"{moments.told(served.deployment.data_copied_at)}."
    )
    return served


def plan(target: Target, branch: Branch, before: Stack) -> str:
    """Return what a deploy would do to a slot that has this commit already."""
    has = f"{branch.name} has this commit already"
    if target.aws.desired_count(before.name) == 0:
        return f"{has}, and sleeps: would start its tasks, with the data that it has."
    return f"{has}. If its page answers, nothing would change; if not, it would be deployed, as with --force."


def sleep(session: Session, options: Options) -> None:
    """Stop a deployment's tasks until somebody or its office hours wake it. Idempotent.

    Raises Refused where the manifest's count is a range, and the other errors of core.errors.
    """
    session, target, stack = _found(session, options.branch)
    say, name, branch = session.report.say, stack.name, stack.tags.get("branch") or "?"
    others = [other.name for _, other in _others(session, target)]
    if any(target.aws.scales_itself(each) for each in (name, *others)):
        raise Refused(
            f"{branch} cannot sleep: AWS scales its service, because its manifest's `count` is a range, and "
            "would start its tasks again. Deploy it with a number, or tear it down."
        )
    deployment = live.describe(session, target, stack)
    if deployment.asleep and not any(target.aws.desired_count(each) for each in others):
        say(f"{branch} sleeps already. {waking.how(deployment)}")
    elif options.plan:
        say(f"Would stop the tasks of {branch}; its URL and its data stay.")
    else:
        lease = bucket.lease(session, target, f"stopping {branch}")
        with lease.held(wait=options.wait, say=say):
            stack = nothing.required(
                session, target, session.settled(target, wait=options.wait), options.branch
            )
            lease.require_held()
            every = [*(other for _, other in _others(session, target)), stack]
            ended = [stopping.stop(session, target, each) for each in every]
            if not all(ended):
                raise Failed(f"The tasks of {branch} have not ended in time: `invoke logs` shows them.")
        deployment = replace(deployment, asleep=True)
        say(f"{branch} sleeps; its URL and its data stay. {waking.how(deployment)}")
    if options.json:
        session.report.data(as_json(asdict(deployment)))


def wake(session: Session, options: Options) -> None:
    """Start the tasks of a deployment that sleeps, with the data that it has. Idempotent.

    Raises Failed where it is not served within DEPLOY_TIMEOUT, and the other errors of core.errors.
    """
    session, target, stack = _found(session, options.branch)
    say, branch = session.report.say, stack.tags.get("branch") or "?"
    deployment = live.describe(session, target, stack)
    if not deployment.asleep:
        say(f"{branch} is awake.")
    elif options.plan:
        say(f"Would start the tasks of {branch}; its data stay.")
    else:
        lease = bucket.lease(session, target, f"waking {branch}")
        with lease.held(wait=options.wait, say=say):
            stack = nothing.required(
                session, target, session.settled(target, wait=options.wait), options.branch
            )
            lease.require_held()
            served = started(session, target, Branch(branch, stack.tags.get("commit") or ""))
            deployment = served.deployment
            bucket.registry(session, target).record(deployment.service, bucket.entry(deployment))
        if served.wrong:
            raise Failed(f"{branch} is awake, but does not work: {served.wrong}")
        data = moments.told(deployment.data_copied_at)
        say(f"{branch} is awake, with its data of {data}:")
    if options.json:
        session.report.data(as_json(asdict(deployment)))
    elif deployment.url and not options.plan:
        session.report.data(deployment.url)


def _found(session: Session, name: str) -> tuple[Session, Target, Stack]:
    """Return the slot of a branch, without a name the shared one, with its stack. Raises Failed, Refused."""
    if name:
        git.check_name(name)
    session.announce()
    session.check_workspace()
    target = session.enter_to_change()
    if not target:
        raise nothing.deployed(session, None)
    session, target = session.slot_of(target, name)
    return (
        session,
        target,
        nothing.required(session, target, target.aws.stack(session.settings.stack_name), name),
    )
