"""Copilot's custom resources, handled in this process; on AWS each is a Lambda function.

The results follow the published source of those functions (github.com/aws/copilot-cli, in
cf-custom-resources).
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from .errors import ResourceFailed
from .load_balancing import backend
from .resources import CreatedResource, Handler, ResourceSpec

# A rule for the root path gets a high priority number, counted down, so that it never hides another rule.
_FIRST_ROOT_PRIORITY = 48_000
_LAST_ROOT_PRIORITY = 50_000


class Environments(Protocol):
    """The environment controller's calls of CloudFormation."""

    def parameters_of(self, stack_name: str) -> dict[str, str]: ...

    def outputs_of(self, stack_name: str) -> dict[str, str]: ...

    def change_parameters(self, stack_name: str, parameters: dict[str, str]) -> None:
        """Update the stack with its own template. Raises ResourceFailed if that fails."""


class CustomResources(Handler):
    """Handles each type of custom resource. A type that Copilot does not have fails with its name."""

    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    def create(self, spec: ResourceSpec) -> CreatedResource:
        return CreatedResource(self._physical_id(spec), self._answer(spec))

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        del old
        return CreatedResource(created.physical_id, self._answer(spec))

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del created
        if spec.type == "Custom::EnvControllerFunction":
            self._update_env(spec, parameters=[], aliases=[])

    def attribute(self, created: CreatedResource, name: str) -> Any:
        try:
            return created.attributes[name]
        except KeyError:
            raise ResourceFailed(f"Vendor response doesn't contain {name} attribute in object") from None

    def _physical_id(self, spec: ResourceSpec) -> str:
        if spec.type == "Custom::EnvControllerFunction":
            return f"envcontoller/{spec.properties['EnvStack']}/{spec.properties['Workload']}"
        return f"{spec.type.removeprefix('Custom::').lower()}-{spec.logical_id}"

    def _answer(self, spec: ResourceSpec) -> dict[str, Any]:
        properties = spec.properties
        if spec.type == "Custom::EnvControllerFunction":
            return self._update_env(
                spec,
                parameters=[p for p in properties.get("Parameters", []) if p.endswith("Workloads")],
                aliases=properties.get("Aliases", []),
            )
        if spec.type == "Custom::RulePriorityFunction":
            return _priorities(properties["ListenerArn"], properties["RulePath"])
        if spec.type == "Custom::DynamicDesiredCountFunction":
            return {"DesiredCount": properties.get("DefaultDesiredCount", 1)}
        if spec.type == "Custom::UniqueJSONValuesFunction":
            by_service = json.loads(properties.get("Aliases") or "{}")
            chosen = properties.get("FilterFor", "").split(",")
            values = {alias for key, aliases in by_service.items() if key in chosen for alias in aliases}
            return {"UniqueValues": sorted({*values, *properties.get("AdditionalStrings", [])})}
        if spec.type in (
            "Custom::BucketCleanerFunction",
            "Custom::DNSDelegationFunction",
            "Custom::NLBCustomDomainFunction",
        ):
            return {}  # there is nothing to clean and no name server to change
        raise ResourceFailed(
            f"Received response status [FAILED] from custom resource. Message returned: the sandbox has no"
            f" {spec.type}: it serves plain HTTP on this machine."
        )

    def _update_env(self, spec: ResourceSpec, *, parameters: list[str], aliases: list[str]) -> dict[str, str]:
        """Add the workload to these environment parameters, remove it from others, return the outputs."""
        stack, workload = spec.properties["EnvStack"], spec.properties["Workload"]
        before = self._environments.parameters_of(stack)
        after = dict(before)
        for key, value in before.items():
            if key.endswith("Workloads"):
                names = [name for name in value.split(",") if name and name != workload]
                present = workload in value.split(",")
                if key in parameters:
                    after[key] = value if present else ",".join([*names, workload])
                elif present:
                    after[key] = ",".join(names)
            elif key == "Aliases":
                by_service = json.loads(value or "{}")
                if by_service.get(workload, []) != aliases:
                    by_service[workload] = aliases
                    left = {name: hosts for name, hosts in by_service.items() if hosts}
                    after[key] = json.dumps(left, separators=(",", ":")) if left else ""
        if after != before:
            self._environments.change_parameters(stack, after)
        outputs = self._environments.outputs_of(stack)
        return {
            key: value
            for key, value in outputs.items()
            if key not in ("EnabledFeatures", "LastForceDeployID")
        }


def _priorities(listener_arn: str, paths: list[str]) -> dict[str, int]:
    """Return a free priority for each path, as Priority, Priority1 and so on."""
    listeners = backend().describe_listeners(None, [listener_arn])
    used = [int(rule.priority) for rule in listeners[0].rules.values() if not rule.is_default]
    root = min((p for p in used if p >= _FIRST_ROOT_PRIORITY), default=_LAST_ROOT_PRIORITY + 1) - 1
    other = max((p for p in used if p < _FIRST_ROOT_PRIORITY), default=0) + 1
    priorities: dict[str, int] = {}
    for index, path in enumerate(paths):
        key = f"Priority{index or ''}"
        if path == "/":
            priorities[key], root = root, root - 1
        else:
            priorities[key], other = other, other + 1
    return priorities
