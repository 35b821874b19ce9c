"""Run a one-off task in the environment to its end, with all lines of its log and its exit code."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from copilot_testenv.core.errors import Failed, Interrupted, Refused, SettingsError, UserError
from copilot_testenv.core.polling import until
from copilot_testenv.core.process import catching_signals
from copilot_testenv.state import live

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from copilot_testenv.aws.stack import Stack, Task
    from copilot_testenv.copilot.commands import OneOff
    from copilot_testenv.session import Session, Target

# Exit codes of copy_stage_db with the same meaning here.
_OUTCOMES: Mapping[int, type[UserError]] = {2: SettingsError, 3: Refused}
_SECONDS = 60  # after Copilot has ended, until ECS shows the task's exit code; it can be slow


def cluster_of(target: Target, stack: Stack) -> str:
    """Return the ARN or name of the cluster that the stack's service runs in; empty without a service."""
    service = target.aws.service(stack.name)
    return service[0] if service else ""


def run(
    session: Session,
    target: Target,
    cluster: str,
    task: OneOff,
    doing: str,
    *,
    show: Callable[[str], None] | None = None,
    in_order: bool = False,
    outcomes: Mapping[int, type[UserError]] = _OUTCOMES,
) -> list[str]:
    """Run a one-off task to its end; return its log's lines, each of which was given to `show` before.

    Without `show` they are said, indented. With `in_order` they come when the task has ended, in the order of
    the log: while Copilot follows, it can miss a line, which then comes last. Raises the error that
    `outcomes` has for its exit code, else Failed.
    """
    settings, group = session.settings, live.task_group(session.settings)
    before = {task.id for task in target.aws.tasks_of_family(cluster, f"copilot-{group}")}
    tell = show or (lambda line: session.report.say(f"  {line}"))

    def begun() -> list[Task]:
        tasks = target.aws.tasks_of_family(cluster, f"copilot-{group}")
        return [task for task in tasks if task.id not in before]

    follows = _Follows(tell, lambda: [line for task in begun() for line in _log(target, group, task)])
    hear = (lambda _: None) if in_order else follows.hear
    with (
        catching_signals(settings.timeout, session.report.say) as stop,
        session.report.waiting(doing),
    ):
        result = session.deployer(target).run_task(group, task, cluster, hear, stop.signal_due)
    started = begun()
    if stop.asked():
        became = (
            "was not begun" if not started else "goes on in the environment; `invoke status` shows its data"
        )
        if stop.interrupted:
            raise Interrupted(f"Interrupted; the one-off task {became}.")
        raise Failed(
            f"The one-off task took longer than DEPLOY_TIMEOUT ({settings.timeout:.0f} s) and {became}."
        )
    if not started:
        last = "".join(f"\n  {line}" for line in (result.stderr or result.stdout).strip().splitlines()[-12:])
        raise Failed(f"The one-off task was not started; the data are as they were. The last lines:{last}")
    ended = _ended(target, cluster, group, started[0])
    lines = _log(target, group, ended)
    for line in _missing(lines, follows.shown):
        tell(line)
    code = ended.containers[0].exit_code if ended.containers else None
    if code:
        why = next((line for line in reversed(lines) if "Error: " in line), "see the lines above")
        raise outcomes.get(code, Failed)(
            f"The one-off task ended with exit code {code}: {why.partition('Error: ')[2] or why}"
        )
    if code is None:
        raise Failed(f"The one-off task did not start: {ended.stopped_reason or 'ECS gives no reason'}.")
    return lines


@dataclass
class _Follows:
    """Tell the lines of the log that Copilot follows."""

    tell: Callable[[str], None]
    log: Callable[[], list[str]]  # all lines so far
    shown: list[str] = field(default_factory=list)

    def hear(self, line: str) -> None:
        prefix, _, text = line.partition(" ")
        if not prefix.startswith("copilot-task/"):
            return
        earlier: list[str] = []
        if not self.shown:  # a container can write before the task's `startedAt`, from which Copilot follows
            with suppress(UserError):
                written = self.log()
                earlier = written[: written.index(text)] if text in written else []
        for each in (*earlier, text):
            self.tell(each)
            self.shown.append(each)


def _log(target: Target, group: str, task: Task) -> list[str]:
    return target.aws.last_lines(f"/copilot/{group}", f"copilot-task/{group}/{task.id}", 10_000)


def _missing(lines: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Return the lines of the log that Copilot did not show, in their order.

    Copilot stops following when the task has ended, before the last lines arrive. While it follows, it
    queries lines that are at least a millisecond newer than the last one (`LogEvents` in Copilot's
    internal/pkg/aws/cloudwatchlogs), so it misses a later line of the same millisecond.
    """
    missing, position = [], 0
    for line in lines:
        if position < len(shown) and shown[position] == line:
            position += 1
        else:
            missing.append(line)
    return missing


def _ended(target: Target, cluster: str, group: str, task: Task) -> Task:
    """Wait until ECS shows that the task has stopped, and return it. Raises Failed where it does not stop."""

    def look() -> Task:
        tasks = target.aws.tasks_of_family(cluster, f"copilot-{group}")
        return next((now for now in tasks if now.id == task.id), task)

    ended = task
    if task.status != "STOPPED":
        ended = until(look, lambda now: now.status == "STOPPED", seconds=_SECONDS, every=0.2)
    if ended.status == "STOPPED":
        return ended
    raise Failed(f"Copilot stopped following the task {task.id}, which still runs: see `invoke status`.")
