"""Read the last lines that a container has written, as they help a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Task
    from copilot_testenv.core.settings import Settings

LAST_LINES = 30
_READ = 200  # of which the load balancer's health checks may be nearly all
_HEALTH_CHECK = re.compile(r"ELB-HealthChecker|\bGET \S*/healthz\b")


def last_lines(aws: Aws, settings: Settings, container: str, task: Task) -> list[str]:
    """Return the last LAST_LINES lines of a task's container, without health checks. Raises Failed."""
    group = f"/copilot/{settings.app}-{settings.test_env}-{settings.service}"
    found = aws.last_lines(group, f"copilot/{container}/{task.id}", _READ)
    return [line for line in found if not is_health_check(line)][-LAST_LINES:]


def is_health_check(line: str) -> bool:
    """Return True if a line of an access log is of a request of the load balancer's health check."""
    return _HEALTH_CHECK.search(line) is not None


def quoted(lines: list[str], indent: str = "  ") -> list[str]:
    """Return the lines of a log, indented below the sentence that announces them."""
    return [f"{indent}{line}" for line in lines] or [f"{indent}(it wrote none)"]
