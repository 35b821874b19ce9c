"""Faults on demand, for tests: which calls and which resources fail next, and a log of what is called.

The control plane looks at two files of its state folder (`.sandbox/`); without them nothing happens.

`faults.json` is a list of rules. Rename it into place: a half-written one fails the call that meets it. Each
rule holds for its next `times` matches; of several that match, the first that is not used up:

    {"call": "cloudformation:DescribeStacks", "kind": "throttle", "times": 2}
    {"resource": "Service", "stack": "demo-test-web", "verb": "update", "times": 1, "reason": "it broke"}

`call` is the service as boto3 names it, and the operation; `*` is any, also in part (`s3:*`). Its kinds:
`throttle` and `server-error` are the service's own errors, `drop` closes the connection before anything is
done, `drop-answer` after it has been done. `resource` is a logical id, whose handler fails to `create`,
`update` or `delete` it; a replacement is a create, and giving old properties back is an update. `stack`, a
name with or without `*`, may be left out. The file is read when it has changed, and then counted down from
the top; the counting itself is done in memory.

`calls.log`, where it exists, gets a line for each call: `service:Operation`.
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


class FaultsWrong(Exception):
    """`faults.json` says something that this does not understand."""


@dataclass
class _CallRule:
    call: str
    kind: Kind
    left: int

    def meets(self, call: str) -> bool:
        return self.left > 0 and fnmatchcase(call, self.call)


@dataclass
class _ResourceRule:
    resource: str
    stack: str
    verb: Verb
    reason: str
    left: int

    def meets(self, stack: str, resource: str, verb: Verb) -> bool:
        return (
            self.left > 0
            and (resource, verb) == (self.resource, self.verb)
            and fnmatchcase(stack, self.stack)
        )


class Faults:
    """The rules of one state folder; safe to ask from any thread."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faults.json"
        self._log = folder / "calls.log"
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._calls: list[_CallRule] = []
        self._resources: list[_ResourceRule] = []

    def meet(
        self,
        service: str,
        request: Request,
        dispatch: Callable[[], Answer],
        say: Callable[[Failure], Answer],
    ) -> Answer | None:
        """Answer a call, by `dispatch` or as its fault says; None where the connection is to be closed.

        `service` is moto's name of it, and `say` puts an error in the protocol's form.
        """
        call = read_call(service, request)
        self.note(str(call))
        try:
            fault = self.of_call(str(call)) if call.operation else None
        except FaultsWrong as error:
            return say(Failure(400, "SandboxException", str(error)))
        if fault == "drop":
            return None
        if fault in ("throttle", "server-error"):
            return say(call.failure(fault))
        answer = dispatch()
        return None if fault == "drop-answer" else answer

    def note(self, call: str) -> None:
        """Append to the log of calls, where there is one."""
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            return
        try:
            os.write(log, f"{call}\n".encode())
        finally:
            os.close(log)

    def of_call(self, call: str) -> Kind | None:
        """Say how this call is to fail, and count it. Raises FaultsWrong."""
        with self._lock:
            self._look()
            for rule in self._calls:
                if rule.meets(call):
                    rule.left -= 1
                    return rule.kind
        return None

    def of_resource(self, stack: str, resource: str, verb: Verb) -> str | None:
        """Give the reason for which a handler's call is to fail, and count it. Raises FaultsWrong."""
        with self._lock:
            self._look()
            for rule in self._resources:
                if rule.meets(stack, resource, verb):
                    rule.left -= 1
                    return rule.reason
        return None

    def _look(self) -> None:
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
            raise FaultsWrong("faults.json is not a list of rules")
        for rule in rules:
            left = dict(rule)
            if "call" in left:
                calls.append(
                    _CallRule(str(left.pop("call")), _one_of(Kind, left.pop("kind")), int(left.pop("times")))
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
                raise FaultsWrong(f"faults.json has a rule with an unknown {min(left)!r}: {rule}")
    except KeyError as error:
        raise FaultsWrong(f"faults.json has a rule without {error}") from error
    except (TypeError, ValueError) as error:
        raise FaultsWrong(f"faults.json cannot be read: {error}") from error
    return calls, resources


def _one_of(choices: Any, word: object) -> Any:
    if word not in get_args(choices):
        raise FaultsWrong(f"faults.json says {word!r}, which is none of {', '.join(get_args(choices))}")
    return cast("Any", word)
