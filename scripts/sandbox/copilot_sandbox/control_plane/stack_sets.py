"""Stack sets: a template with a stack in each account and region. Copilot's application is a stack set."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from .engine import Engine
from .errors import Refusal
from .resources import REGION
from .stacks import DesiredState, Stack


@dataclass
class StackSet:
    id: str
    name: str
    desired: DesiredState
    description: str | None
    administration_role: str | None
    execution_role: str | None
    instances: dict[tuple[str, str], Stack] = field(default_factory=dict)  # by account and region
    operations: list[dict[str, Any]] = field(default_factory=list)  # the newest first

    def is_current(self, stack: Stack) -> bool:
        """Return True if an instance's stack matches the set."""
        return stack.desired is self.desired and stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE")


class StackSets:
    """All stack sets of the account. The caller of a method holds the control plane's lock."""

    def __init__(self, engine: Engine) -> None:
        self.by_id: dict[str, StackSet] = {}
        self._engine = engine

    def find(self, name: str) -> StackSet:
        for stack_set in self.by_id.values():
            if name in (stack_set.name, stack_set.id):
                return stack_set
        raise _StackSetMissing(f"StackSet {name} not found")

    def add_instance(self, stack_set: StackSet, account: str, region: str) -> None:
        if (account, region) in stack_set.instances:
            return
        if region != REGION:
            raise Refusal(f"The sandbox has only the region {REGION}, not {region}.")
        name = f"StackSet-{stack_set.name}-{uuid.uuid4()}"
        stack_set.instances[account, region] = self._engine.create_stack(name, stack_set.desired)

    def update_instances(self, stack_set: StackSet) -> bool:
        """Update each instance to the stack set's desired state. Return True if all succeeded."""
        succeeded = True
        for stack in stack_set.instances.values():
            if stack.desired is not None and stack_set.desired.same_as(stack.desired):
                stack.desired = stack_set.desired
                continue
            try:
                self._engine.update_stack(stack, stack_set.desired)
            except Refusal:  # the stack's state does not allow an update: the operation fails, not the call
                succeeded = False
            succeeded = succeeded and stack.status == "UPDATE_COMPLETE"
        return succeeded


class _StackSetMissing(Refusal):
    code = "StackSetNotFoundException"
