"""CloudFormation's API over the engine, in the shapes of its service model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from moto.core.responses import ActionResult, BaseResponse, EmptyResult

from .errors import Refusal
from .paging import TokenWrong, page
from .resources import ACCOUNT, REGION
from .stacks import ChangeSet, Engine, Resource, Stack, StackSet, Target, fetch_template
from .templates import read_template

_T = TypeVar("_T")

_PAGE = 100
"""Items on a page. AWS says so of exports, stack sets and their instances; of the others it says that a page
holds 1 MB, and 100 are seen: https://github.com/rebuy-de/aws-nuke/issues/240 (stacks),
https://github.com/ansible/ansible/pull/41840 (events).
"""


class _StackSetExists(Refusal):
    code = "NameAlreadyExistsException"


class _OperationExists(Refusal):
    code = "OperationIdAlreadyExistsException"


class _StackSetNotEmpty(Refusal):
    code = "StackSetNotEmptyException"


class _OperationMissing(Refusal):
    code = "OperationNotFoundException"


class Responses(BaseResponse):
    """One method for each action, as moto's dispatcher wants them."""

    engine: Engine  # set by bound_to

    def __init__(self) -> None:
        super().__init__(service_name="cloudformation")
        self.automated_parameter_parsing = True

    @classmethod
    def bound_to(cls, engine: Engine) -> type[Responses]:
        """Make a class of it that serves `engine`: moto makes an object of its own for each request."""
        return type("BoundResponses", (cls,), {"engine": engine})

    # Reading what was sent

    def _name(self) -> str:
        return str(self._get_param("StackName"))

    def _stack(self) -> Stack:
        return self.engine.find(self._name())

    def _tags(self, before: dict[str, str]) -> dict[str, str]:
        sent = self._get_param("Tags")
        return before if sent is None else {str(tag["Key"]): str(tag["Value"]) for tag in sent}

    def _text(self, before: Target | None) -> str:
        if url := self._get_param("TemplateURL"):
            return fetch_template(str(url))
        if body := self._get_param("TemplateBody"):
            return str(body)
        if before is not None:
            return before.text
        raise Refusal("Either Template URL or Template Body must be specified.")

    def _target(self, before: Target | None) -> Target:
        text = self._text(before)
        old = before.parameters if before else {}
        parameters = {}
        for item in self._get_param("Parameters") or []:
            key = str(item["ParameterKey"])
            if item.get("UsePreviousValue"):
                if key in old:
                    parameters[key] = old[key]
            else:
                parameters[key] = str(item.get("ParameterValue", ""))
        return Target.read(text, parameters, self._tags(dict(before.tags) if before else {}))

    def _page(
        self,
        items: Iterable[_T],
        key: Callable[[_T], str],
        *,
        limit: int = _PAGE,
        backwards: bool = False,
    ) -> tuple[list[_T], str | None]:
        token = self._get_param("NextToken")
        try:
            return page(items, key, limit=limit, token=token, backwards=backwards)
        except TokenWrong as error:
            raise Refusal(f"The NextToken {error} is not valid.") from error

    # Stacks

    def create_stack(self) -> ActionResult:
        stack = self.engine.create_stack(
            self._name(),
            self._target(None),
            keep_failures=bool(self._get_param("DisableRollback", if_none=False)),
        )
        return ActionResult({"StackId": stack.id})

    def update_stack(self) -> ActionResult:
        stack = self._stack()
        self.engine.update_stack(stack, self._target(stack.target))
        return ActionResult({"StackId": stack.id})

    def cancel_update_stack(self) -> ActionResult:
        self.engine.cancel_update(self._stack())
        return EmptyResult()

    def delete_stack(self) -> ActionResult:
        self.engine.delete_stack(self._name())
        return EmptyResult()

    def update_termination_protection(self) -> ActionResult:
        stack = self._stack()
        stack.protected = bool(self._get_param("EnableTerminationProtection"))
        return ActionResult({"StackId": stack.id})

    def describe_stacks(self) -> ActionResult:
        name = self._get_param("StackName")
        stacks = [self.engine.find(name)] if name else self.engine.live()
        shown, token = self._page(stacks, _by_age)
        return ActionResult({"Stacks": [self._describe(stack) for stack in shown], "NextToken": token})

    def _describe(self, stack: Stack) -> dict[str, Any]:
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "ChangeSetId": stack.change_set,
            "Description": stack.target.template.get("Description") if stack.target else None,
            "Parameters": self._parameters(stack),
            "CreationTime": stack.created_at,
            "LastUpdatedTime": stack.updated_at,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason,
            "DisableRollback": stack.keeps_failures,
            "NotificationARNs": [],
            "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            "Outputs": [
                {
                    "OutputKey": key,
                    "OutputValue": output.value,
                    "Description": output.description,
                    "ExportName": output.export,
                }
                for key, output in stack.outputs.items()
            ],
            "RoleARN": stack.role,
            "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
            "EnableTerminationProtection": stack.protected,
        }

    def _parameters(self, stack: Stack) -> list[dict[str, str]]:
        if stack.target is None or stack.status == "DELETE_COMPLETE":
            return []
        declared = stack.target.template.get("Parameters") or {}
        return [
            {
                "ParameterKey": name,
                "ParameterValue": "****"
                if str(declaration.get("NoEcho", "")).lower() == "true"
                else str(stack.target.parameters.get(name, declaration.get("Default", ""))),
            }
            for name, declaration in declared.items()
        ]

    def list_stacks(self) -> ActionResult:
        wanted = self._get_param("StackStatusFilter") or []
        stacks = [s for s in self.engine.stacks.values() if not wanted or s.status in wanted]
        shown, token = self._page(stacks, _by_age)
        return ActionResult(
            {
                "StackSummaries": [
                    {
                        "StackId": stack.id,
                        "StackName": stack.name,
                        "CreationTime": stack.created_at,
                        "LastUpdatedTime": stack.updated_at,
                        "StackStatus": stack.status,
                        "StackStatusReason": stack.reason,
                    }
                    for stack in shown
                ],
                "NextToken": token,
            }
        )

    def describe_stack_events(self) -> ActionResult:
        events = enumerate(self._stack().events)
        shown, token = self._page(events, lambda event: f"{event[0]:09}", backwards=True)
        return ActionResult({"StackEvents": [event for _, event in shown], "NextToken": token})

    def describe_stack_resources(self) -> ActionResult:
        stack, only = self._stack(), self._get_param("LogicalResourceId")
        resources = [
            self._resource(stack, name, resource)
            for name, resource in stack.resources.items()
            if not only or only == name
        ]
        # Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStackResources.html
        return ActionResult({"StackResources": resources[:_PAGE]})

    def describe_stack_resource(self) -> ActionResult:
        stack, name = self._stack(), str(self._get_param("LogicalResourceId"))
        if name not in stack.resources:
            raise Refusal(f"Resource {name} does not exist for stack {stack.name}")
        return ActionResult({"StackResourceDetail": self._resource(stack, name, stack.resources[name])})

    def list_stack_resources(self) -> ActionResult:
        stack = self._stack()
        names, token = self._page(stack.resources, str)
        resources = [self._resource(stack, name, stack.resources[name]) for name in names]
        return ActionResult({"StackResourceSummaries": resources, "NextToken": token})

    def _resource(self, stack: Stack, name: str, resource: Resource) -> dict[str, Any]:
        return {
            "StackName": stack.name,
            "StackId": stack.id,
            "LogicalResourceId": name,
            "PhysicalResourceId": resource.made.physical_id,
            "ResourceType": resource.wanted.type,
            "Timestamp": resource.changed_at,
            "LastUpdatedTimestamp": resource.changed_at,
            "ResourceStatus": resource.status,
            "ResourceStatusReason": resource.reason,
        }

    def list_exports(self) -> ActionResult:
        exports = self.engine.exports()
        names, token = self._page(exports, str)
        return ActionResult(
            {
                "Exports": [
                    {"ExportingStackId": exports[name][0].id, "Name": name, "Value": exports[name][1]}
                    for name in names
                ],
                "NextToken": token,
            }
        )

    # Templates

    def get_template(self) -> ActionResult:
        if name := self._get_param("ChangeSetName"):
            target: Target | None = self.engine.find_change_set(name, self._get_param("StackName")).target
        else:
            target = self._stack().target
        return ActionResult({"TemplateBody": target.text if target else ""})

    def get_template_summary(self) -> ActionResult:
        if name := self._get_param("StackSetName"):
            target: Target | None = self.engine.find_stack_set(name).target
        elif self._get_param("StackName"):
            target = self._stack().target
            if target is None:
                raise Refusal("GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks.")
        else:
            target = None
        template = target.template if target else read_template(self._text(None))
        metadata = template.get("Metadata")
        return ActionResult(
            {
                "Description": template.get("Description"),
                "Metadata": json.dumps(metadata, default=str) if metadata else None,
                "Version": template.get("AWSTemplateFormatVersion"),
                "ResourceTypes": sorted({item["Type"] for item in template["Resources"].values()}),
                "Parameters": [
                    {
                        "ParameterKey": key,
                        "ParameterType": declaration.get("Type", "String"),
                        "DefaultValue": declaration.get("Default"),
                        "Description": declaration.get("Description"),
                    }
                    for key, declaration in (template.get("Parameters") or {}).items()
                ],
            }
        )

    def validate_template(self) -> ActionResult:
        template = read_template(self._text(None))
        return ActionResult({"Description": template.get("Description"), "Parameters": []})

    # Change sets

    def create_change_set(self) -> ActionResult:
        kind: Literal["CREATE", "UPDATE"] = self._get_param("ChangeSetType") or "UPDATE"
        before = None
        if kind == "UPDATE":
            before = self._stack().target
        change_set = self.engine.create_change_set(
            self._name(), str(self._get_param("ChangeSetName")), kind, self._target(before)
        )
        change_set.stack.role = self._get_param("RoleARN") or change_set.stack.role
        return ActionResult({"Id": change_set.id, "StackId": change_set.stack.id})

    def _change_set(self) -> ChangeSet:
        return self.engine.find_change_set(
            str(self._get_param("ChangeSetName")), self._get_param("StackName")
        )

    def describe_change_set(self) -> ActionResult:
        change_set = self._change_set()
        return ActionResult(
            {
                "ChangeSetName": change_set.name,
                "ChangeSetId": change_set.id,
                "StackId": change_set.stack.id,
                "StackName": change_set.stack.name,
                "CreationTime": change_set.created_at,
                "ExecutionStatus": change_set.execution,
                "Status": change_set.status,
                "StatusReason": change_set.reason,
                "Changes": change_set.changes,
                "Tags": [{"Key": k, "Value": v} for k, v in change_set.target.tags.items()],
                "Parameters": [
                    {"ParameterKey": k, "ParameterValue": v} for k, v in change_set.target.parameters.items()
                ],
            }
        )

    def execute_change_set(self) -> ActionResult:
        self.engine.execute(
            self._change_set(),
            keep_failures=bool(self._get_param("DisableRollback", if_none=False)),
        )
        return EmptyResult()

    def delete_change_set(self) -> ActionResult:
        del self.engine.change_sets[self._change_set().id]
        return EmptyResult()

    # Stack sets

    def _stack_set(self) -> StackSet:
        return self.engine.find_stack_set(str(self._get_param("StackSetName")))

    def create_stack_set(self) -> ActionResult:
        name = str(self._get_param("StackSetName"))
        if any(stack_set.name == name for stack_set in self.engine.stack_sets.values()):
            raise _StackSetExists(f"Name already exists: {name}")
        stack_set = StackSet(
            f"{name}:{uuid.uuid4()}",
            name,
            self._target(None),
            self._get_param("Description"),
            self._get_param("AdministrationRoleARN"),
            self._get_param("ExecutionRoleName"),
        )
        self.engine.stack_sets[stack_set.id] = stack_set
        return ActionResult({"StackSetId": stack_set.id})

    def update_stack_set(self) -> ActionResult:
        stack_set = self._stack_set()
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        # Copilot numbers its operations, so that of two that race one is told to look again.
        if any(operation == known["OperationId"] for known in stack_set.operations):
            raise _OperationExists(f"Operation {operation} already exists")
        stack_set.target = self._target(stack_set.target)
        stack_set.administration_role = (
            self._get_param("AdministrationRoleARN") or stack_set.administration_role
        )
        stack_set.execution_role = self._get_param("ExecutionRoleName") or stack_set.execution_role
        good = self.engine.update_instances(stack_set)
        return self._record(stack_set, "UPDATE", operation, "SUCCEEDED" if good else "FAILED")

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
                self.engine.add_instance(stack_set, account, region)
        good = all(
            stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE") for stack in stack_set.instances.values()
        )
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        return self._record(stack_set, "CREATE", operation, "SUCCEEDED" if good else "FAILED")

    def delete_stack_instances(self) -> ActionResult:
        stack_set = self._stack_set()
        good = True
        for account in self._get_param("Accounts") or []:
            for region in self._get_param("Regions") or []:
                if stack := stack_set.instances.get((account, region)):
                    self.engine.delete_stack(stack.id)
                    if stack.status == "DELETE_COMPLETE":
                        del stack_set.instances[account, region]
                    else:
                        good = False
        operation = str(self._get_param("OperationId") or uuid.uuid4())
        return self._record(stack_set, "DELETE", operation, "SUCCEEDED" if good else "FAILED")

    def delete_stack_set(self) -> ActionResult:
        stack_set = self._stack_set()
        if stack_set.instances:
            raise _StackSetNotEmpty("StackSet is not empty")
        del self.engine.stack_sets[stack_set.id]
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
                    "TemplateBody": stack_set.target.text,
                    "AdministrationRoleARN": stack_set.administration_role,
                    "ExecutionRoleName": stack_set.execution_role,
                    "Parameters": [
                        {"ParameterKey": k, "ParameterValue": v}
                        for k, v in stack_set.target.parameters.items()
                    ],
                    "Tags": [{"Key": k, "Value": v} for k, v in stack_set.target.tags.items()],
                }
            }
        )

    def list_stack_sets(self) -> ActionResult:
        shown, token = self._page_of_sets(self.engine.stack_sets.values(), lambda stack_set: stack_set.name)
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
        limit = int(self._get_param("MaxResults") or _PAGE)
        if not 1 <= limit <= _PAGE:
            raise Refusal(f"MaxResults must be between 1 and {_PAGE}.")
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
                        "Status": "CURRENT",
                        "StackInstanceStatus": {"DetailedStatus": "SUCCEEDED"},
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


def _by_age(stack: Stack) -> str:
    return f"{stack.created_at.isoformat(timespec='microseconds')} {stack.id}"
