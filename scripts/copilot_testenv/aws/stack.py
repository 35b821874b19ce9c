"""Describe a service in AWS: its stack with its tags, its tasks and its events."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from copilot_testenv.core import display
from copilot_testenv.core.errors import SettingsError

# Statuses of a stack at which CloudFormation is at work, or has given up.
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
UNSETTLED = (
    "CREATE_IN_PROGRESS",
    "CREATE_FAILED",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_FAILED",
    "ROLLBACK_COMPLETE",
    "DELETE_IN_PROGRESS",
    "DELETE_FAILED",
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_FAILED",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_FAILED",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "REVIEW_IN_PROGRESS",
)
# The others of stacks that exist.
SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
IMPORTING = (
    "IMPORT_IN_PROGRESS",
    "IMPORT_ROLLBACK_COMPLETE",
    "IMPORT_ROLLBACK_FAILED",
    "IMPORT_ROLLBACK_IN_PROGRESS",
)
_CONDITIONS = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}  # of a balancer's rule
_TAG_SAFE = re.compile(r"[^A-Za-z0-9_.:/@ -]")


def tag_value(text: str) -> str:
    """Encode any text in the letters that AWS allows in a tag and Copilot allows in `--resource-tags`.

    Letters, digits, spaces and `_ . : / @ -` stay. Anything else becomes `+`, its UTF-8 bytes in hexadecimal,
    and `+`. Raises SettingsError where the result has more than 256 characters, AWS's limit.
    Source: https://docs.aws.amazon.com/tag-editor/latest/userguide/tagging.html
    """
    value = _TAG_SAFE.sub(lambda found: f"+{found[0].encode().hex()}+", text)
    if len(value) > 256:  # noqa: PLR2004 - the number is the docstring's
        raise SettingsError(f"{text[:60]!r}… is too long for a tag of the stack.")
    return value


def tag_text(value: str) -> str:
    """Decode a tag: return the text that `tag_value` encoded."""
    return re.sub(
        r"\+((?:[0-9a-f]{2})+)\+", lambda found: bytes.fromhex(found[1]).decode("utf-8", "replace"), value
    )


def tags_of(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return a stack's tags, decoded, each as one line that is safe to show."""
    return {tag["Key"]: display.masked(display.line(tag_text(tag["Value"]))) for tag in tags}


@dataclass(frozen=True)
class Stack:
    """A CloudFormation stack; `tags` are decoded (`tag_text`)."""

    name: str
    status: str
    tags: Mapping[str, str]
    changed_at: datetime

    @property
    def changing(self) -> bool:
        """True while CloudFormation changes the stack.

        A stack that is only in review is not being changed.
        """
        return self.status.endswith("_IN_PROGRESS") and not self.in_review

    def is_recent(self, now: datetime) -> bool:
        """Return True if the stack was changed within the hour before `now`."""
        return now - self.changed_at < timedelta(hours=1)

    @property
    def in_review(self) -> bool:
        """True if the stack has a change set that was never executed, and no resource yet."""
        return self.status == "REVIEW_IN_PROGRESS"

    @property
    def live(self) -> bool:
        """True if the stack has a working service; after a roll-back it is the previous one."""
        return self.status in SETTLED


_NOT_FAILED = {None, 0, 128 + signal.SIGTERM, 128 + signal.SIGKILL}


@dataclass(frozen=True)
class Container:
    name: str
    status: str
    exit_code: int | None
    reason: str
    health: str = "UNKNOWN"  # by the container's own health check

    @property
    def failed(self) -> bool:
        """True if the container failed by itself, and was not stopped by ECS."""
        return self.exit_code not in _NOT_FAILED or (
            bool(self.reason) and "ordering dependency" not in self.reason
        )


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
        """The container that probably ended the task, by its exit code and reason.

        A container that failed by itself comes before one that ECS stopped (128 + SIGTERM or SIGKILL), and
        before one whose dependency did not start (ECS also gives it exit code 143, and a reason).
        """
        failed = [c for c in self.containers if c.exit_code not in _NOT_FAILED]
        explained = [c for c in self.containers if c.reason and "ordering dependency" not in c.reason]
        ended = [c for c in self.containers if c.exit_code]
        return next(iter([*failed, *explained, *ended]), None)


@dataclass(frozen=True)
class ContainerDefinition:
    """A container in a task definition; `secrets` maps variables to names or ARNs of parameters."""

    name: str
    image: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    entry_point: tuple[str, ...] = ()
    essential: bool = True


@dataclass(frozen=True)
class TaskDefinition:
    """An ECS task definition; `cpu` is in units of 1/1024 vCPU, `memory` in MiB."""

    cpu: str
    memory: str
    role: str
    containers: tuple[ContainerDefinition, ...]
    execution_role: str = ""


@dataclass(frozen=True)
class TargetHealth:
    """A task in a target group; `state` is the load balancer's word, `reason` its code and sentence."""

    port: int
    state: str
    reason: str


@dataclass(frozen=True)
class Event:
    at: datetime
    resource: str
    status: str
    reason: str


def rule_url(scheme: str, rule: Mapping[str, Any], balancer: str) -> str:
    """Return the URL of a load balancer's rule: its first host, else the balancer's, and its first path.

    The sandbox's load balancer, whose name has a port, serves all hosts by http: one of the user's domain by
    its twin below localhost.
    """
    values = {
        condition["Field"]: condition.get(kind, {}).get("Values") or condition.get("Values", [])
        for condition in rule["Conditions"]
        if (kind := _CONDITIONS.get(condition["Field"]))
    }
    name, colon, port = balancer.partition(":")
    host = next(iter(values.get("host-header", [])), name)
    if colon:
        scheme = "http"
        host = host if host.endswith("localhost") else f"{host}.localhost"
    path = next(iter(values.get("path-pattern", [])), "")
    return f"{scheme}://{host}{colon}{port}{path.rstrip('*').rstrip('/')}"
