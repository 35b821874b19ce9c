"""Change and delete a stack, and wait for the end; roll back at a signal, as Copilot does."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.core.process import Result
from copilot_testenv.deployers.deployer import SignalDue

_COMPLETE = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
_CLEANING = "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"


@dataclass(frozen=True)
class StackChanges:
    """Change stacks with these rights; CloudFormation works as the role `execution_role`, an ARN.

    `pause` is the time between two looks in seconds.
    """

    aws: Aws
    execution_role: str
    pause: float

    def apply(
        self,
        stack: str,
        template_url: str,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        before: Stack | None,
        signal_due: SignalDue,
    ) -> Result:
        """Update or create a stack. The result is good where the stack is complete, or nothing changes.

        SIGINT rolls back: an update is cancelled, and a new stack is deleted. SIGTERM only ends the wait.
        Raises Failed where CloudFormation refuses the change.
        """
        is_new = before is None or before.in_review
        change_set = self.aws.change_set(
            stack,
            {"TemplateURL": template_url},
            parameters,
            tags,
            self.execution_role,
            is_new=is_new,
            every=self.pause,
        )
        if change_set is None:
            return Result(0, f"The stack {stack} is as it should be.")
        self.aws.execute(stack, change_set)
        return self._wait(stack, before, signal_due, is_new=is_new)

    def _wait(self, name: str, before: Stack | None, signal_due: SignalDue, *, is_new: bool) -> Result:
        rolls_back = False
        while True:
            stack = self.aws.stack(name)
            if stack is None:
                return Result(1, f"The stack {name} is gone.")
            begun = not stack.in_review and (is_new or not before or stack.changed_at != before.changed_at)
            if begun and not stack.changing:
                return Result(0 if stack.status in _COMPLETE else 1, f"The stack {name} is {stack.status}.")
            due = signal_due()
            if due == signal.SIGTERM:
                return Result(-signal.SIGTERM, f"The stack {name} is {stack.status}.")
            if due and not rolls_back and begun:
                rolls_back = True
                if is_new:
                    self.aws.delete_stack(name, self.execution_role)
                elif stack.status != _CLEANING:
                    self.aws.cancel_update(name)
            time.sleep(self.pause)

    def delete(self, name: str, signal_due: SignalDue) -> Result:
        """Delete a stack; the result is good where it is gone. A signal only ends the wait."""
        stack = self.aws.stack(name)
        if stack is None:
            return Result(0)
        self.aws.delete_stack(name, self.execution_role)
        while stack := self.aws.stack(name):
            if stack.status == "DELETE_FAILED":
                return Result(1, f"The stack {name} is {stack.status}.")
            if due := signal_due():
                return Result(-due, f"The stack {name} is {stack.status}.")
            time.sleep(self.pause)
        return Result(0)
