"""Fakes for the doors: processes, people, the place of leases. What we integrate with is never faked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import Signals

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import disposable
from copilot_testenv.core.process import Command, Result
from copilot_testenv.state.bucket_object import Read, Unreachable
from copilot_testenv.state.lease import State


@dataclass
class FakeShell:
    """Answers whole command lines by their beginning and remembers all it was asked to run."""

    answers: dict[str, Result] = field(default_factory=dict)
    ran: list[Command] = field(default_factory=list)

    def run(self, command: Command) -> Result:
        self.ran.append(command)
        line = str(command)
        return next((result for start, result in self.answers.items() if start in line), Result(0))

    def stream(
        self,
        command: Command,
        on_line: Callable[[str], None],
        signal_due: Callable[[], Signals | None],
    ) -> Result:
        signal_due()
        result = self.run(command)
        for line in result.stdout.splitlines():
            on_line(line)
        return result

    @property
    def lines(self) -> list[str]:
        return [str(command) for command in self.ran]


class DisposableAws(Aws):
    """An account in which every environment says that it is disposable."""

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        app, environment = name.removeprefix("/copilot/applications/").split("/environments/")
        return {disposable.TAG: disposable.value(app, environment)}


def made(service: str, branch: str) -> dict[str, str]:
    """The tags of a stack that these tasks have deployed to `test` of the application `demo`."""
    return {
        "copilot-application": "demo",
        "copilot-environment": "test",
        "copilot-service": service,
        "branch": branch,
        "commit": "c" * 40,
        "deployed_at": "1",
        "deployed_by": "ada",
    }


@dataclass
class FakeReport:
    """Remembers what was said and answers questions with `answer`."""

    answer: bool = False
    said: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)

    def data(self, text: str) -> None:
        self.printed.append(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self.printed.append(f"{title} {list(columns)} {[list(row) for row in rows]}")

    def ask(self, question: str) -> bool:
        self.asked.append(question)
        return self.answer

    @contextmanager
    def waiting(self, for_what: str) -> Iterator[None]:
        self.say(for_what)
        yield


@dataclass
class Memory:
    """A store in this process that does what S3 does: a write wins only over what was read."""

    name = "s3://bucket/object.json"
    removal = "delete it: `aws s3api delete-object --bucket bucket --key object.json`"

    body: bytes | None = None
    version: int = 0
    broken: bool = False  # it does not answer
    ahead: float = 0.0  # seconds by which its clock is ahead
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> Read:
        if self.broken:
            raise Unreachable("no network")
        with self._lock:
            return Read(self.body, self._version, time.time() + self.ahead)

    def write(self, body: bytes, version: str | None) -> Read | None:
        if self.broken:
            raise Unreachable("no network")
        with self._lock:
            if version != self._version:
                return None
            self.body, self.version = body, self.version + 1
            return Read(body, self._version, time.time() + self.ahead)

    def delete(self, version: str) -> bool:
        with self._lock:
            if version != self._version:
                return False
            self.body = None
            return True

    @property
    def _version(self) -> str | None:
        return None if self.body is None else str(self.version)

    @property
    def state(self) -> State:
        return State.of(self.body)
