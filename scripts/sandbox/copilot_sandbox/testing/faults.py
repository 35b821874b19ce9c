"""Injected faults for tests: the calls and resources that fail next, and a log of all calls.

The control plane reads two files of its state folder (`.sandbox/`). Without them nothing changes.

`faults.json` is a list of rules. Rename it into place, because a half-written file fails the next call. Each
rule applies to its next `times` matches. If several match, the first one that is not used up applies:

    {"call": "cloudformation:DescribeStacks", "kind": "throttle", "times": 2}
    {"resource": "Service", "stack": "demo-test-web", "verb": "update", "times": 1, "reason": "it broke"}

`call` is the service in boto3's name and the operation; `*` is a wildcard, also for a part (`s3:*`). With
`"every": 3`, only each third match fails. Kinds:
`throttle` and `server-error` are the service's own errors; `drop` closes the connection before the call is
done, `drop-answer` afterwards. `resource` is a logical id whose handler fails to `create`, `update` or
`delete` it. A replacement is a create; restoring old properties is an update. `stack` is optional, a name
with or without `*`. A changed file is read again, which resets the counts; the counts are kept in memory.

If `calls.log` exists, each call appends the line `service:Operation`.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, cast, get_args

from moto.core.request import Request

from copilot_sandbox.control_plane.failures import Failure
from copilot_sandbox.testing.calls import read_call

Kind = Literal["throttle", "server-error", "drop", "drop-answer"]
Verb = Literal["create", "update", "delete"]
Answer = tuple[int, Mapping[str, Any], bytes]  # status, headers, body


class InvalidFaults(Exception):
    """`faults.json` is invalid."""


@dataclass
class _CallRule:
    call: str
    kind: Kind
    left: int
    every: int
    matched: int = 0

    def matches(self, call: str) -> bool:
        if self.left <= 0 or not fnmatchcase(call, self.call):
            return False
        self.matched += 1
        return self.matched % self.every == 0


@dataclass
class _ResourceRule:
    resource: str
    stack: str
    verb: Verb
    reason: str
    left: int

    def matches(self, stack: str, resource: str, verb: Verb) -> bool:
        return (
            self.left > 0
            and (resource, verb) == (self.resource, self.verb)
            and fnmatchcase(stack, self.stack)
        )


class Faults:
    """The rules of one state folder; safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faults.json"
        self._log = folder / "calls.log"
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._calls: list[_CallRule] = []
        self._resources: list[_ResourceRule] = []

    def answer_call(
        self,
        service: str,
        request: Request,
        dispatch: Callable[[], Answer],
        error_answer: Callable[[Failure], Answer],
    ) -> Answer | None:
        """Answer a call with `dispatch` or with its fault. Return None if the connection has to be closed.

        `service` is moto's name. `error_answer` puts an error into the protocol's form.
        """
        call = read_call(service, request)
        self.record(str(call))
        try:
            fault = self.take_call_fault(str(call)) if call.operation else None
        except InvalidFaults as error:
            return error_answer(Failure(400, "SandboxException", str(error)))
        if fault == "drop":
            return None
        if fault in ("throttle", "server-error"):
            return error_answer(call.failure(fault))
        answer = dispatch()
        return None if fault == "drop-answer" else answer

    def record(self, call: str) -> None:
        """Append the call to the log, if the log exists."""
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return
        try:
            os.write(log, f"{call}\n".encode())
        finally:
            os.close(log)

    def take_call_fault(self, call: str) -> Kind | None:
        """Return the fault of this call, if there is one, and count it. Raises InvalidFaults."""
        with self._lock:
            self._reload()
            for rule in self._calls:
                if rule.matches(call):
                    rule.left -= 1
                    return rule.kind
        return None

    def take_resource_fault(self, stack: str, resource: str, verb: Verb) -> str | None:
        """Return the reason for which a handler's call fails, and count it. Raises InvalidFaults."""
        with self._lock:
            self._reload()
            for rule in self._resources:
                if rule.matches(stack, resource, verb):
                    rule.left -= 1
                    return rule.reason
        return None

    def _reload(self) -> None:
        try:
            status = self._file.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return
            calls, resources = _read(self._file.read_text())
        except FileNotFoundError:
            self._seen, self._calls, self._resources = None, [], []
        else:
            self._seen, self._calls, self._resources = seen, calls, resources


def _read(text: str) -> tuple[list[_CallRule], list[_ResourceRule]]:
    calls: list[_CallRule] = []
    resources: list[_ResourceRule] = []
    try:
        rules = json.loads(text)
        if not isinstance(rules, list):
            raise InvalidFaults("faults.json is not a list of rules")
        for rule in rules:
            left = dict(rule)
            if "call" in left:
                calls.append(
                    _CallRule(
                        str(left.pop("call")),
                        _one_of(Kind, left.pop("kind")),
                        int(left.pop("times")),
                        max(1, int(left.pop("every", 1))),
                    )
                )
            else:
                resources.append(
                    _ResourceRule(
                        str(left.pop("resource")),
                        str(left.pop("stack", "*")),
                        _one_of(Verb, left.pop("verb")),
                        str(left.pop("reason")),
                        int(left.pop("times")),
                    )
                )
            if left:
                raise InvalidFaults(f"faults.json has a rule with an unknown {min(left)!r}: {rule}")
    except KeyError as error:
        raise InvalidFaults(f"faults.json has a rule without {error}") from error
    except (TypeError, ValueError) as error:
        raise InvalidFaults(f"faults.json cannot be read: {error}") from error
    return calls, resources


def _one_of(choices: Any, word: object) -> Any:
    if word not in get_args(choices):
        raise InvalidFaults(f"faults.json has {word!r}, which is not one of {', '.join(get_args(choices))}")
    return cast("Any", word)
