"""Copilot's custom resources, handled in this process; on AWS each is a Lambda function.

The results follow the published source of those functions (github.com/aws/copilot-cli, in
cf-custom-resources).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.logs.models import logs_backends

from .environment_controller import Controller, Environments
from .errors import ResourceFailed
from .load_balancing import backend
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec, Settling, after

# A rule for the root path gets a high priority number, counted down, so that it never hides another rule.
_FIRST_ROOT_PRIORITY = 48_000
_LAST_ROOT_PRIORITY = 50_000
_REPLICATOR = "Custom::CertificateReplicatorFunction"

_ANSWERED = "Received response status [FAILED] from custom resource. Message returned: {}"


class CustomResources(Handler):
    """Handles each type of custom resource. A type that Copilot does not have fails with its name."""

    def __init__(self, environments: Environments, seconds: Callable[[str], float]) -> None:
        """`seconds` returns how long a step takes, by its name; see `ForTests.seconds`."""
        self._environments = environments
        self._seconds = seconds
        self._pending: dict[str, Settling] = {}  # by physical id, until the operation asks

    def create(self, spec: ResourceSpec) -> CreatedResource:
        created = CreatedResource(self._physical_id(spec))
        self._run(created, spec)
        return created

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        del old
        replicates = spec.type == _REPLICATOR
        updated = CreatedResource(self._physical_id(spec) if replicates else created.physical_id)
        self._run(updated, spec)
        return updated

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        _make_log_group(spec)
        if spec.type == "Custom::EnvControllerFunction":
            self._control(created, spec, parameters=[], aliases=[])

    def _run(self, created: CreatedResource, spec: ResourceSpec) -> None:
        _make_log_group(spec)
        properties = spec.properties
        if spec.type == "Custom::EnvControllerFunction":
            workloads = [name for name in properties.get("Parameters", []) if name.endswith("Workloads")]
            self._control(created, spec, workloads, properties.get("Aliases", []))
            return
        created.attributes.update(self._answer(spec))
        # Between the function's answer and the rule that uses it, others may take the same number.
        if spec.type == "Custom::RulePriorityFunction" and (seconds := self._seconds("rule-priority")):
            self._pending[created.physical_id] = after(seconds)

    def attribute(self, created: CreatedResource, name: str) -> Any:
        try:
            return created.attributes[name]
        except KeyError:
            raise ResourceFailed(f"Vendor response doesn't contain {name} attribute in object") from None

    def _physical_id(self, spec: ResourceSpec) -> str:
        if spec.type == "Custom::EnvControllerFunction":
            return f"envcontoller/{spec.properties['EnvStack']}/{spec.properties['Workload']}"
        if spec.type == _REPLICATOR:  # all is in one region here, so a certificate is its own copy
            return str(spec.properties["CertificateArn"])
        return f"{spec.stack_name}-{spec.type.removeprefix('Custom::').lower()}-{spec.logical_id}"

    def _answer(self, spec: ResourceSpec) -> dict[str, Any]:
        properties = spec.properties
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
            _REPLICATOR,
        ):
            return {}  # there is nothing to clean or to copy, and no name server to change
        raise ResourceFailed(
            f"Received response status [FAILED] from custom resource. Message returned: the sandbox has no"
            f" {spec.type}: it serves plain HTTP on this machine."
        )

    def _control(
        self, created: CreatedResource, spec: ResourceSpec, parameters: list[str], aliases: list[str]
    ) -> None:
        """Run the environment controller; what it has to wait for is left to `settling` and `draining`."""
        stack, workload = spec.properties["EnvStack"], spec.properties["Workload"]
        run = Controller(self._environments, stack, workload, parameters, aliases, created)
        state, reason = run()
        if state == "FAILED":
            raise ResourceFailed(_ANSWERED.format(reason))
        if state == "IN_PROGRESS":
            self._pending[created.physical_id] = run

    def settling(self, created: CreatedResource) -> Settling | None:
        return self._pending.pop(created.physical_id, None)

    draining = settling


def _make_log_group(spec: ResourceSpec) -> None:
    """Make the log group that Lambda makes when a function runs, and that no stack deletes.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    """
    function = str(spec.properties.get("ServiceToken", "")).partition(":function:")[2]
    logs = logs_backends[ACCOUNT][REGION]
    if function and f"/aws/lambda/{function}" not in logs.groups:
        logs.create_log_group(f"/aws/lambda/{function}", {})


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
