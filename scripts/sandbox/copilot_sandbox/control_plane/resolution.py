"""Evaluates a template for one stack: values, resources in their order, changes, outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .catalogue import Catalogue
from .errors import ResourceFailed, TemplateError
from .resources import ACCOUNT, REGION, Handler, ResourceSpec
from .stacks import DesiredState, Output, Stack, Stacks
from .stores import parameter_value
from .template_check import check_references, require_made
from .templates import ABSENT, Scope, Unknown, as_text, in_order, resolve_parameters


class Resolver:
    """Evaluates templates with the present resources of the account's stacks."""

    def __init__(
        self, stacks: Stacks, catalogue: Catalogue, missing_export: Callable[[str], str] | None = None
    ) -> None:
        self._stacks = stacks
        self._missing_export = missing_export  # returns the value of an export of another team's stack
        self._catalogue = catalogue

    def values_of(self, stack: Stack, desired: DesiredState) -> dict[str, Any]:
        return {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": REGION,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackId": stack.id,
            "AWS::StackName": stack.name,
            "AWS::NotificationARNs": [],
            **resolve_parameters(desired.template, desired.parameters, parameter_value),
        }

    def check(self, stack_name: str, desired: DesiredState) -> None:
        """Raise TemplateError if AWS refuses a template and its parameters before it begins.

        It evaluates all that is known without a resource: conditions, mappings, the names that are used.
        """
        template = desired.template
        check_references(template)
        scope = self.scope(Stack("", stack_name, desired, ""), desired, set(template["Resources"]))
        names = self.names(desired, scope)
        require_made(template, scope, names)
        for name in names:
            scope.resolve(template["Resources"][name].get("Properties") or {})

    def scope(self, stack: Stack, desired: DesiredState, unknown: set[str] | None = None) -> Scope:
        """Resolve names with the stack's present resources; an `unknown` name gives an Unknown."""
        hidden = unknown or set()

        def resource(name: str) -> str:
            if name in hidden:
                return Unknown(f"unknown:{name}")
            if name not in stack.resources:
                raise TemplateError(
                    f"Template format error: Unresolved resource dependencies [{name}] in the Resources block"
                    " of the template"
                )
            return stack.resources[name].created.physical_id

        def attribute(name: str, key: str) -> Any:
            if name in hidden:
                return Unknown(f"unknown:{name}.{key}")
            resource(name)
            existing = stack.resources[name]
            return self._catalogue[existing.spec.type].attribute(existing.created, key)

        def export(name: str) -> str:
            exports = self._stacks.exports()
            if name not in exports and hidden:
                return Unknown(f"unknown:{name}")  # AWS looks for it when it comes to the resource
            if name not in exports and self._missing_export and not self._is_of_copilot(name):
                return self._missing_export(name)
            if name not in exports:
                raise TemplateError(f"No export named {name} found.")
            return exports[name][1]

        return Scope(desired.template, self.values_of(stack, desired), resource, attribute, export)

    def _is_of_copilot(self, name: str) -> bool:
        """Return True for an export that only a stack of this account's application can have."""
        applications = {stack.tags.get("copilot-application") for stack in self._stacks.live()} - {None}
        return any(name.startswith(f"{application}-") for application in applications)

    def spec(self, stack: Stack, desired: DesiredState, scope: Scope, name: str) -> ResourceSpec:
        declared = desired.template["Resources"][name]
        properties = scope.resolve(declared.get("Properties") or {})
        return ResourceSpec(
            stack.id,
            stack.name,
            desired.tags,
            name,
            declared["Type"],
            {} if properties is ABSENT else properties,
        )

    def names(self, desired: DesiredState, scope: Scope) -> list[str]:
        """Return the resources whose condition is true, in the order of their dependencies."""
        declared = desired.template["Resources"]
        return [
            name
            for name in in_order(declared)
            if "Condition" not in declared[name] or scope.condition(declared[name]["Condition"])
        ]

    def changes(self, stack: Stack, desired: DesiredState) -> list[dict[str, Any]]:
        """Return the differences between a stack's resources and those of the desired state."""
        unknown: set[str] = set(desired.template["Resources"]) - set(stack.resources)
        scope = self.scope(stack, desired, unknown)
        names = self.names(desired, scope)
        changes: list[dict[str, Any]] = []
        for name in names:
            type_ = desired.template["Resources"][name]["Type"]
            existing = stack.resources.get(name)
            if existing is None:
                changes.append(_change("Add", name, type_, None))
                continue
            spec = self.spec(stack, desired, scope, name)
            handler = self._catalogue[type_]
            if not differs(handler, existing.spec, spec):
                continue
            if handler.always_replaced or type_.startswith("Custom::"):
                unknown.add(name)
            changes.append(_change("Modify", name, type_, existing.created.physical_id))
        changes += [
            _change("Remove", name, existing.spec.type, existing.created.physical_id)
            for name, existing in stack.resources.items()
            if name not in names
        ]
        return changes

    def outputs(self, stack: Stack, desired: DesiredState, scope: Scope) -> dict[str, Output]:
        outputs: dict[str, Output] = {}
        exports = self._stacks.exports()
        for key, declared in (desired.template.get("Outputs") or {}).items():
            if "Condition" in declared and not scope.condition(declared["Condition"]):
                continue
            value = scope.resolve(declared["Value"])
            if value is ABSENT:
                continue
            name = scope.resolve(declared["Export"]["Name"]) if "Export" in declared else None
            if name in exports and exports[name][0] is not stack:
                raise TemplateError(
                    f"Export with name {name} is already exported by stack {exports[name][0].name}."
                )
            text = ",".join(value) if isinstance(value, list) else as_text(value)
            outputs[key] = Output(text, declared.get("Description"), name)
        return outputs

    def refuse_lost_exports(self, stack: Stack, outputs: Mapping[str, Output]) -> None:
        still_exported = {output.export for output in outputs.values()}
        lost = {output.export for output in stack.outputs.values() if output.export} - still_exported
        for other in self._stacks.live():
            if other is not stack and (used := lost & other.imported):
                raise ResourceFailed(
                    f"Export {min(name for name in used if name)} cannot be deleted as it is in use by"
                    f" {other.name}"
                )


def differs(handler: Handler, old: ResourceSpec, new: ResourceSpec) -> bool:
    if old.type != new.type or old.properties != new.properties:
        return True
    return handler.takes_tags and dict(old.stack_tags) != dict(new.stack_tags)


def _change(action: str, name: str, type_: str, physical_id: str | None) -> dict[str, Any]:
    return {
        "Type": "Resource",
        "ResourceChange": {
            "Action": action,
            "LogicalResourceId": name,
            "PhysicalResourceId": physical_id,
            "ResourceType": type_,
            "Replacement": "False" if action == "Modify" else None,
            "Scope": ["Properties"] if action == "Modify" else [],
            "Details": [],
        },
    }
