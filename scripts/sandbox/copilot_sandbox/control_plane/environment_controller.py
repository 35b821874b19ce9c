"""Copilot's environment controller: takes a workload into an environment's stack, and out of it.

It does what Copilot's Lambda function does, in its order: it reads the parameters, asks for an update, waits,
and reads the outputs. So two of them meet as on AWS. Source: github.com/aws/copilot-cli,
cf-custom-resources/lib/env-controller.js.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from typing import Any, Protocol

from .errors import Refusal, ResourceFailed
from .resources import CreatedResource

# The one refusal after which the function waits and tries again; any other one is its failure.
_BUSY = re.compile("Stack.*is in UPDATE_IN_PROGRESS state and can not be updated")
_NOT_SHOWN = ("EnabledFeatures", "LastForceDeployID")


class Environments(Protocol):
    """The controller's calls of CloudFormation; `lock` is held for each."""

    lock: threading.RLock

    def parameters_of(self, stack_name: str) -> dict[str, str]:
        """Return a stack's parameters. Raises ResourceFailed if there is none."""

    def outputs_of(self, stack_name: str) -> dict[str, str]:
        """Return a stack's outputs. Raises ResourceFailed if there is none."""

    def status_of(self, stack_name: str) -> tuple[str, str]:
        """Return a stack's status, and the first failure since its last operation began."""

    def change_parameters(self, stack_name: str, parameters: dict[str, str]) -> None:
        """Begin an update of the stack with its own template. Raises Refusal."""


@dataclass
class Controller:
    """One run of the function. Call it until its state is not IN_PROGRESS."""

    environments: Environments
    stack: str
    workload: str
    parameters: list[str]
    aliases: list[str]
    created: CreatedResource
    _waits_for: str = ""  # the update that it waits for: its own or another's

    def __call__(self) -> tuple[str, str]:
        """Take the next step. Return the state and the reason of a failure."""
        with self.environments.lock:
            try:
                return self._step()
            except (Refusal, ResourceFailed) as error:
                return "FAILED", str(getattr(error, "message", error))

    def _step(self) -> tuple[str, str]:
        if self._waits_for and not self._has_waited():
            return "IN_PROGRESS", ""
        if self._waits_for == "own":
            return self._finish()
        before = self.environments.parameters_of(self.stack)
        if (after := self._changed(before)) == before:
            return self._finish()
        try:
            self.environments.change_parameters(self.stack, after)
        except Refusal as error:
            if not _BUSY.match(str(error.message)):
                raise
            self._waits_for = "other"
            return "IN_PROGRESS", ""
        self._waits_for = "own"
        return self._step()  # without anything to wait for, the update has ended already

    def _has_waited(self) -> bool:
        """Return True if the update has ended. Raises ResourceFailed unless it was complete."""
        status, reason = self.environments.status_of(self.stack)
        if status.endswith("_IN_PROGRESS"):
            return False
        if status != "UPDATE_COMPLETE" and self._waits_for == "other":
            raise ResourceFailed(f'{{"state":"FAILURE","reason":"{self.stack} is {status}"}}')
        if status != "UPDATE_COMPLETE":
            raise ResourceFailed(f"Stack {self.stack} did not reach its end: {reason or status}")
        return True

    def _finish(self) -> tuple[str, str]:
        outputs = self.environments.outputs_of(self.stack)
        self.created.attributes.update({k: v for k, v in outputs.items() if k not in _NOT_SHOWN})
        return "COMPLETED", ""

    def _changed(self, before: dict[str, str]) -> dict[str, str]:
        """Return the parameters with the workload in those that it wants, and out of the others."""
        after = dict(before)
        for key, value in before.items():
            if key.endswith("Workloads"):
                names = [name for name in value.split(",") if name and name != self.workload]
                present = self.workload in value.split(",")
                if key in self.parameters:
                    after[key] = value if present else ",".join([*names, self.workload])
                elif present:
                    after[key] = ",".join(names)
            elif key == "Aliases":
                by_service: dict[str, Any] = json.loads(value or "{}")
                if by_service.get(self.workload, []) != self.aliases:
                    by_service[self.workload] = self.aliases
                    left = {name: hosts for name, hosts in by_service.items() if hosts}
                    after[key] = json.dumps(left, separators=(",", ":")) if left else ""
        return after
