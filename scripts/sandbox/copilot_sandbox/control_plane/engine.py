"""CloudFormation's engine: the operations that users may start on stacks and change sets, and when."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .catalogue import Catalogue
from .driver import Driver
from .errors import Refusal, ResourceFailed, StackMissing
from .for_tests import ForTests
from .operations import Operations
from .resolution import Resolver
from .resources import ACCOUNT, REGION
from .stacks import DesiredState, OnFailure, Stack, Stacks, now

NO_CHANGES = (
    "The submitted information didn't contain changes. Submit different information to create a change set."
)

_FINAL = (
    "ROLLBACK_COMPLETE",
    "ROLLBACK_FAILED",
    "DELETE_FAILED",
    "DELETE_COMPLETE",
    "UPDATE_ROLLBACK_FAILED",
)
_UNFINISHED = ("CREATE_FAILED", "UPDATE_FAILED")


@dataclass
class ChangeSet:
    id: str
    name: str
    stack: Stack
    desired: DesiredState
    kind: Literal["CREATE", "UPDATE"]
    changes: list[dict[str, Any]]
    status: str = "CREATE_COMPLETE"
    execution: str = "AVAILABLE"
    reason: str | None = None
    created_at: dt.datetime = field(default_factory=now)
    capabilities: list[str] = field(default_factory=list)


class Engine:
    """All stacks of the account, and the operations on them. The caller of a method holds `lock`."""

    def __init__(
        self,
        lock: threading.RLock,
        wake: Callable[[], None],
        for_tests: ForTests,
        catalogue: Catalogue,
        *,
        missing_export: Callable[[str], str] | None = None,
    ) -> None:
        self.lock = lock
        self.stacks = Stacks()
        self.change_sets: dict[str, ChangeSet] = {}
        self._resolver = Resolver(self.stacks, catalogue, missing_export)
        self._operations = Operations(self.stacks, catalogue, self._resolver, for_tests)
        self._driver = Driver(lock, wake)

    def stop(self) -> None:
        """End the threads; stacks keep their state. Call it without the lock."""
        self._driver.stop()

    def create_stack(
        self,
        name: str,
        desired: DesiredState,
        *,
        keep_failures: bool = False,
        on_failure: OnFailure = "ROLLBACK",
        protected: bool = False,
    ) -> Stack:
        stack = self.stacks.named(name)
        if stack and stack.status != "REVIEW_IN_PROGRESS":
            raise _StackExists(f"Stack [{name}] already exists")
        self._resolver.check(name, desired)
        if stack:  # its change sets can no longer be executed
            self._make_obsolete(stack)
            stack.desired, stack.status = desired, "CREATE_IN_PROGRESS"
        else:
            stack = self.stacks.add(name, desired, "CREATE_IN_PROGRESS")
        stack.keeps_failures, stack.on_failure, stack.protected = keep_failures, on_failure, protected
        self._driver.begin(stack, self._operations.create(stack))
        return stack

    def update_stack(self, stack: Stack, desired: DesiredState, *, keep_failures: bool = False) -> None:
        """Start an update. Raises Refusal if the stack cannot be updated now, or nothing would change."""
        _refuse_update(stack, keep_failures=keep_failures)
        retry = stack.status in _UNFINISHED
        if stack.desired is not None and desired.same_as(stack.desired) and not retry:
            raise Refusal("No updates are to be performed.")
        self._resolver.check(stack.name, desired)
        stack.keeps_failures = keep_failures
        self._driver.begin(stack, self._operations.update(stack, desired))

    def cancel_update(self, stack: Stack) -> None:
        if stack.status != "UPDATE_IN_PROGRESS":
            raise Refusal("CancelUpdateStack cannot be called from current stack status")
        stack.cancelled = True
        stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")

    def continue_rollback(self, stack: Stack, skipped: Collection[str]) -> None:
        """Continue an update's rollback that failed.

        Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ContinueUpdateRollback.html
        (the texts of the refusals are the sandbox's).
        """
        if stack.rollback is None or stack.status != "UPDATE_ROLLBACK_FAILED":
            raise Refusal(
                f"Stack:{stack.id} is in {stack.status} state: only the rollback of a stack in"
                " UPDATE_ROLLBACK_FAILED state can be continued."
            )
        if unknown := sorted(set(skipped) - set(stack.rollback.before)):
            raise Refusal(
                f"The rollback of [{', '.join(unknown)}] did not fail: only what is in UPDATE_FAILED state"
                " because of a rollback can be skipped."
            )
        stack.set_status("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
        self._driver.begin(stack, self._operations.roll_back(stack, skipped))

    def delete_stack(self, name_or_id: str, retained: Collection[str] = ()) -> None:
        """Start a deletion without the `retained` resources. As on AWS, a missing stack is not an error."""
        try:
            stack = self.stacks.find(name_or_id)
        except StackMissing:
            return
        if stack.protected:
            raise Refusal(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        if stack.status in ("DELETE_COMPLETE", "DELETE_IN_PROGRESS"):
            return
        if stack.status == "CREATE_IN_PROGRESS":
            # The creation's thread is waiting for the agent; let it continue with the deletion.
            stack.cancelled = True
            stack.set_status("DELETE_IN_PROGRESS", "User Initiated")
            return
        if stack.busy:
            raise Refusal(f"Stack [{stack.id}] cannot be deleted while in status {stack.status}")
        if retained:
            _retain(stack, retained)
        stack.set_status("DELETE_IN_PROGRESS", "User Initiated")
        self._driver.begin(stack, self._operations.delete(stack))

    # Change sets

    def find_change_set(self, name_or_id: str, stack_name: str | None) -> ChangeSet:
        if name_or_id in self.change_sets:
            return self.change_sets[name_or_id]
        for change_set in self.change_sets.values():
            named = stack_name in (change_set.stack.name, change_set.stack.id)
            if change_set.name == name_or_id and named:
                return change_set
        raise _ChangeSetMissing(f"ChangeSet [{name_or_id}] does not exist")

    def create_change_set(
        self, stack_name: str, name: str, kind: Literal["CREATE", "UPDATE"], desired: DesiredState
    ) -> ChangeSet:
        stack = self.stacks.named(stack_name) or self.stacks.by_id.get(stack_name)
        if kind == "CREATE":
            if stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise Refusal(
                    f"Stack [{stack_name}] already exists and cannot be created again with the changeSet"
                    f" [{name}]."
                )
            self._resolver.check(stack_name, desired)
            if stack is None:
                stack = self.stacks.add(stack_name, None, "")
                stack.set_status("REVIEW_IN_PROGRESS", "User Initiated")
        elif stack is None:
            raise Refusal(f"Stack [{stack_name}] does not exist")
        else:
            # A failed stack may have a change set; only its execution has to keep failures.
            _refuse_update(stack, keep_failures=True)
            self._resolver.check(stack.name, desired)
        identity = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{name}/{uuid.uuid4()}"
        if stack.desired is not None and desired.same_as(stack.desired) and stack.status not in _UNFINISHED:
            change_set = ChangeSet(
                identity, name, stack, desired, kind, [], "FAILED", "UNAVAILABLE", NO_CHANGES
            )
        else:
            change_set = ChangeSet(
                identity, name, stack, desired, kind, self._resolver.changes(stack, desired)
            )
        self.change_sets[identity] = change_set
        return change_set

    def execute(self, change_set: ChangeSet, *, keep_failures: bool) -> None:
        if change_set.execution != "AVAILABLE":
            raise _ChangeSetNotReady(
                f"ChangeSet [{change_set.id}] cannot be executed in its current status of"
                f" [{change_set.status}]"
            )
        stack = change_set.stack
        if change_set.kind == "UPDATE":
            _refuse_update(stack, keep_failures=keep_failures)
        stack.keeps_failures = keep_failures
        stack.change_set = change_set.id
        stack.capabilities = change_set.capabilities
        change_set.execution = "EXECUTE_COMPLETE"
        self._make_obsolete(stack)
        if change_set.kind == "CREATE":
            stack.updated_at = now()  # AWS has it for a stack that a change set made, and for no other
            stack.desired = change_set.desired
            self._driver.begin(stack, self._operations.create(stack))
        else:
            self._driver.begin(stack, self._operations.update(stack, change_set.desired))

    def _make_obsolete(self, stack: Stack) -> None:
        for other in self.change_sets.values():
            if other.stack is stack and other.execution == "AVAILABLE":
                other.execution = "OBSOLETE"

    # Calls of the environment controller and of nested stacks

    def parameters_of(self, stack_name: str) -> dict[str, str]:
        stack = self._existing(stack_name)
        declared = cast("DesiredState", stack.desired).template.get("Parameters") or {}
        values = self._resolver.values_of(stack, cast("DesiredState", stack.desired))
        return {name: ",".join(v) if isinstance(v := values[name], list) else v for name in declared}

    def outputs_of(self, stack_name: str) -> dict[str, str]:
        return {key: output.value for key, output in self._existing(stack_name).outputs.items()}

    def status_of(self, stack_name: str) -> tuple[str, str]:
        stack = self._existing(stack_name)
        reason = ""
        for event in reversed(stack.events):
            if event["ResourceStatusReason"] == "User Initiated":  # the operation's first event
                break
            if event["ResourceStatus"].endswith("_FAILED"):
                reason = event["ResourceStatusReason"]
        return stack.status, reason

    def change_parameters(self, stack_name: str, parameters: dict[str, str]) -> None:
        stack = self._existing(stack_name)
        before = cast("DesiredState", stack.desired)
        self.update_stack(stack, before.with_parameters(parameters))

    def finish(self, stack: Stack | None, begin: Callable[[], Stack | None]) -> Stack:
        """Run an operation that must not wait. Raises ResourceFailed with the first failure."""
        seen_events = len(stack.events) if stack else 0
        try:
            stack = begin() or stack
        except Refusal as error:
            raise ResourceFailed(str(error.message)) from error
        done = cast("Stack", stack)
        if done.status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE"):
            failures = [
                event["ResourceStatusReason"]
                for event in done.events[seen_events:]
                if event["ResourceStatus"].endswith("_FAILED")
            ]
            cause = failures[0] if failures else done.status
            raise ResourceFailed(f"Stack {done.name} did not reach its end: {cause}")
        return done

    def _existing(self, name: str) -> Stack:
        try:
            stack = self.stacks.find(name)
        except StackMissing as error:
            raise ResourceFailed(str(error.message)) from error
        if stack.desired is None:
            raise ResourceFailed(f"Stack {name} is in {stack.status}")
        return stack


def _refuse_update(stack: Stack, *, keep_failures: bool) -> None:
    """Raise CloudFormation's refusal if the stack cannot be updated now.

    Sources: https://github.com/org-formation/org-formation-cli/issues/455 (UPDATE_ROLLBACK_FAILED),
    https://github.com/aws-solutions-library-samples/data-lakes-on-aws/issues/109 (ROLLBACK_FAILED),
    https://github.com/rails-lambda/lamby/issues/132 (ROLLBACK_COMPLETE),
    https://github.com/aws/aws-cdk/pull/7731 (REVIEW_IN_PROGRESS), https://github.com/aws/aws-cli/issues/6368
    and https://github.com/code-dot-org/code-dot-org/pull/68524 (CREATE_FAILED).
    """
    if stack.status == "REVIEW_IN_PROGRESS":
        raise Refusal(f"Stack [{stack.name}] does not exist")
    if stack.busy or stack.status in _FINAL:
        raise Refusal(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")
    if stack.status == "CREATE_FAILED" and stack.on_failure == "DO_NOTHING":
        raise Refusal(
            "This stack cannot be updated from [CREATE_FAILED] state because it contains [on-failure:"
            " DO_NOTHING]. Please use disable-rollback option instead during stack creation."
        )
    if stack.status in _UNFINISHED and not keep_failures:
        raise Refusal(
            f"This stack is currently in a non-terminal [{stack.status}] state. To update the stack from this"
            " state, please use the disable-rollback parameter with update-stack API. To rollback to the last"
            " known good state, use the rollback-stack API"
        )


def _retain(stack: Stack, names: Collection[str]) -> None:
    """Exclude resources from the deletion.

    Sources: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeleteStack.html (the text
    of the first refusal is the sandbox's) and https://github.com/rebuy-de/aws-nuke/issues/270.
    """
    if stack.status != "DELETE_FAILED":
        raise Refusal(
            f"Stack [{stack.id}] is in status {stack.status}: resources can be retained only of a stack in"
            " DELETE_FAILED state."
        )
    if not set(names) <= set(stack.resources):
        raise Refusal(
            "The specified resources to retain must be in a valid state. Do not specify resources that are in"
            " the DELETE_COMPLETE state."
        )
    for name in names:
        stack.resources[name].retained = True


class _StackExists(Refusal):
    code = "AlreadyExistsException"


class _ChangeSetMissing(Refusal):
    code = "ChangeSetNotFoundException"


class _ChangeSetNotReady(Refusal):
    code = "InvalidChangeSetStatusException"
