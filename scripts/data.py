"""The deployed branch's data, copied afresh where they are: by a one-off task in the environment."""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from scripts import environment
from scripts.command import catching_signals
from scripts.copilot import OneOff
from scripts.errors import Failed, Held, Interrupted, Refused, SettingsError
from scripts.report import as_json, confirm

if TYPE_CHECKING:
    from scripts.command import Command
    from scripts.environment import Bench, Place
    from scripts.stack import Stack, Task, TaskDefinition

COPY = "copy_stage_db"
_OUTCOMES = {2: SettingsError, 3: Refused}  # the exit codes of copy_stage_db that are ours too
_LOOKS = 50  # at ECS, after Copilot has ended, until it tells how the task did


def copy(bench: Bench, *, wait: bool, yes: bool, plan: bool, json: bool) -> None:
    """Copy staging's database into the deployed branch's and migrate it; the service goes on running.

    Raises the errors of scripts.errors, with the exit code of `copy_stage_db` where it refused.
    """
    environment.announce(bench)
    environment.check_workspace(bench)
    place = environment.enter(bench, start=False)
    stack = place.aws.stack(bench.settings.stack_name) if place else None
    if not wait:
        environment.require_settled(stack)
    if not place or not stack or not (stack.live or stack.changing):
        raise Failed("Nothing is deployed here, so nothing can be copied: `invoke deploy-test --branch B`.")
    branch = stack.tags.get("branch", "an unknown branch")
    command = _command(bench, place, stack)
    if plan:
        bench.report.say(f"Would replace the data of {branch} by a fresh copy of staging's: {command}")
    else:
        confirm(
            bench.report,
            f"Replace the data of {branch} by a fresh copy of staging's? What testers did there is lost.",
            yes=yes,
        )
        environment.preflight(bench, place, builds=False)
        lease = environment.lease(bench, place, f"copying staging's data for {branch}")
        with lease.held(wait=wait, say=bench.report.say):
            stack = _require_same(environment.settled(bench, place, wait=wait), stack)
            _run(bench, place, stack, _command(bench, place, stack))
    if json:
        bench.report.data(as_json(asdict(environment.describe(bench, place, stack))))


def _command(bench: Bench, place: Place, stack: Stack) -> Command:
    """Copilot's command for the one-off task. Raises SettingsError where there is nothing to repeat."""
    settings = bench.settings
    definition = place.aws.resource(stack.name, "TaskDefinition")
    task = one_off(place.aws.task_definition(definition)) if definition else None
    if not task:
        raise SettingsError(
            f"No container of {settings.service} in {settings.test_env} runs `{COPY}`, so there is no "
            "command to repeat: take the startup sidecar's from this project's manifest and deploy."
        )
    return place.copilot.task_run(environment.task_group(settings), task)


def _require_same(stack: Stack | None, agreed: Stack) -> Stack:
    """The stack as it is now. Raises Held where it is no longer what the answer was about."""
    if not stack or stack.tags.get("branch") != agreed.tags.get("branch"):
        raise Held(
            "Another branch was deployed meanwhile, so nothing was copied: `invoke status`, then again."
        )
    return stack


def one_off(definition: TaskDefinition) -> OneOff | None:
    """What copies and migrates, out of the container that does so when a task starts; None where none does.

    Of its chain (`a && b && c`) the copy and `migrate` are kept: the copy replaces the whole database, so
    there is nothing to reset, and static files belong to the task that serves them.
    """
    for container in definition.containers:
        chain = next((word for word in container.command if COPY in word), None)
        if chain is None:
            continue
        if chain == COPY:  # no shell: the words of one command
            command = (*container.command, "--fresh")
        else:
            steps = [step.strip() for step in chain.split("&&")]
            kept = [step for step in steps if COPY in step or re.search(r"\bmigrate\b", step)]
            command = ("sh", "-c", " && ".join(kept).replace(COPY, f"{COPY} --fresh", 1))
        return OneOff(
            image=container.image,
            command=command,
            cpu=definition.cpu,
            memory=definition.memory,
            role=definition.role,
            variables=container.variables,
            secrets=container.secrets,
        )
    return None


def _run(bench: Bench, place: Place, stack: Stack, command: Command) -> None:
    settings, group = bench.settings, environment.task_group(bench.settings)
    service = place.aws.resource(stack.name, "Service") or ""
    cluster = service.split("/")[-2] if "/" in service else ""
    before = {task.id for task in place.aws.tasks_of_family(cluster, f"copilot-{group}")}
    told: list[str] = []

    def hear(line: str) -> None:
        prefix, _, said = line.partition(" ")
        if prefix.startswith("copilot-task/"):
            bench.report.say(f"  {said}")
            told.append(said)

    with (
        catching_signals(settings.timeout, bench.report.say) as stop,
        bench.report.waiting(f"Copying staging's data into {settings.test_env}"),
    ):
        result = bench.shell.stream(command, hear, stop.signal_due)
    begun = [t for t in place.aws.tasks_of_family(cluster, f"copilot-{group}") if t.id not in before]
    if stop.asked():
        became = (
            "was not begun" if not begun else "goes on in the environment; `invoke status` shows its data"
        )
        if stop.interrupted:
            raise Interrupted(f"Interrupted; the copy {became}.")
        raise Failed(f"The copy took longer than DEPLOY_TIMEOUT ({settings.timeout:.0f} s) and {became}.")
    if not begun:
        last = "".join(f"\n  {line}" for line in (result.stderr or result.stdout).strip().splitlines()[-12:])
        raise Failed(f"The one-off task was not started; the data are as they were. Copilot said:{last}")
    task = _ended(place, cluster, group, begun[0])
    stream = f"copilot-task/{group}/{task.id}"
    lines = place.aws.last_lines(f"/copilot/{group}", stream, 10_000)
    for line in lines[
        len(told) :
    ]:  # Copilot stops looking when the task has ended, before the last ones come
        bench.report.say(f"  {line}")
    code = task.containers[0].exit_code if task.containers else None
    if code:
        why = next((line for line in reversed(lines) if "Error: " in line), "see the lines above")
        raise _OUTCOMES.get(code, Failed)(
            f"The one-off task ended with exit code {code}: {why.partition('Error: ')[2] or why}"
        )
    if code is None:
        raise Failed(f"The one-off task did not start: {task.stopped_reason or 'ECS gives no reason'}.")


def _ended(place: Place, cluster: str, group: str, task: Task) -> Task:
    """The task as ECS shows it once it has stopped. Raises Failed where it does not."""
    for _ in range(_LOOKS):
        found = place.aws.tasks_of_family(cluster, f"copilot-{group}")
        task = next((each for each in found if each.id == task.id), task)
        if task.status == "STOPPED":
            return task
        time.sleep(0.2)
    raise Failed(f"Copilot stopped following the task {task.id}, which still runs: see `invoke status`.")
