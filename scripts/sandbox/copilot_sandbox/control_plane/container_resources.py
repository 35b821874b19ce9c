"""Handlers of ECS's resources in CloudFormation: clusters, task definitions, services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from copilot_sandbox import model

from .container_service import ContainerService
from .ecs_common import backend, tag_list
from .errors import handler_failed
from .resources import CreatedResource, Handler, ResourceSpec, Settling
from .service_records import ServiceRecord
from .shapes import to_api

CIRCUIT_BREAKER = "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
_REPLACES = ("cluster", "serviceName", "launchType", "schedulingStrategy")


class ClusterHandler(Handler):
    """AWS::ECS::Cluster. Copilot finds it by its tags."""

    takes_tags = True

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("ecs", "CreateCluster", spec.properties)
        name = request.get("clusterName") or spec.name(255)
        cluster = backend().create_cluster(
            name,
            tags=tag_list(spec.tags()),
            cluster_settings=_settings(spec),
            configuration=request.get("configuration"),
            capacity_providers=request.get("capacityProviders"),
        )
        return CreatedResource(name, {"Arn": cluster.arn}, cluster)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if old.get("ClusterName") != spec.properties.get("ClusterName"):
            return None
        request = to_api("ecs", "CreateCluster", spec.properties)
        created.model.tags = tag_list(spec.tags())
        created.model.settings = _settings(spec)
        created.model.configuration = request.get("configuration")
        created.model.capacity_providers = request.get("capacityProviders")
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().clusters.pop(created.physical_id, None)


def _settings(spec: ResourceSpec) -> list[dict[str, str]]:
    settings = spec.properties.get("ClusterSettings", [])
    return [{"name": setting["Name"], "value": setting["Value"]} for setting in settings]


_GIB = 1024
# CPU units and MiB of Fargate's tasks.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-cpu-memory-error.html
_SIZES = {
    "256": (512, 1 * _GIB, 2 * _GIB),
    "512": range(1 * _GIB, 4 * _GIB + 1, _GIB),
    "1024": range(2 * _GIB, 8 * _GIB + 1, _GIB),
    "2048": range(4 * _GIB, 16 * _GIB + 1, _GIB),
    "4096": range(8 * _GIB, 30 * _GIB + 1, _GIB),
    "8192": range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB),
    "16384": range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB),
}


def _require_size(request: dict[str, Any]) -> None:
    """Raise as CloudFormation does where Fargate has no task of this CPU and memory, in units and MiB."""
    cpu, memory = (str(request.get(name, "")) for name in ("cpu", "memory"))
    if "FARGATE" not in request.get("requiresCompatibilities", ()) or not (cpu + memory).isdecimal():
        return  # other forms, such as "1 vCPU", are not judged
    if int(memory or 0) not in _SIZES.get(cpu, ()):
        raise handler_failed(
            "Invalid request provided: Create TaskDefinition: No Fargate configuration exists for given "
            f"values: {cpu} CPU, {memory} memory. See the Amazon ECS documentation for the valid values."
        )


class TaskDefinitionHandler(Handler):
    """AWS::ECS::TaskDefinition. Each change creates a revision; the old one is deregistered afterwards."""

    always_replaced = True

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("ecs", "RegisterTaskDefinition", spec.properties)
        request.setdefault("family", f"{spec.stack_name}-{spec.logical_id}")
        _require_size(request)
        registered = backend().register_task_definition(
            request["family"],
            request.get("containerDefinitions", []),
            volumes=request.get("volumes"),
            network_mode=request.get("networkMode"),
            tags=tag_list(spec.tags()),
            requires_compatibilities=request.get("requiresCompatibilities"),
            cpu=request.get("cpu"),
            memory=request.get("memory"),
            task_role_arn=request.get("taskRoleArn"),
            execution_role_arn=request.get("executionRoleArn"),
            runtime_platform=request.get("runtimePlatform"),
            ephemeral_storage=request.get("ephemeralStorage"),
        )
        return CreatedResource(registered.arn, {"TaskDefinitionArn": registered.arn})

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        del created, old, spec
        return None

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().deregister_task_definition(created.physical_id)


class ServiceHandler(Handler):
    """AWS::ECS::Service. It is stable once the agent reports that the deployment is complete."""

    takes_tags = True

    def __init__(self, ecs: ContainerService, agent: Callable[[], model.Agent]) -> None:
        self._ecs = ecs
        self._agent = agent

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("ecs", "CreateService", spec.properties)
        request.setdefault("desiredCount", 1)
        name = request.get("serviceName") or spec.name(255)
        record = self._ecs.create(request, name, spec.tags())
        return CreatedResource(record.arn, {"Name": name, "ServiceArn": record.arn}, record)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        before = to_api("ecs", "CreateService", old)
        request = to_api("ecs", "CreateService", spec.properties)
        request.setdefault("desiredCount", 1)
        if any(before.get(key) != request.get(key) for key in _REPLACES):
            return None
        record: ServiceRecord = created.model
        record.tags = spec.tags()
        # A property that the template no longer has gets ECS's default again.
        for key in before.keys() - request.keys():
            record.wanted.pop(key, None)
        request.pop("tags", None)
        self._ecs.change(record, request)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        self._ecs.delete(created.model)

    def settling(self, created: CreatedResource) -> Settling:
        record: ServiceRecord = created.model

        def check() -> tuple[str, str]:
            state, reason = self._agent().rollout(record.arn, record.deployment_id)
            return state, CIRCUIT_BREAKER if state == "FAILED" else reason

        return check

    def draining(self, created: CreatedResource) -> Settling:
        record: ServiceRecord = created.model

        def check() -> tuple[str, str]:
            if not self._agent().drained(record.arn):
                return "IN_PROGRESS", ""
            self._ecs.forget(record)
            return "COMPLETED", ""

        return check
