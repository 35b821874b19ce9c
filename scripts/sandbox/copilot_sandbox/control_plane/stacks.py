"""The records of stacks: their present state, their desired state, and all stacks of the account."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import StackMissing
from .resources import ACCOUNT, REGION, CreatedResource, ResourceSpec
from .templates import in_order, read_template

OnFailure = Literal["ROLLBACK", "DO_NOTHING", "DELETE"]


def now() -> dt.datetime:
    # AWS's times have milliseconds. Copilot waits for a service whose deployment changed after the event that
    # announced it. If only one of the two times were cut, Copilot could wait for ever.
    time = dt.datetime.now(dt.UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class DesiredState:
    """The desired state of a stack: a template, its parameters as given, and tags."""

    text: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    template: Mapping[str, Any]

    @classmethod
    def read(cls, text: str, parameters: Mapping[str, str], tags: Mapping[str, str]) -> DesiredState:
        return cls(text, dict(parameters), dict(tags), read_template(text))

    def with_parameters(self, parameters: Mapping[str, str]) -> DesiredState:
        return DesiredState(self.text, dict(parameters), self.tags, self.template)

    def retains(self, name: str) -> bool:
        return str(self.template["Resources"][name].get("DeletionPolicy", "")).startswith("Retain")

    def same_as(self, other: DesiredState) -> bool:
        """Return True if CloudFormation would find no change. It ignores Metadata and Description.

        Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/metadata-section-structure.html
        """

        def significant(desired: DesiredState) -> Any:
            parts = {k: v for k, v in desired.template.items() if k not in ("Metadata", "Description")}
            return parts, dict(desired.parameters), dict(desired.tags)

        return bool(significant(self) == significant(other))


@dataclass
class Resource:
    """A resource of a stack that exists or is being created."""

    spec: ResourceSpec
    created: CreatedResource
    retained: bool  # DeletionPolicy: Retain
    status: str = ""
    reason: str | None = None
    changed_at: dt.datetime = field(default_factory=now)


@dataclass
class Output:
    value: str
    description: str | None
    export: str | None


@dataclass
class Rollback:
    """The steps of an update's rollback that remain."""

    before: dict[str, Resource]  # resources whose old properties are not restored yet
    created: list[Resource]  # resources that the update created; they are deleted after the restoration


@dataclass
class Stack:
    id: str
    name: str
    desired: DesiredState | None  # None while a first change set waits to be executed
    status: str
    created_at: dt.datetime = field(default_factory=now)
    updated_at: dt.datetime | None = None
    deleted_at: dt.datetime | None = None
    capabilities: list[str] = field(default_factory=list)
    reason: str | None = None
    role: str | None = None
    change_set: str | None = None
    keeps_failures: bool = False  # DisableRollback of the last operation
    on_failure: OnFailure = "ROLLBACK"  # of the creation
    protected: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)  # the oldest first
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, Output] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    cancelled: bool = False
    rollback: Rollback | None = None  # one that failed and may be continued
    leftovers: list[Resource] = field(default_factory=list)  # resources replaced by an unfinished update

    @property
    def tags(self) -> dict[str, str]:
        return dict(self.desired.tags) if self.desired else {}

    @property
    def busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    def newest_first(self) -> list[Resource]:
        """Return the resources, each before the ones that it depends on."""
        template = self.desired.template if self.desired else {"Resources": {}}
        declared = {name: template["Resources"].get(name, {}) for name in self.resources}
        return [self.resources[name] for name in reversed(in_order(declared))]

    def set_status(self, status: str, reason: str | None = None) -> None:
        self.status, self.reason = status, reason
        stack_type = "AWS::CloudFormation::Stack"
        self._add_event(self.name, self.id, stack_type, status=status, reason=reason, properties=None)

    def add_event(self, spec: ResourceSpec, physical_id: str, status: str, reason: str | None = None) -> None:
        properties = json.dumps(spec.properties, default=str)
        self._add_event(
            spec.logical_id, physical_id, spec.type, status=status, reason=reason, properties=properties
        )
        if resource := self.resources.get(spec.logical_id):
            resource.status, resource.reason, resource.changed_at = status, reason, now()

    def _add_event(
        self,
        logical_id: str,
        physical_id: str,
        type_: str,
        *,
        status: str,
        reason: str | None,
        properties: str | None,
    ) -> None:
        self.events.append(
            {
                "StackId": self.id,
                "EventId": f"{logical_id}-{uuid.uuid4()}",
                "StackName": self.name,
                "LogicalResourceId": logical_id,
                "PhysicalResourceId": physical_id,
                "ResourceType": type_,
                "Timestamp": now(),
                "ResourceStatus": status,
                "ResourceStatusReason": reason,
                "ResourceProperties": properties,
            }
        )


class Stacks:
    """All stacks of the account. The caller of a method holds the control plane's lock."""

    def __init__(self) -> None:
        self.by_id: dict[str, Stack] = {}  # including deleted ones

    def live(self) -> list[Stack]:
        return [stack for stack in self.by_id.values() if stack.status != "DELETE_COMPLETE"]

    def find(self, name_or_id: str, missing: str = "Stack with id {} does not exist") -> Stack:
        """Return a stack by name, or by id even if it is deleted. Raises StackMissing with the given text."""
        if name_or_id in self.by_id:
            return self.by_id[name_or_id]
        for stack in self.live():
            if stack.name == name_or_id:
                return stack
        raise StackMissing(name_or_id, missing)

    def named(self, name: str) -> Stack | None:
        return next((stack for stack in self.live() if stack.name == name), None)

    def add(self, name: str, desired: DesiredState | None, status: str) -> Stack:
        identity = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"
        stack = Stack(identity, name, desired, status)
        self.by_id[identity] = stack
        return stack

    def resource(self, physical_id: str) -> Resource | None:
        """Return the resource of any stack; None if it does not exist."""
        resources = (each for stack in self.live() for each in stack.resources.values())
        return next((each for each in resources if each.created.physical_id == physical_id), None)

    def exports(self) -> dict[str, tuple[Stack, str]]:
        return {
            output.export: (stack, output.value)
            for stack in self.live()
            for output in stack.outputs.values()
            if output.export
        }
