"""Handle the stack around a deploy: repair it before, check it after, and wait until it is served."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Held, Interrupted
from copilot_testenv.core.process import Result, Stop
from copilot_testenv.core.terminal import Patience
from copilot_testenv.deployers.deployer import never, require_done
from copilot_testenv.deploys import companions, page_advice, unwritten_migrations
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.deploys.probe import open_page
from copilot_testenv.deploys.rolled_back import what_serves
from copilot_testenv.deploys.watch import Watcher
from copilot_testenv.session import require_settled
from copilot_testenv.state import live

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack, Task
    from copilot_testenv.core.git import Branch
    from copilot_testenv.deploys.probe import Fault
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.lease import Lease

COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
# Statuses after a failed first deploy or teardown in which Copilot itself does not delete the stack.
LEFT = ("CREATE_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS")
BEGINNING = timedelta(minutes=1)  # Copilot may take this long between creating and executing a change set
_ROLL_BACK_SECONDS = 3600
REACH_SECONDS = 60  # after this time without an answer, the URL counts as not reachable from this machine
ERROR_SECONDS = 3  # after this time, an error of the project's own is no matter of its first requests


class NotDeployed(Failed):
    """The deploy was rolled back; `cause` is the reason in one line, empty where it is not known."""

    cause: str = ""


class NoCapacity(NotDeployed):
    """The deploy was rolled back, because AWS had no room for its tasks."""


def usable(session: Session, target: Target, stack: Stack | None) -> Stack | None:
    """Repair the stack of an earlier run, so that Copilot can deploy it; return it, or None if deleted.

    A stack whose first deploy failed serves nothing, so it is deleted. Copilot itself deletes one that was
    rolled back. Raises Failed where the stack cannot be repaired, Held where another run has just begun to
    deploy.
    """
    say, aws = session.report.say, target.aws
    if stack and stack.status == "UPDATE_ROLLBACK_FAILED":
        say(f"The stack {stack.name} is {stack.status}: an earlier roll-back is finished first.")
        aws.continue_rollback(stack.name)
        time.sleep(0.2 if session.settings.target == "sandbox" else 5)  # until it has begun
        stack = _settle(session, target)
    elif stack and stack.status in LEFT:
        if stack.status == "REVIEW_IN_PROGRESS" and datetime.now(UTC) - stack.changed_at < BEGINNING:
            raise Held(f"Another run has just begun to deploy {stack.name}: try again in a minute.")
        say(f"The stack {stack.name} is {stack.status}, left by an earlier run: it is deleted first.")
        require_done(session.deployer(target).delete_service(never), f"Deleting {stack.name}")
        stack = _settle(session, target)
    if stack and stack.status in {"UPDATE_ROLLBACK_FAILED", *LEFT}:
        raise Failed(
            f"The stack {stack.name} is {stack.status}, so it cannot be deployed: run `invoke teardown` "
            "first; if that fails, look at it in the CloudFormation console."
        )
    return stack


def in_review(stack: str) -> str:
    """Return what a plan says of a stack that an earlier run left in review."""
    return (
        f"The stack {stack} is REVIEW_IN_PROGRESS: an earlier run ended before it began, and it has no "
        "resource. Copilot renders nothing beside it, so this plan does not compare what the branch would "
        "deploy. Would delete that stack first; the deploy itself does so, and compares then."
    )


def _settle(session: Session, target: Target) -> Stack | None:
    """Wait until CloudFormation has stopped changing the stack, for at most an hour. Raises Failed.

    A roll-back starts the previous tasks, which may copy staging's data again before they serve.
    """
    patience = Patience(session.report.say, f"{session.settings.stack_name} settles")
    stack = session.at_rest(target, seconds=_ROLL_BACK_SECONDS, patience=patience)
    if not stack or not stack.changing:
        return stack
    raise Failed(
        f"The stack {session.settings.stack_name} is still changing an hour after the roll-back "
        "was asked for: look at it in the CloudFormation console, then run `invoke teardown`."
    )


def signal_due(watcher: Watcher, stop: Stop, lease: Lease) -> signal.Signals | None:
    """Return the signal for a deploy: SIGTERM where the lease is lost, else the watcher's or `stop`'s."""
    if lease.lost:  # not SIGINT: Copilot would roll back any change under way, also another run's deploy
        return signal.SIGTERM
    if stop.timed_out and not watcher.remembered:
        watcher.remember_unfinished()
    return watcher.signal_due() or stop.signal_due()


def require_deployed(
    session: Session, target: Target, branch: Branch, result: Result, watcher: Watcher, stop: Stop
) -> None:
    """Raise an error unless CloudFormation completed this deploy.

    The exit code does not decide, because Copilot ends an interrupted deploy with 0.
    """
    settings = session.settings
    if stop.asked():
        settled = _settle(session, target)
        live = settled is not None and settled.status in COMPLETE and watcher.carried_by(settled)
        became = (
            "had gone through already and is live."
            if live
            else f"has been rolled back. {what_serves(session, target, branch, settled, watcher)}"
        )
        if stop.interrupted:
            raise Interrupted(f"Interrupted; the deploy of {branch.name} {became}")
        late = f"The deploy took longer than DEPLOY_TIMEOUT ({settings.timeout:.0f} s) and {became}"
        error = NotDeployed(f"{late}{watcher.why()}")
        error.cause = f"It took longer than DEPLOY_TIMEOUT ({settings.timeout:.0f} s)."
        raise error
    stack = target.aws.stack(settings.stack_name)
    if not result.ok and (
        (stack and stack.changing) or any("currently being updated" in line for line in watcher.lines)
    ):
        require_settled(stack)
        raise Held("Another deploy or teardown came first. `invoke status` shows what is live.")
    complete = stack and stack.status in COMPLETE
    ended = result.ok or result.returncode == -signal.SIGTERM  # Watcher.signal_due
    if not ended or not complete or not stack or not watcher.carried_by(stack):
        status = stack.status if stack else "gone"
        kind = NoCapacity if watcher.placement.lacks_capacity else NotDeployed
        error = kind(
            f"{branch.name} at {branch.commit[:12]} was not deployed; the stack {settings.stack_name} is "
            f"{status}. {what_serves(session, target, branch, stack, watcher)}"
            f"{watcher.why(result)}{_all_lines(session, stack, watcher)}"
        )
        error.cause = watcher.cause
        raise error


def _all_lines(session: Session, stack: Stack | None, watcher: Watcher) -> str:
    """Return where the whole log of a container that failed is; a roll-back deletes a new service's logs."""
    if not stack or not stack.live or not watcher.failed:
        return ""
    _, name, _ = list(watcher.failed.values())[-1]
    of = session.branch_flag(stack.tags.get("branch"))
    return f"\nIts log: `invoke logs --container {name} --all-tasks{of}`." if name else ""


def wait_until_served(session: Session, target: Target, branch: Branch, stop: Stop) -> Served:
    """Wait for a task of exactly this deploy and for its page, and return both, be the page good or bad.

    Raises Failed where there is neither within DEPLOY_TIMEOUT, and Interrupted.
    """
    settings = session.settings
    wrong, fault, began = "no task of it runs yet", None, time.monotonic()
    patience = Patience(session.report.say, f"{branch.name} is not served yet")
    while not stop.asked():
        stack = target.aws.stack(settings.stack_name)
        tasks = live.running(target, stack) if stack else []
        if stack and tasks:
            deployment = live.describe(session, target, stack, tasks)
            page = open_page(deployment.url or "")
            if page.fault != fault:
                fault, began = page.fault, time.monotonic()
            wrong = page.reason
            if page.fault is None or time.monotonic() - began >= _sure_after(page.fault):
                return _judged(session, target, stack, Served(deployment, page), tasks)
        patience.tell(wrong)
        pause = 0.2 if settings.target == "sandbox" else 2
        time.sleep(1 if fault in {"gateway", "server_error"} else pause)  # each look writes a traceback
    if stop.interrupted:
        raise Interrupted(f"Interrupted; {branch.name} is deployed, but was not yet seen served.")
    raise Failed(
        f"{branch.name} is deployed, but was not served within DEPLOY_TIMEOUT: {wrong}. "
        "`invoke logs` shows what its containers say."
    )


def _sure_after(fault: Fault) -> float:
    """Return for how many seconds a fault must last: some pass while the first requests are answered."""
    if fault in {"unreachable", "closed", "gateway"}:
        return REACH_SECONDS
    return ERROR_SECONDS if fault == "server_error" else 0


def _judged(session: Session, target: Target, stack: Stack, served: Served, tasks: list[Task]) -> Served:
    """Return the deployment with what is wrong with it, and say what is worth a line."""
    page, url = served.page, served.deployment.url
    if lacks := unwritten_migrations.told(session, target, served.deployment.branch, tasks):
        session.report.say(lacks)
    if page.fault == "closed" or (page.fault == "unreachable" and session.settings.target == "aws"):
        session.report.say(
            f"ECS says that it is healthy, but from here {url} cannot be reached "
            f"({page.reason}): is this machine among the manifest's allowed_source_ips?"
        )
    elif page.fault:
        return replace(served, wrong=page_advice.wrong(session, target, page, tasks))
    elif page.reason:
        session.report.say(f"(The page {page.url}: {page.reason}.)")
    return with_ended(session, target, stack, served, tasks, wait=True)


def with_ended(
    session: Session, target: Target, stack: Stack, served: Served, tasks: list[Task], *, wait: bool
) -> Served:
    """Return the deployment with those of the branch's other services that have ended in its tasks."""
    found = companions.ended(session, target, stack, tasks, wait=wait)
    if not found:
        return served
    wrong = companions.wrong(session, target, served.deployment.url, found)
    return replace(served, wrong=wrong, ended=tuple(container.name for _, container in found))
