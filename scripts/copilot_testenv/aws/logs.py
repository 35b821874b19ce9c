"""Read the logs of containers."""

from __future__ import annotations

from typing import Any

from copilot_testenv.aws.calls import Answered, Calls
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

    def streams(self, group: str, prefix: str) -> list[str]:
        """Return the names of the log streams that begin with a prefix; empty without the group."""
        try:
            pages = list(
                self._pages("logs", "describe_log_streams", logGroupName=group, logStreamNamePrefix=prefix)
            )
        except Answered as error:
            if error.code == _ABSENT:
                return []
            raise
        return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]

    def raw_events(
        self, group: str, stream: str, limit: int, token: str = "", *, from_start: bool = False
    ) -> tuple[list[tuple[int, str]], str]:
        """Return a log stream's events with their times in milliseconds, unchanged, and a token.

        They are the last ones; with `from_start` the first ones, and with a token those after it. Their text
        is a branch's own: it is not safe to show.
        """
        given = {"nextToken": token} if token else {}
        answer = self._find(
            "logs",
            "get_log_events",
            _ABSENT,
            logGroupName=group,
            logStreamName=stream,
            limit=limit,
            startFromHead=from_start,
            **given,
        )
        if answer is None:
            return [], token
        events = [(event["timestamp"], event["message"]) for event in answer["events"]]
        return events, str(answer.get("nextForwardToken", ""))

    def has_log_group(self, group: str) -> bool:
        return self._find("logs", "describe_log_streams", _ABSENT, logGroupName=group, limit=1) is not None

    def delete_log_group(self, group: str) -> bool:
        """Delete a log group; return True if it existed."""
        return self._find("logs", "delete_log_group", _ABSENT, logGroupName=group) is not None

    def newest_streams(self, group: str, most: int) -> list[str]:
        """Return the names of the log streams that were created last, the newest first.

        They are not asked for by the time of their last line: AWS updates that up to an hour late.
        Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html
        """
        try:
            pages = list(self._pages("logs", "describe_log_streams", logGroupName=group))
        except Answered as error:
            if error.code == _ABSENT:
                return []
            raise
        streams = [stream for page in pages for stream in page["logStreams"]]
        streams.sort(key=lambda stream: int(stream["creationTime"]), reverse=True)
        return [stream["logStreamName"] for stream in streams[:most]]
