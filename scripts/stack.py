"""What AWS says about the service's stack, read only: tags, events, tasks and their last lines."""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scripts.command import Variables
from scripts.errors import Failed, SettingsError

_TAG_SAFE = re.compile(r"[^A-Za-z0-9_.:/@ -]")


def tag_value(text: str) -> str:
    """Any text in the letters that AWS allows in a tag and Copilot in `--resource-tags`.

    Letters, digits, spaces and `_ . : / @ -` stay; anything else becomes `+` and its UTF-8 bytes in
    hexadecimal, closed by `+`. Raises SettingsError beyond 256 characters, the longest tag.
    Source: https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
    """
    value = _TAG_SAFE.sub(lambda found: f"+{found[0].encode().hex()}+", text)
    if len(value) > 256:  # noqa: PLR2004 - the number is the docstring's
        raise SettingsError(f"{text[:60]!r}… is too long to be kept as a tag of the stack.")
    return value


def tag_text(value: str) -> str:
    """What `tag_value` was given."""
    return re.sub(
        r"\+((?:[0-9a-f]{2})+)\+", lambda found: bytes.fromhex(found[1]).decode("utf-8", "replace"), value
    )


@dataclass(frozen=True)
class Stack:
    """A CloudFormation stack: `tags` as they were before `tag_value`."""

    name: str
    status: str
    tags: Mapping[str, str]
    changed_at: datetime

    @property
    def changing(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")

    @property
    def live(self) -> bool:
        """Whether a service stands there, be it an older one after a roll-back."""
        return self.status in {
            "CREATE_COMPLETE",
            "UPDATE_COMPLETE",
            "UPDATE_ROLLBACK_COMPLETE",
            "IMPORT_COMPLETE",
        }


@dataclass(frozen=True)
class Container:
    name: str
    status: str
    exit_code: int | None
    reason: str


@dataclass(frozen=True)
class Task:
    """One ECS task of the service."""

    id: str
    status: str
    health: str
    task_definition: str
    started_at: datetime | None
    stopped_reason: str
    containers: tuple[Container, ...] = field(default=())

    @property
    def failed_container(self) -> Container | None:
        """The container that ended the task, as far as its exit codes and reasons tell.

        One that failed by itself comes before one that was told to stop (128 + SIGTERM or SIGKILL) or that
        waited in vain for another (143 too, with a reason, on ECS).
        """
        told = {None, 0, 128 + signal.SIGTERM, 128 + signal.SIGKILL}
        failed = [c for c in self.containers if c.exit_code not in told]
        explained = [c for c in self.containers if c.reason and "ordering dependency" not in c.reason]
        ended = [c for c in self.containers if c.exit_code]
        return next(iter([*failed, *explained, *ended]), None)


@dataclass(frozen=True)
class Event:
    at: datetime
    resource: str
    status: str
    reason: str


class Aws:
    """The few things we ask AWS ourselves; whatever changes something goes through Copilot."""

    def __init__(self, env: Variables) -> None:
        self.env = env

    @functools.cached_property
    def _session(self) -> boto3.Session:
        if not self.env:
            return boto3.Session()
        return boto3.Session(
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
        )

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def _client(self, service: str) -> Any:
        retries: Any = {"mode": "standard", "max_attempts": 5}
        proxy = self.env.get("HTTPS_PROXY")
        config = Config(retries=retries, proxies={"https": proxy} if proxy else None)
        return self._session.client(service, config=config, verify=self.env.get("AWS_CA_BUNDLE"))

    def _ask(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client(service), operation)(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise _Answered(service, operation, error) from error
        return answer

    def account(self) -> str:
        """The account's number, for the first line of a run. Raises Failed where credentials are wrong."""
        return str(self._ask("sts", "get_caller_identity")["Account"])

    @property
    def region(self) -> str:
        return str(self._client("sts").meta.region_name)

    def stack(self, name: str) -> Stack | None:
        """The stack of that name, or None where there is none."""
        try:
            found = self._ask("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        return Stack(
            name,
            found["StackStatus"],
            {tag["Key"]: tag_text(tag["Value"]) for tag in found.get("Tags", ())},
            found.get("LastUpdatedTime") or found["CreationTime"],
        )

    def resource(self, stack: str, logical_id: str) -> str | None:
        """A stack's resource's physical id."""
        try:
            found = self._ask(
                "cloudformation", "describe_stack_resource", StackName=stack, LogicalResourceId=logical_id
            )
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        physical_id: str | None = found["StackResourceDetail"].get("PhysicalResourceId")
        return physical_id

    def events(self, stack: str, since: datetime) -> list[Event]:
        """The stack's events from `since` on, oldest first; empty where the stack is gone."""
        try:
            found = self._ask("cloudformation", "describe_stack_events", StackName=stack)["StackEvents"]
        except _Answered as error:
            if error.says("does not exist"):
                return []
            raise
        events = [
            Event(
                event["Timestamp"],
                event["LogicalResourceId"],
                event.get("ResourceStatus", ""),
                event.get("ResourceStatusReason", ""),
            )
            for event in found
            if event["Timestamp"] >= since
        ]
        return sorted(events, key=lambda event: event.at)

    def tasks(self, cluster: str, service: str) -> list[Task]:
        """The service's tasks that run, start or stopped within the last hour (ECS forgets older ones)."""
        arns = [
            arn
            for status in ("RUNNING", "STOPPED")
            for arn in self._ask(
                "ecs", "list_tasks", cluster=cluster, serviceName=service, desiredStatus=status
            )["taskArns"]
        ]
        if not arns:
            return []
        found = self._ask("ecs", "describe_tasks", cluster=cluster, tasks=arns)["tasks"]
        return [_task(task) for task in found]

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        """The last lines of a log stream; empty where it does not exist."""
        try:
            found = self._ask(
                "logs",
                "get_log_events",
                logGroupName=group,
                logStreamName=stream,
                limit=limit,
                startFromHead=False,
            )
        except _Answered as error:
            if error.says("does not exist"):
                return []
            raise
        return [event["message"] for event in found["events"]]

    def missing_parameters(self, names: list[str]) -> list[str]:
        """Which of these SSM parameters do not exist. Ten a call, as SSM allows; values are not decrypted."""
        missing: list[str] = []
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=False)
            missing += found.get("InvalidParameters", [])
        return missing


class _Answered(Failed):
    """AWS answered with an error, or did not answer."""

    def __init__(self, service: str, operation: str, error: Exception) -> None:
        self._text = str(error)
        super().__init__(
            f"AWS did not do {service}:{operation.replace('_', '-')}: {error} "
            "Check the credentials, the region and the rights of this role."
        )

    def says(self, words: str) -> bool:
        return words in self._text


def _task(task: Mapping[str, Any]) -> Task:
    return Task(
        task["taskArn"].rsplit("/", 1)[-1],
        task["lastStatus"],
        task.get("healthStatus", "UNKNOWN"),
        task["taskDefinitionArn"],
        task.get("startedAt"),
        task.get("stoppedReason", ""),
        tuple(
            Container(c["name"], c.get("lastStatus", ""), c.get("exitCode"), c.get("reason", ""))
            for c in task["containers"]
        ),
    )
