"""The slot is given back: the service goes, with what else it left; the environment stays."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from scripts import branch, environment, expiry
from scripts.command import Command, Stop, catching_signals
from scripts.errors import Failed, Held, Interrupted
from scripts.report import as_json, confirm

if TYPE_CHECKING:
    from scripts.environment import Bench, Place
    from scripts.settings import Settings
    from scripts.stack import Stack

REMAINS = "the environment's network and cluster, the databases, the image repository and its images"


@dataclass(frozen=True)
class _Doomed:
    """A stack that a teardown deletes, and Copilot's command for it."""

    what: str
    stack: Stack
    command: Command
    names: tuple[str, ...]  # of what goes, for the receipt


def _doomed(bench: Bench, place: Place | None, *, name: str, expired: bool) -> list[_Doomed]:
    """What of the slot is to go: the service, and what the one-off task of `copy-db` left.

    Nothing where it carries another branch than `name`, if that is given.
    """
    settings, found = bench.settings, []
    stack = place.aws.stack(settings.stack_name) if place else None
    if stack and name and (live := stack.tags.get("branch")) != name:
        bench.report.say(f"{name} is not deployed ({live} is): nothing to tear down.")
        return []
    if expired and stack and not expiry.is_over(end := stack.tags.get("expires_at"), datetime.now(UTC)):
        bench.report.say(f"{_what(settings, stack)} is wanted until {end}: it stays.")
        return []
    if place and stack:
        names = (settings.service, stack.name)
        found.append(_Doomed(_what(settings, stack), stack, place.copilot.service_delete(), names))
    group = environment.task_group(settings)
    if place and (stack := place.aws.stack(f"task-{group}")):
        command = place.copilot.task_delete(group)
        found.append(_Doomed("what copy-db left", stack, command, (stack.name,)))
    if not found:
        bench.report.say(f"Nothing is deployed in {settings.test_env}: nothing to tear down.")
    return found


def _what(settings: Settings, stack: Stack) -> str:
    return f"{settings.service} ({stack.tags.get('branch', 'an unknown branch')})"


def teardown(
    bench: Bench, *, name: str, expired: bool, wait: bool, yes: bool, plan: bool, json: bool
) -> None:
    """Delete the service from the test environment; the environment stays. Twice is fine.

    With `name`, only where that branch is what it carries; with `expired`, only where its end has come.
    Raises the errors of scripts.errors.
    """
    if name:
        branch.check_name(name)
    environment.announce(bench)
    settings = bench.settings
    environment.check_workspace(bench)
    place = environment.enter(bench, start=False)
    doomed = _doomed(bench, place, name=name, expired=expired)
    interrupted = False
    if place and doomed:
        environment.preflight(bench, place, builds=False)
        if plan:
            for each in doomed:
                bench.report.say(f"Would delete {each.what}: {each.command}")
        else:
            whats = " and ".join(each.what for each in doomed)
            confirm(bench.report, f"Delete {whats} from {settings.test_env}?", yes=yes)
            lease = environment.lease(bench, place, f"deleting {whats}")
            with lease.held(wait=wait, say=bench.report.say):
                _require_same(doomed, _doomed(bench, place, name=name, expired=expired))
                interrupted = _run(bench, place, doomed)
            bench.report.say(f"Gone: {whats}, with {' and '.join(each.stack.name for each in doomed)}.")
        bench.report.say(f"{'Would remain' if plan else 'Remains'}: {REMAINS}.")
    if json:
        bench.report.data(as_json([_receipt(settings, doomed, gone=not plan)] if doomed else []))
    if interrupted:
        raise Interrupted("Interrupted; the teardown had begun and was finished.")


def _require_same(agreed: list[_Doomed], found: list[_Doomed]) -> None:
    """Raises Held where the slot is no longer what the answer to the question was about."""
    for each in found:
        environment.require_settled(each.stack)
    seen, now = ({(e.stack.name, e.stack.tags.get("deployed_at")) for e in one} for one in (agreed, found))
    if seen != now:
        raise Held("The slot was changed meanwhile, so nothing was deleted: `invoke status`, then again.")


def _run(bench: Bench, place: Place, doomed: list[_Doomed]) -> bool:
    """Delete one after the other; whether Ctrl-C came meanwhile. Raises Failed."""

    def told(_: str) -> None:
        bench.report.say("Interrupted: a delete that has begun is finished first.")

    with catching_signals(bench.settings.timeout, told) as stop:
        for each in doomed:
            _delete(bench, place, each, stop)
    return stop.interrupted


def _delete(bench: Bench, place: Place, doomed: _Doomed, stop: Stop) -> None:
    """See a delete to its end, for half of it would be worse than either. Raises Failed."""
    with bench.report.waiting(f"Deleting {doomed.what} from {bench.settings.test_env}"):
        result = bench.shell.stream(
            doomed.command, lambda _: None, lambda: signal.SIGINT if stop.timed_out else None
        )
    left = place.aws.stack(doomed.stack.name)
    if left:
        said = "".join(f"\n  {line}" for line in result.stdout.splitlines()[-8:])
        raise Failed(
            f"{doomed.what} is not gone from {bench.settings.test_env}: the stack {left.name} is "
            f"{left.status}. Run `invoke teardown` again; Copilot said:{said}"
        )


def _receipt(settings: Settings, doomed: list[_Doomed], *, gone: bool) -> dict[str, object]:
    names = [name for each in doomed for name in each.names]
    tags = doomed[0].stack.tags
    return {
        "branch": tags.get("branch"),
        "commit": tags.get("commit"),
        "environment": settings.test_env,
        "service": settings.service,
        "gone": names if gone else [],
        "would_go": [] if gone else names,
        "remains": REMAINS.split(", "),
        "target": settings.target,
    }
