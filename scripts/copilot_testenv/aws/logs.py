"""Read the logs of containers."""

from __future__ import annotations

from typing import Any

from copilot_testenv.aws.calls import Calls
from copilot_testenv.core import display

_ABSENT = "ResourceNotFoundException"


class Logs(Calls):
    """Read CloudWatch Logs."""

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        """Return the last lines of a log stream; empty where the stream does not exist."""
        return [line for _, line in self.last_events(group, stream, limit)]

    def last_events(self, group: str, stream: str, limit: int) -> list[tuple[int, str]]:
        """Return the last lines of a log stream, each with its time in milliseconds since 1970."""
        where: dict[str, Any] = {"logGroupName": group, "logStreamName": stream}
        answer = self._find("logs", "get_log_events", _ABSENT, **where, limit=limit, startFromHead=False)
        events = answer["events"] if answer else ()
        return [(event["timestamp"], display.log_line(event["message"])) for event in events]

    def has_log_group(self, group: str) -> bool:
        return self._find("logs", "describe_log_streams", _ABSENT, logGroupName=group, limit=1) is not None

    def last_stream(self, group: str) -> str | None:
        """Return the name of the log stream with the newest line; None where there is no stream."""
        how: dict[str, Any] = {"orderBy": "LastEventTime", "descending": True, "limit": 1}
        answer = self._find("logs", "describe_log_streams", _ABSENT, logGroupName=group, **how)
        return next((stream["logStreamName"] for stream in answer["logStreams"]), None) if answer else None
