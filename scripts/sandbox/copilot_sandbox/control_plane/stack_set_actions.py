"""CloudFormation's API actions on stack sets."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TypeVar

from moto.core.responses import ActionResult, EmptyResult

from .actions import PAGE, Actions
from .errors import Refusal
from .resources import ACCOUNT, REGION
from .stack_sets import StackSet

_T = TypeVar("_T")


class _StackSetExists(Refusal):
    code = "NameAlreadyExistsException"


class _OperationExists(Refusal):
    code = "OperationIdAlreadyExistsException"


class _StackSetNotEmpty(Refusal):
    code = "StackSetNotEmptyException"


class _OperationMissing(Refusal):
    code = "OperationNotFoundException"


class StackSetActions(Actions):
    """The actions on stack sets. Their operations have ended when the call returns."""

    def _stack_set(self) -> StackSet:
        return self.sets.find(str(self._get_param("StackSetName")))

    def create_stack_set(self) -> ActionResult:
        name = str(self._get_param("StackSetName"))
        if any(stack_set.name == name for stack_set in self.sets.by_id.values()):
            raise _StackSetExists(f"Name already exists: {name}")
        stack_set = StackSet(
            f"{name}:{uuid.uuid4()}",
            name,
            self._desired(None),
            self._get_param("Description"),
            self._get_param("AdministrationRoleARN"),
            self._get_param("ExecutionRoleName"),
        )
        self.sets.by_id[stack_set.id] = stack_set
        return ActionResult({"StackSetId": stack_set.id})

    def update_stack_set(self) -> ActionResult:
        stack_set = self._stack_set()
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        # Copilot numbers its operations: of two simultaneous ones, the second must fail and read again.
        if any(operation == known["OperationId"] for known in stack_set.operations):
            raise _OperationExists(f"Operation {operation} already exists")
        stack_set.desired = self._desired(stack_set.desired)
        stack_set.administration_role = (
            self._get_param("AdministrationRoleARN") or stack_set.administration_role
        )
        stack_set.execution_role = self._get_param("ExecutionRoleName") or stack_set.execution_role
        succeeded = self.sets.update_instances(stack_set)
        return self._record(stack_set, "UPDATE", operation, "SUCCEEDED" if succeeded else "FAILED")

    def _record(self, stack_set: StackSet, action: str, operation: str, status: str) -> ActionResult:
        now = max((stack.events[-1]["Timestamp"] for stack in stack_set.instances.values()), default=None)
        stack_set.operations.insert(
            0,
            {
                "OperationId": operation,
                "StackSetId": stack_set.id,
                "Action": action,
                "Status": status,
                "CreationTimestamp": now,
                "EndTimestamp": now,
            },
        )
        return ActionResult({"OperationId": operation})

    def create_stack_instances(self) -> ActionResult:
        stack_set = self._stack_set()
        for account in self._get_param("Accounts") or []:
            for region in self._get_param("Regions") or []:
                self.sets.add_instance(stack_set, account, region)
        succeeded = all(
            stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE") for stack in stack_set.instances.values()
        )
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        return self._record(stack_set, "CREATE", operation, "SUCCEEDED" if succeeded else "FAILED")

    def delete_stack_instances(self) -> ActionResult:
        stack_set = self._stack_set()
        succeeded = True
        for account in self._get_param("Accounts") or []:
            for region in self._get_param("Regions") or []:
                if stack := stack_set.instances.get((account, region)):
                    self.engine.delete_stack(stack.id)
                    if stack.status == "DELETE_COMPLETE":
                        del stack_set.instances[account, region]
                    else:
                        succeeded = False
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        return self._record(stack_set, "DELETE", operation, "SUCCEEDED" if succeeded else "FAILED")

    def delete_stack_set(self) -> ActionResult:
        stack_set = self._stack_set()
        if stack_set.instances:
            raise _StackSetNotEmpty("StackSet is not empty")
        del self.sets.by_id[stack_set.id]
        return EmptyResult()

    def describe_stack_set(self) -> ActionResult:
        stack_set = self._stack_set()
        return ActionResult(
            {
                "StackSet": {
                    "StackSetName": stack_set.name,
                    "StackSetId": stack_set.id,
                    "StackSetARN": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stackset/{stack_set.id}",
                    "Description": stack_set.description,
                    "Status": "ACTIVE",
                    "TemplateBody": stack_set.desired.text,
                    "AdministrationRoleARN": stack_set.administration_role,
                    "ExecutionRoleName": stack_set.execution_role,
                    "Parameters": [
                        {"ParameterKey": k, "ParameterValue": v}
                        for k, v in stack_set.desired.parameters.items()
                    ],
                    "Tags": [{"Key": k, "Value": v} for k, v in stack_set.desired.tags.items()],
                }
            }
        )

    def list_stack_sets(self) -> ActionResult:
        shown, token = self._page_of_sets(self.sets.by_id.values(), lambda stack_set: stack_set.name)
        return ActionResult(
            {
                "Summaries": [
                    {"StackSetName": stack_set.name, "StackSetId": stack_set.id, "Status": "ACTIVE"}
                    for stack_set in shown
                ],
                "NextToken": token,
            }
        )

    def _page_of_sets(
        self, items: Iterable[_T], key: Callable[[_T], str], *, backwards: bool = False
    ) -> tuple[list[_T], str | None]:
        limit = int(self._get_param("MaxResults") or PAGE)
        if not 1 <= limit <= PAGE:
            raise Refusal(f"MaxResults must be between 1 and {PAGE}.")
        return self._page(items, key, limit=limit, backwards=backwards)

    def list_stack_instances(self) -> ActionResult:
        stack_set = self._stack_set()
        only_account = self._get_param("StackInstanceAccount")
        only_region = self._get_param("StackInstanceRegion")
        instances = [
            (account, region, stack)
            for (account, region), stack in stack_set.instances.items()
            if only_account in (None, account) and only_region in (None, region)
        ]
        shown, token = self._page_of_sets(instances, lambda instance: f"{instance[0]}/{instance[1]}")
        return ActionResult(
            {
                "Summaries": [
                    {
                        "StackSetId": stack_set.id,
                        "Account": account,
                        "Region": region,
                        "StackId": stack.id,
                        "Status": "CURRENT" if stack_set.is_current(stack) else "OUTDATED",
                        "StatusReason": None if stack_set.is_current(stack) else stack.reason,
                        "StackInstanceStatus": {
                            "DetailedStatus": "SUCCEEDED" if stack_set.is_current(stack) else "FAILED"
                        },
                    }
                    for account, region, stack in shown
                ],
                "NextToken": token,
            }
        )

    def list_stack_set_operations(self) -> ActionResult:
        oldest_first = enumerate(reversed(self._stack_set().operations))
        shown, token = self._page_of_sets(oldest_first, lambda entry: f"{entry[0]:09}", backwards=True)
        return ActionResult({"Summaries": [operation for _, operation in shown], "NextToken": token})

    def describe_stack_set_operation(self) -> ActionResult:
        identity = self._get_param("OperationId")
        for operation in self._stack_set().operations:
            if operation["OperationId"] == identity:
                return ActionResult({"StackSetOperation": operation})
        raise _OperationMissing(f"Operation {identity} not found")
