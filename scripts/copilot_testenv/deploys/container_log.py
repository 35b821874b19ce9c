"""Read the last lines that a container has written, as they help a person."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from copilot_testenv.core.polling import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from copilot_testenv.aws import Aws
    from copilot_testenv.aws.stack import Task
    from copilot_testenv.core.settings import Settings

LAST_LINES = 30
_READ = 200  # of which the load balancer's health checks may be nearly all
_HEALTH_CHECKS = 3  # lines of them that are shown where there are no others
_LATE_SECONDS = 10.0  # after which CloudWatch has a line that was written
# The last line of a traceback, and how management commands end: at the line's beginning, with a text.
_ERROR = re.compile(
    r"(?:[A-Za-z_][\w.]*\.)?(?:[A-Z]\w*(?:Error|Exception|Exit|Warning|DoesNotExist|ImproperlyConfigured)"
    r"|ImproperlyConfigured|copy_stage_db): \S"
)
# Errors of connections, locks and time: they can pass, so another try may succeed.
_PASSING = re.compile(
    r"OperationalError|InterfaceError|Connection|Timeout|TimedOut|timed out|Temporar|Throttl|[Dd]eadlock"
    r"|gaierror|\bOSError"
)
_APPLYING = re.compile(r"Applying (?P<name>[\w.]+)\.\.\.(?P<ended> OK| FAKED)?")
_UNDERLINES = re.compile(r"\s*[~^][~^\s]*")
_FRAME = re.compile(r'(?P<indent> *)File "(?P<file>[^"]+)", line \d')
_OF_A_LIBRARY = re.compile(r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|^<frozen ")
_LEFT_OUT = "[…]"
_HEALTH_CHECK = re.compile(r"ELB-HealthChecker|\bGET \S*/healthz\b")


def last_lines(aws: Aws, settings: Settings, container: str, task: Task) -> list[str]:
    """Return the last LAST_LINES lines of a task's container. Raises Failed.

    Health checks are left out where there are other lines, and of tracebacks what `without_libraries` leaves
    out.
    """
    group = f"/copilot/{settings.app}-{settings.test_env}-{settings.service}"
    found = aws.last_lines(group, f"copilot/{container}/{task.id}", _READ)
    others = [line for line in found if not is_health_check(line)]
    return without_libraries(others or found[-_HEALTH_CHECKS:])[-LAST_LINES:]


def lines_of_ended(aws: Aws, settings: Settings, container: str, task: Task) -> list[str]:
    """Return the last lines of a container that has just ended; wait for them, as logs arrive late.

    Raises Failed.
    """
    return until(
        lambda: last_lines(aws, settings, container, task),
        bool,
        seconds=_LATE_SECONDS / 10 if settings.target == "sandbox" else _LATE_SECONDS,
        every=0.2 if settings.target == "sandbox" else 1,
    )


def without_libraries(lines: Sequence[str]) -> list[str]:
    """Return the lines with one mark in place of a traceback's frames in libraries.

    The last frame of a traceback stays, because the error was raised there.
    """
    shown: list[str] = []
    frame: list[str] = []  # the lines of a library's frame, as long as it may be the last
    for line in lines:
        found = _FRAME.match(line)
        if frame and (found or not line.startswith(f"{_indent(frame[0])} ")):
            if not found:
                shown += frame
            elif not (shown and shown[-1].strip() == _LEFT_OUT):
                shown.append(f"{_indent(frame[0])}{_LEFT_OUT}")
            frame = []
        if frame or (found and _OF_A_LIBRARY.search(found["file"])):
            frame.append(line)
        else:
            shown.append(line)
    return shown + frame


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def is_health_check(line: str) -> bool:
    """Return True if a line of an access log is of a request of the load balancer's health check."""
    return _HEALTH_CHECK.search(line) is not None


def cause(lines: Sequence[str]) -> str:
    """Return the line that says why a program ended, with Django's migration if one was under way.

    It is the last line of the last traceback, or the last line of an error of `manage.py`. Empty: none.
    """
    found = next((line.strip() for line in reversed(lines) if _ERROR.match(line)), "")
    if not found:
        return ""
    applying = [match for line in lines if (match := _APPLYING.search(line))]
    unfinished = applying[-1] if applying and not applying[-1]["ended"] else None
    return f"{found} (migration {unfinished['name']})" if unfinished else found


def is_lasting(error: str) -> bool:
    """Return True if another try with the same image and data ends with the same error, as `cause` has it.

    What `copy_stage_db` says of servers that do not answer, for example, can pass.
    """
    return (
        bool(error) and not error.startswith(("copy_stage_db", "CommandError")) and not _PASSING.search(error)
    )


def once(lines: Sequence[str]) -> list[str]:
    """Return the lines without repetitions at their end, whose numbers may differ."""
    kept = list(lines)
    for size in range(1, len(kept) // 2 + 1):
        while _alike(kept[-size:]) == _alike(kept[-2 * size : -size]):
            del kept[-2 * size : -size]
    return kept


def _alike(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+", "0", line) for line in lines]


def quoted(
    lines: list[str], indent: str = "  ", none: str = "none has arrived in CloudWatch Logs"
) -> list[str]:
    """Return the lines of a log, indented below the sentence that announces them; equal neighbours as one.

    Without lines, return `none` in brackets. Lines with which a traceback of Python underlines the one before
    are left out: a narrow terminal breaks that one, so they would underline something else.
    """
    told = [line for line in lines if not _UNDERLINES.fullmatch(line)]
    runs = [(line, len(list(run))) for line, run in itertools.groupby(told)]
    shown = [f"{indent}{line} ({count} times)" if count > 1 else f"{indent}{line}" for line, count in runs]
    return shown or [f"{indent}({none})"]
