"""CloudFormation's API over the engine, in the shapes of its service model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from moto.core.responses import ActionResult, EmptyResult

from .actions import PAGE
from .engine import ChangeSet
from .errors import Refusal
from .stack_set_actions import StackSetActions
from .stacks import DesiredState, Resource, Stack
from .templates import read_template

_STACK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]*|arn:[-a-zA-Z0-9:/._+]*")
_IN_BRACKETS = "Stack [{}] does not exist"


class Responses(StackSetActions):
    """Stacks, templates and change sets, and through its base stack sets."""

    # Stacks

    def create_stack(self) -> ActionResult:
        if self._get_param("OnFailure") and self._get_param("DisableRollback") is not None:
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
            raise Refusal("Either OnFailure or DisableRollback can be specified, not both.")
        if not _STACK_NAME.fullmatch(self._name()):
            raise Refusal(
                f"1 validation error detected: Value '{self._name()}' at 'stackName' failed to satisfy"
                f" constraint: Member must satisfy regular expression pattern: {_STACK_NAME.pattern}"
            )
        stack = self.engine.create_stack(
            self._name(),
            self._desired(None),
            keep_failures=self._keeps_failures(),
            on_failure=self._get_param("OnFailure") or "ROLLBACK",
            protected=bool(self._get_param("EnableTerminationProtection", if_none=False)),
        )
        stack.capabilities = self._get_param("Capabilities") or []
        return ActionResult({"StackId": stack.id})

    def _stack_in_brackets(self) -> Stack:
        return self.engine.stacks.find(self._name(), _IN_BRACKETS)

    def _keeps_failures(self) -> bool:
        return bool(self._get_param("DisableRollback", if_none=False))

    def update_stack(self) -> ActionResult:
        stack = self._stack_in_brackets()
        self.engine.update_stack(stack, self._desired(stack.desired), keep_failures=self._keeps_failures())
        stack.capabilities = self._get_param("Capabilities") or []
        return ActionResult({"StackId": stack.id})

    def continue_update_rollback(self) -> ActionResult:
        self.engine.continue_rollback(self._stack(), self._get_param("ResourcesToSkip") or [])
        return EmptyResult()

    def cancel_update_stack(self) -> ActionResult:
        self.engine.cancel_update(self._stack())
        return EmptyResult()

    def delete_stack(self) -> ActionResult:
        if (mode := self._get_param("DeletionMode") or "STANDARD") != "STANDARD":
            raise NotImplementedError(f"DeletionMode {mode}")
        self.engine.delete_stack(self._name(), self._get_param("RetainResources") or [])
        return EmptyResult()

    def update_termination_protection(self) -> ActionResult:
        stack = self._stack()
        stack.protected = bool(self._get_param("EnableTerminationProtection"))
        return ActionResult({"StackId": stack.id})

    def describe_stacks(self) -> ActionResult:
        name = self._get_param("StackName")
        stacks = [self.engine.stacks.find(name)] if name else self.engine.stacks.live()
        shown, token = self._page(stacks, _by_age)
        return ActionResult({"Stacks": [self._describe(stack) for stack in shown], "NextToken": token})

    def _describe(self, stack: Stack) -> dict[str, Any]:
        is_gone = stack.status == "DELETE_COMPLETE"
        return {
            "StackId": stack.id,
            "StackName": stack.name,
            "ChangeSetId": None if is_gone else stack.change_set,
            "Description": stack.desired.template.get("Description") if stack.desired else None,
            "Parameters": self._parameters(stack),
            "CreationTime": stack.created_at,
            "LastUpdatedTime": stack.updated_at,
            "DeletionTime": stack.deleted_at,
            "StackStatus": stack.status,
            "StackStatusReason": stack.reason,
            "RollbackConfiguration": {},
            "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
            "DisableRollback": stack.keeps_failures,
            "NotificationARNs": [],
            "Capabilities": stack.capabilities or None,
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
            "EnableTerminationProtection": None if is_gone else stack.protected,
        }

    def _parameters(self, stack: Stack) -> list[dict[str, str]]:
        if stack.desired is None or stack.status == "DELETE_COMPLETE":
            return []
        declared = stack.desired.template.get("Parameters") or {}
        return [
            {
                "ParameterKey": name,
                "ParameterValue": "****"
                if str(declaration.get("NoEcho", "")).lower() == "true"
                else str(stack.desired.parameters.get(name, declaration.get("Default", ""))),
            }
            for name, declaration in declared.items()
        ]

    def list_stacks(self) -> ActionResult:
        wanted = self._get_param("StackStatusFilter") or []
        stacks = [s for s in self.engine.stacks.by_id.values() if not wanted or s.status in wanted]
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
        events = enumerate(self._stack_in_brackets().events)
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
        return ActionResult({"StackResources": resources[:PAGE]})

    def describe_stack_resource(self) -> ActionResult:
        stack = self.engine.stacks.find(self._name(), "Stack '{}' does not exist")
        name = str(self._get_param("LogicalResourceId"))
        if name not in stack.resources:
            raise Refusal(f"Resource {name} does not exist for stack {self._name()}")
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
            "PhysicalResourceId": resource.created.physical_id,
            "ResourceType": resource.spec.type,
            "Timestamp": resource.changed_at,
            "LastUpdatedTimestamp": resource.changed_at,
            "ResourceStatus": resource.status,
            "ResourceStatusReason": resource.reason,
        }

    def list_exports(self) -> ActionResult:
        exports = self.engine.stacks.exports()
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
            if not self._get_param("StackName") and not name.startswith("arn:"):
                raise Refusal("StackName is a required parameter.")
            desired: DesiredState | None = self.engine.find_change_set(
                name, self._get_param("StackName")
            ).desired
        elif not self._get_param("StackName"):
            raise Refusal("StackName is required if ChangeSetName is not specified.")
        else:
            desired = self._stack().desired
        stages = ["Original", "Processed"]
        return ActionResult({"TemplateBody": desired.text if desired else "", "StagesAvailable": stages})

    def get_template_summary(self) -> ActionResult:
        if name := self._get_param("StackSetName"):
            desired: DesiredState | None = self.sets.find(name).desired
        elif self._get_param("StackName"):
            desired = self._stack().desired
            if desired is None:
                raise Refusal("GetTemplateSummary cannot be called on REVIEW_IN_PROGRESS stacks.")
        else:
            desired = None
        template = desired.template if desired else read_template(self._text(None))
        metadata = template.get("Metadata")
        return ActionResult(
            {
                "Description": template.get("Description"),
                "Metadata": json.dumps(metadata, default=str) if metadata else None,
                "Version": template.get("AWSTemplateFormatVersion"),
                "ResourceTypes": sorted({item["Type"] for item in template["Resources"].values()}),
                "ResourceIdentifierSummaries": [
                    {
                        "ResourceType": type_,
                        "LogicalResourceIds": [
                            name for name, item in template["Resources"].items() if item["Type"] == type_
                        ],
                    }
                    for type_ in sorted({item["Type"] for item in template["Resources"].values()})
                ],
                "Parameters": [
                    {**declared, "ParameterType": declaration.get("Type", "String")}
                    for declared, declaration in _declared(template)
                ],
            }
        )

    def validate_template(self) -> ActionResult:
        template = read_template(self._text(None))
        declared = [declared for declared, _ in _declared(template)]
        return ActionResult({"Description": template.get("Description"), "Parameters": declared})

    # Change sets

    def create_change_set(self) -> ActionResult:
        kind: Literal["CREATE", "UPDATE"] = self._get_param("ChangeSetType") or "UPDATE"
        before = None
        if kind == "UPDATE":
            before = self._stack_in_brackets().desired
        change_set = self.engine.create_change_set(
            self._name(), str(self._get_param("ChangeSetName")), kind, self._desired(before)
        )
        change_set.stack.role = self._get_param("RoleARN") or change_set.stack.role
        change_set.capabilities = self._get_param("Capabilities") or []
        return ActionResult({"Id": change_set.id, "StackId": change_set.stack.id})

    def _change_set(self) -> ChangeSet:
        name, stack = str(self._get_param("ChangeSetName")), self._get_param("StackName")
        if stack:
            self._stack_in_brackets()
        elif not name.startswith("arn:"):
            raise Refusal("StackName must be specified if ChangeSetName is not specified as an ARN.")
        return self.engine.find_change_set(name, stack)

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
                "Capabilities": change_set.capabilities,
                "IncludeNestedStacks": False,
                "NotificationARNs": [],
                "RollbackConfiguration": {},
                "Tags": [{"Key": k, "Value": v} for k, v in change_set.desired.tags.items()],
                "Parameters": [
                    {"ParameterKey": k, "ParameterValue": v} for k, v in change_set.desired.parameters.items()
                ],
            }
        )

    def execute_change_set(self) -> ActionResult:
        self.engine.execute(self._change_set(), keep_failures=self._keeps_failures())
        return EmptyResult()

    def delete_change_set(self) -> ActionResult:
        del self.engine.change_sets[self._change_set().id]
        return EmptyResult()


def _declared(template: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], Mapping[str, Any]]]:
    """Yield each parameter of a template in the form of the API, and as the template declares it."""
    for key, declaration in (template.get("Parameters") or {}).items():
        yield (
            {
                "ParameterKey": key,
                "DefaultValue": declaration.get("Default"),
                "NoEcho": str(declaration.get("NoEcho", "")).lower() == "true",
                "Description": declaration.get("Description"),
            },
            declaration,
        )


def _by_age(stack: Stack) -> str:
    return f"{stack.created_at.isoformat(timespec='microseconds')} {stack.id}"
