"""Describe the deployment that is live in a slot, as `--json` shows it: its tasks, its URL, its data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from copilot_testenv.core import expiry, git
from copilot_testenv.core.settings import NAME, Settings
from copilot_testenv.state import last_copy

if TYPE_CHECKING:
    from copilot_testenv.aws.stack import Stack, Task
    from copilot_testenv.session import Session, Target

SERVICES = "services"  # the tag of a slot's stack with the names of its other services
_DATA_OF = re.compile(r'copy_stage_db: data of (\d{4}-\S+)(?: in "(.+)")?(, kept)?')
_TOOK = re.compile(r"copy_stage_db: the copy took (\d+\.\d+) s")  # the line before it in the log
_ONE_OFFS = 10  # one-off tasks whose logs are read: others than copies may have come after the last copy

# The event's time, the data's time, the database, the seconds of the copy, and True if the data were kept.
_Report = tuple[int, str, str | None, float | None, bool]


@dataclass(frozen=True)
class Deployment:
    """One test deployment, as `--json` shows it. Times are in ISO 8601, UTC; None means unknown."""

    branch: str | None
    commit: str | None
    slug: str | None
    environment: str
    service: str
    url: str | None
    database: str | None
    deployed_by: str | None
    deployed_at: str | None
    expires_at: str | None
    data_copied_at: str | None
    isolated: bool
    target: str
    hours: str | None = None  # the office hours that it was deployed with
    asleep: bool | None = None
    services: tuple[str, ...] = ()  # all of the slot, the web service first
    urls: Mapping[str, str] = field(default_factory=dict)  # of its web services, by their names in copilot/

    @property
    def more_urls(self) -> dict[str, str]:
        """The URLs of the slot's web services but the page's."""
        return {name: url for name, url in self.urls.items() if url != self.url}


def deployment_of(
    settings: Settings,
    tags: Mapping[str, str],
    *,
    url: str | None = None,
    urls: Mapping[str, str] = MappingProxyType({}),
    database: str | None = None,
    data_copied_at: str | None = None,
    asleep: bool | None = None,
) -> Deployment:
    """Return the deployment that a stack's tags describe, with the other values that are known.

    `urls` are those of the slot's other web services.
    """
    name, end = tags.get("branch"), tags.get("expires_at")
    return Deployment(
        branch=name,
        commit=tags.get("commit"),
        slug=git.slug(name) if name else None,
        environment=settings.test_env,
        service=settings.service,
        url=url,
        database=database,
        deployed_by=tags.get("deployed_by"),
        deployed_at=tags.get("deployed_at"),
        expires_at=None if end == expiry.KEPT else end,
        data_copied_at=data_copied_at,
        isolated=bool(settings.slug),
        target=settings.target,
        hours=tags.get("hours"),
        asleep=asleep,
        services=(settings.service, *services_of(tags)),
        urls={**({settings.base: url} if url else {}), **urls},
    )


def services_of(tags: Mapping[str, str]) -> list[str]:
    """Return the slot's other services, as the tag of its web service's stack names them."""
    names = tags.get(SERVICES, "").split()
    return [name for name in names if NAME.fullmatch(name)]


def describe(session: Session, target: Target, stack: Stack, tasks: list[Task] | None = None) -> Deployment:
    """Return the deployment of a stack; `tasks` are its running tasks, where the caller knows them.

    Save the duration of the copy of its data for `check`.
    """
    settings = session.settings
    with ThreadPoolExecutor(2) as pool:  # the queries take equally long
        asking = pool.submit(url_of, session, target, stack)
        asking_others = pool.submit(other_urls, settings, target, stack)
        found = running(target, stack) if tasks is None else tasks
        data = copied_data(settings, target, found)
        url, urls = asking.result(), asking_others.result()
    if data and data.seconds is not None:
        last_copy.keep(settings, iso(data.of), data.seconds, session.report.say)
    return deployment_of(
        settings,
        stack.tags,
        url=url,
        urls=urls,
        database=data.database if data else None,
        data_copied_at=iso(data.of) if data else None,
        asleep=not found and target.aws.desired_count(stack.name) == 0,
    )


def url_of(session: Session, target: Target, stack: Stack) -> str | None:
    """Return the deployment's URL: from its load balancer's rules, else as what deploys knows it."""
    return target.aws.address(stack.name) or session.deployer(target).url()


def other_urls(settings: Settings, target: Target, stack: Stack) -> dict[str, str]:
    """Return the URLs of the slot's other web services, by their names in the workspace."""
    found = {}
    for service in services_of(stack.tags):
        base = service.removesuffix(f"-{settings.slug}") if settings.slug else service
        if url := target.aws.address(settings.other(base).stack_name):
            found[base] = url
    return found


def task_group(settings: Settings) -> str:
    """Return Copilot's name for the one-off task that copies staging's data into the slot's database."""
    return f"{settings.stack_name}-copy-db"


def service_of_task_stack(settings: Settings, stack: str) -> str:
    """Return the service whose one-off task created that stack; empty where it is not this environment's."""
    match = re.fullmatch(rf"task-{settings.app}-{settings.test_env}-(.+)-copy-db", stack)
    return match[1] if match else ""


@dataclass(frozen=True)
class Data:
    """The time of staging's data in a deployment, and the deployment's database.

    `seconds` is the duration of the copy; None where the data were in the database already. They are `kept`
    where the task found those of its own release, with what testers changed.
    """

    of: datetime
    database: str | None
    seconds: float | None = None
    kept: bool = False


def copied_data(settings: Settings, target: Target, tasks: list[Task]) -> Data | None:
    """Return the data that `copy_stage_db` last reported in a log; None where it reported none.

    It runs in a container that ends before the service starts, or in the one-off task of `copy-db`.
    """
    reports = _reports_of(settings, target, tasks)
    own = f"/copilot/{task_group(settings)}"
    for stream in target.aws.newest_streams(own, _ONE_OFFS):
        if found := _reports(target, own, stream):
            reports += found
            break
    return _last(reports)


def data_at_start(settings: Settings, target: Target, tasks: list[Task]) -> Data | None:
    """Return the data that the tasks themselves reported when they started; None where they reported none."""
    return _last(_reports_of(settings, target, tasks))


def _reports_of(settings: Settings, target: Target, tasks: list[Task]) -> list[_Report]:
    group = f"/copilot/{settings.stack_name}"
    return [
        report
        for task in tasks
        for container in task.containers
        if container.exit_code == 0
        for report in _reports(target, group, f"copilot/{container.name}/{task.id}")
    ]


def _last(reports: list[_Report]) -> Data | None:
    try:
        _, of, database, took, kept = max(reports, key=lambda report: report[:2])
        return Data(datetime.fromisoformat(of).astimezone(UTC), database, took, kept)
    except (ValueError, OverflowError):  # there is no report, or the project itself prints such a line
        return None


def reports_data(line: str) -> bool:
    """Return True if it is the line by which `copy_stage_db` reports the data when it has ended."""
    return _DATA_OF.search(line) is not None


def _reports(target: Target, group: str, stream: str) -> list[_Report]:
    """Return what `copy_stage_db` has reported in a log stream."""
    reports: list[_Report] = []
    took = None
    for at, line in target.aws.last_events(group, stream, 1000):
        if match := _TOOK.search(line):
            took = float(match[1])
        elif match := _DATA_OF.search(line):
            reports.append((at, match[1], match[2], took, bool(match[3])))
    return reports


def running(target: Target, stack: Stack) -> list[Task]:
    """Return the running tasks of the stack's current task definition that are not unhealthy."""
    service = target.aws.service(stack.name)
    wanted = target.aws.resource(stack.name, "TaskDefinition")
    if not service:
        return []
    return [
        task
        for task in target.aws.tasks(*service)
        if task.status == "RUNNING" and task.task_definition == wanted and task.health != "UNHEALTHY"
    ]


def alive(target: Target, stack: Stack) -> bool:
    """Return True if the stack's service still has a task that is not stopped."""
    service = target.aws.service(stack.name)
    return service is not None and any(task.status != "STOPPED" for task in target.aws.tasks(*service))


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
