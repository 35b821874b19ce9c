"""What AWS tells of a service: its stack with its tags, its tasks, what happened."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
_CONDITIONS = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}  # of a balancer's rule
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
    """Return what `tag_value` was given."""
    return re.sub(
        r"\+((?:[0-9a-f]{2})+)\+", lambda found: bytes.fromhex(found[1]).decode("utf-8", "replace"), value
    )


def tags_of(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return a stack's tags as they were before `tag_value`, each as one line that may be shown."""
    return {tag["Key"]: display.masked(display.line(tag_text(tag["Value"]))) for tag in tags}


@dataclass(frozen=True)
class Stack:
    """A CloudFormation stack: `tags` as they were before `tag_value`."""

    name: str
    status: str
    tags: Mapping[str, str]
    changed_at: datetime

    @property
    def changing(self) -> bool:
        """Whether CloudFormation is at work; a stack of nothing but a change set (in review) is not."""
        return self.status.endswith("_IN_PROGRESS") and not self.in_review

    @property
    def in_review(self) -> bool:
        """Return True if there is nothing of it yet but a change set that nobody has carried out."""
        return self.status == "REVIEW_IN_PROGRESS"

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
class Defined:
    """A container as a task definition has it; `secrets` are parameters' names or ARNs by variable."""

    name: str
    image: str
    command: tuple[str, ...]
    variables: Mapping[str, str]
    secrets: Mapping[str, str]


@dataclass(frozen=True)
class TaskDefinition:
    """What a task is started from; `cpu` in units of 1/1024, `memory` in MiB."""

    cpu: str
    memory: str
    role: str
    containers: tuple[Defined, ...]


@dataclass(frozen=True)
class Event:
    at: datetime
    resource: str
    status: str
    reason: str


def rule_url(scheme: str, rule: Mapping[str, Any], balancer: str) -> str:
    """Return what a load balancer's rule serves.

    That is its first host, else the balancer's own, and its first path.
    """
    wanted = {
        each["Field"]: each.get(kind, {}).get("Values") or each.get("Values", [])
        for each in rule["Conditions"]
        if (kind := _CONDITIONS.get(each["Field"]))
    }
    name, colon, port = balancer.partition(":")  # it has a port in the sandbox
    host = next(iter(wanted.get("host-header", [])), name)
    path = next(iter(wanted.get("path-pattern", [])), "")
    return f"{scheme}://{host}{colon}{port}{path.rstrip('*').rstrip('/')}"
