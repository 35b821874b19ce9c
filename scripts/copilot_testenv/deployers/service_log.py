"""Read a service's log in CloudWatch, in the form of `copilot svc logs --json`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from copilot_testenv.aws import Aws
from copilot_testenv.core.process import Result
from copilot_testenv.deployers.deployer import Hear, SignalDue

_MOST = 10_000  # events in an answer
_PREFIX = "copilot/"  # of the streams of a service's containers


@dataclass(frozen=True)
class Log:
    """The log of a service's containers: all, or those of one name; of all tasks, or of some."""

    aws: Aws
    group: str
    container: str
    tasks: tuple[str, ...]

    def last(self, limit: int, hear: Hear) -> Result:
        """Give `hear` the last events of all streams, in the order of time."""
        events = [
            (at, stream, message)
            for stream in self._streams()
            for at, message in self.aws.raw_events(self.group, stream, min(limit, _MOST))[0]
        ]
        events.sort(key=lambda event: event[0])
        for event in events[-limit:]:
            hear(_line(*event))
        return Result(0)

    def follow(self, hear: Hear, signal_due: SignalDue, *, pause: float) -> Result:
        """Give `hear` the events that come from now on, until a signal is due."""
        now = int(time.time() * 1000)
        tokens: dict[str, str] = {}
        while not (due := signal_due()):
            for stream in self._streams():
                is_known = stream in tokens
                events, tokens[stream] = self.aws.raw_events(
                    self.group, stream, _MOST, tokens.get(stream, ""), from_start=is_known
                )
                for at, message in events:
                    if is_known or at >= now:
                        hear(_line(at, stream, message))
            time.sleep(pause)
        return Result(-due)

    def _streams(self) -> list[str]:
        found = self.aws.streams(self.group, f"{_PREFIX}{self.container}")
        parts = {stream: stream.removeprefix(_PREFIX).partition("/") for stream in found}
        return [
            stream
            for stream, (container, _, task) in parts.items()
            if (not self.container or container == self.container) and (not self.tasks or task in self.tasks)
        ]


def _line(at: int, stream: str, message: str) -> str:
    return json.dumps({"logStreamName": stream, "message": message, "timestamp": at})
