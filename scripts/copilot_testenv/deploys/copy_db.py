"""Copy staging's data again into a deployed branch's database, by a one-off task in the environment."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from copilot_testenv.copilot import branch_service, ownership
from copilot_testenv.copilot.commands import OneOff
from copilot_testenv.core import strict_json
from copilot_testenv.core.errors import Failed, Held, Refused, SettingsError
from copilot_testenv.core.strict_json import Malformed
from copilot_testenv.core.terminal import as_json, confirm
from copilot_testenv.deploys import nothing, one_offs, preflight, status
from copilot_testenv.session import require_settled
from copilot_testenv.state import bucket, live

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from copilot_testenv.aws.stack import Stack, TaskDefinition
    from copilot_testenv.core.settings import Settings
    from copilot_testenv.session import Session, Target
    from copilot_testenv.state.live import Deployment

COPY = "copy_stage_db"
_LONGEST = 256 << 10  # bytes of one event in CloudWatch Logs
_MOST_IN_ONE = 20  # branches: CloudFormation takes 4096 bytes of a command
_UNREADABLE = (
    "The one-off task succeeded, but printed no result that these tasks can read: its image may contain "
    "an older or newer version of them. Deploy its branch again from here, then try again."
)
_LONGEST_NAME = 63  # letters of a database's name in Postgres

_T = TypeVar("_T")


def copy(session: Session, *, name: str, wait: bool, yes: bool, plan: bool, json: bool) -> None:
    """Copy staging's database into the deployed branch's and migrate it; the service goes on running.

    Raises the errors of core.errors; where `copy_stage_db` refused, with its exit code.
    """
    session.announce()
    session.check_workspace()
    target = session.enter_to_change()
    if target:
        session, target = session.slot_of(target, name)
    stack = target.aws.stack(session.settings.stack_name) if target else None
    ownership.require_ours(stack, session.settings)
    if not wait:
        require_settled(stack)
    if not target or not stack or not (stack.live or stack.changing):
        raise nothing.deployed(session, target, ", so nothing can be copied")
    branch = stack.tags.get("branch", "an unknown branch")
    _copy_task(session, target, stack)  # an error in it comes before the question
    deployment: Deployment | None = None
    if plan:
        session.report.say(
            f"Would replace the data of {branch} with a fresh copy of staging's, and migrate them; the "
            "testers' changes are lost. The service continues to run."
        )
    else:
        confirm(
            session.report,
            f"Replace the data of {branch} with a fresh copy of staging's? The testers' changes are lost.",
            yes=yes,
        )
        preflight.preflight(session, target, builds=False)
        lease = bucket.lease(session, target, f"copying staging's data for {branch}")
        with lease.held(wait=wait, say=session.report.say):
            stack = _require_same(session.settled(target, wait=wait), stack)
            doing = f"Copying staging's data for {branch} ({session.settings.service})"
            lease.require_held()  # the wait for a stack that was being changed can have taken long
            task = _copy_task(session, target, stack)
            one_offs.run(session, target, one_offs.cluster_of(target, stack), task, doing)
            deployment = live.describe(session, target, stack)
            bucket.registry(session, target).record(deployment.service, bucket.entry(deployment))
    if json:
        session.report.data(as_json(asdict(deployment or live.describe(session, target, stack))))


def _copy_task(session: Session, target: Target, stack: Stack) -> OneOff:
    """Return the one-off task that copies. Raises SettingsError where no container does."""
    settings = session.settings
    definition = target.aws.resource(stack.name, "TaskDefinition")
    task = one_off(target.aws.task_definition(definition)) if definition else None
    if not task:
        raise SettingsError(
            f"No container of {settings.service} in {settings.test_env} runs `{COPY}`, so there is no "
            "command to repeat: add it to the startup sidecar in the manifest, and deploy."
        )
    return task


@dataclass(frozen=True)
class Host:
    """A cluster for a one-off task that knows the project's databases, and the task definition to copy."""

    cluster: str
    definition: TaskDefinition
    service: str  # of the slot that it is


def host(session: Session, target: Target, going: Collection[str] = ()) -> Host | None:
    """Return the host of the slot itself, else of the shared slot, else of any deployment.

    One of the services that are `going` comes last. None without one.
    """
    settings, aws = session.settings, target.aws
    shared = settings.shared
    # Deployments of this service only: containers of another service know another database.
    others = [status.slot(shared, stack) for stack in aws.deployments(settings.app, settings.test_env)]
    slots = dict.fromkeys((settings, shared, *filter(None, others)))
    for slot in sorted(slots, key=lambda each: each.service in going):
        stack = aws.stack(slot.stack_name)
        usable = stack and stack.live and ownership.is_ours(stack, slot)
        arn = aws.resource(slot.stack_name, "TaskDefinition") if usable else None
        if not stack or not arn:
            continue
        definition = aws.task_definition(arn)
        if any(COPY in word for container in definition.containers for word in container.command):
            return Host(one_offs.cluster_of(target, stack), definition, slot.service)
    return None


def drop_own(session: Session, target: Target, host: Host) -> list[str]:
    """Drop the database of an isolated deployment; return the names of dropped databases. Idempotent."""
    suffix = session.settings.database_suffix
    if not suffix:
        raise Refused("The shared database is never dropped: the next deploy copies it afresh.")
    doing = "Dropping its database"
    return list(
        filter(None, _ask_copy(session, target, host, "--drop-own-database", suffix, doing, of=_dropped))
    )


def drop_several(
    session: Session, target: Target, host: Host, slots: Sequence[Settings]
) -> dict[str, list[str]]:
    """Drop the databases of several isolated deployments by one-off tasks, as few as possible.

    Return the names of dropped databases by service; a service is missing where its database was not dropped.
    Idempotent. Raises Failed, Interrupted.
    """
    dropped: dict[str, list[str]] = {}
    for start in range(0, len(slots), _MOST_IN_ONE):
        some = slots[start : start + _MOST_IN_ONE]
        results = _ask_copy_of_each(
            session,
            target,
            host,
            "--drop-own-database",
            [slot.database_suffix for slot in some],
            f"Dropping the databases of {len(some)} branches",
            of=_told,
        )
        for name, was_there in results:
            # One slot's suffix can be the end of another's.
            own = [slot for slot in some if name.endswith(slot.database_suffix)]
            for slot in sorted(own, key=lambda each: len(each.database_suffix))[-1:]:
                dropped[slot.service] = [name] if was_there else []
    return dropped


def databases(session: Session, target: Target, host: Host) -> list[str]:
    """Return the names of all branches' databases, with or without a deployment."""
    return _ask_copy(session, target, host, "--list-databases", "", "Looking at the databases", of=_name)


def drop_named(session: Session, target: Target, host: Host, name: str) -> None:
    """Drop the database of a branch that no longer has a deployment."""
    flags = f"--drop-database {shlex.quote(name)}"
    _ask_copy(session, target, host, flags, "", f"Dropping {name}", of=_dropped)


def _ask_copy(
    session: Session,
    target: Target,
    host: Host,
    flags: str,
    suffix: str,
    doing: str,
    *,
    of: Callable[[Any], _T],
) -> list[_T]:
    """Run `copy_stage_db` with other flags, in the container that copies; return its checked JSON output."""
    task, line = _asking(host, flags)
    if suffix:
        task = replace(task, variables={**task.variables, branch_service.SUFFIX: suffix})
    found = next(_answers(_run_line(session, target, host, task, line, doing), of), None)
    if found is None:
        raise Failed(_UNREADABLE)
    return found


def _ask_copy_of_each(
    session: Session,
    target: Target,
    host: Host,
    flags: str,
    suffixes: Sequence[str],
    doing: str,
    *,
    of: Callable[[Any], _T],
) -> list[_T]:
    """Ask as `_ask_copy`, once for each suffix, in one container, also where one of them fails."""
    task, line = _asking(host, flags)
    each = "; ".join(f"{branch_service.SUFFIX}={shlex.quote(suffix)} {line}" for suffix in suffixes)
    lines = _run_line(session, target, host, task, f"{each}; true", doing)
    if found := [result for results in _answers(lines, of) for result in results]:
        return found
    raise Failed(_UNREADABLE)


def _asking(host: Host, flags: str) -> tuple[OneOff, str]:
    """Return the one-off task for the databases, without a branch's suffix, and its shell's line."""
    task = one_off(host.definition)
    if task is None:
        raise Failed(f"No container runs `{COPY}`, so the databases cannot be reached.")
    variables = {name: value for name, value in task.variables.items() if name != branch_service.SUFFIX}
    words = re.search(rf"[^&|;]*\b{COPY}\b", " ".join(task.command[-1:]))
    line = f"{words[0].strip() if words else f'python manage.py {COPY}'} {flags} --json"
    # Without the service's role: it may be deleted already, and the database does not need it.
    return replace(task, variables=variables, role=""), line


def _run_line(session: Session, target: Target, host: Host, task: OneOff, line: str, doing: str) -> list[str]:
    def show(line: str) -> None:
        if next(_answers([line], str), None) is None:  # an answer is for these tasks to read
            session.report.say(f"  {line}")

    return one_offs.run(session, target, host.cluster, task.in_shell(line), doing, show=show)


def _answers(lines: list[str], of: Callable[[Any], _T]) -> Iterator[list[_T]]:
    """Yield the JSON lists among the lines, the last one first: the project may print its own lines."""
    for line in reversed(lines):
        with suppress(Malformed):
            results = strict_json.document(line.encode(), _LONGEST)
            if isinstance(results, list):
                checked = [of(result) for result in results]
                yield checked


def _told(value: object) -> tuple[str, bool]:
    """Return the name of a database, and True if it existed. Raises Malformed."""
    result = strict_json.only(value, ("database", "dropped"), "a result")
    return _name(result["database"]), result["dropped"] is True


def _dropped(value: object) -> str:
    """Return the name of a database that was dropped; empty where it did not exist. Raises Malformed."""
    result = strict_json.only(value, ("database", "dropped"), "a result")
    return _name(result["database"]) if result["dropped"] is True else ""


def _name(value: object) -> str:
    return strict_json.text(value, "a database's name", _LONGEST_NAME)


def _require_same(stack: Stack | None, agreed: Stack) -> Stack:
    """Return the current stack. Raises Held where it no longer has the branch that the user agreed to."""
    if not stack or stack.tags.get("branch") != agreed.tags.get("branch"):
        raise Held(
            "Nothing was copied, because another branch was deployed meanwhile: look at `invoke status`, "
            "then run this again."
        )
    return stack


def one_off(definition: TaskDefinition) -> OneOff | None:
    """Return a one-off task from the container that copies and migrates at start; None where none does.

    Of the container's chain of commands (`a && b && c`) only the copy and `migrate` are kept. The copy
    replaces the whole database, so a reset is not needed, and static files belong to the task that serves
    them.
    """
    for container in definition.containers:
        chain = next((word for word in container.command if COPY in word), None)
        if chain is None:
            continue
        task = OneOff(
            image=container.image,
            command=(*container.command, "--fresh"),
            cpu=definition.cpu,
            memory=definition.memory,
            role=definition.role,
            variables=container.variables,
            secrets=container.secrets,
            entry_point=container.entry_point,
            execution_role=definition.execution_role,
        )
        if chain == COPY:  # no shell: the words of one command
            return task
        steps = [step.strip() for step in chain.split("&&")]
        kept = [step for step in steps if COPY in step or re.search(r"\bmigrate\b", step)]
        return task.in_shell(" && ".join(kept).replace(COPY, f"{COPY} --fresh", 1))
    return None
