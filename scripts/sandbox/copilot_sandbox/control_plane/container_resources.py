"""Handlers of ECS's resources in CloudFormation: clusters, task definitions, services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from copilot_sandbox import model

from .container_service import ContainerService
from .ecs_common import backend, tag_list
from .resources import Handler, Made, Settling, Wanted
from .service_records import ServiceRecord
from .shapes import to_api

CIRCUIT_BREAKER = "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
_REPLACES = ("cluster", "serviceName", "launchType", "schedulingStrategy")


class ClusterHandler(Handler):
    """AWS::ECS::Cluster. Copilot finds it by its tags."""

    takes_tags = True

    def create(self, wanted: Wanted) -> Made:
        request = to_api("ecs", "CreateCluster", wanted.properties)
        name = request.get("clusterName") or wanted.name(255)
        cluster = backend().create_cluster(
            name,
            tags=tag_list(wanted.tags()),
            cluster_settings=_settings(wanted),
            configuration=request.get("configuration"),
            capacity_providers=request.get("capacityProviders"),
        )
        return Made(name, {"Arn": cluster.arn}, cluster)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        if old.get("ClusterName") != wanted.properties.get("ClusterName"):
            return None
        request = to_api("ecs", "CreateCluster", wanted.properties)
        made.model.tags = tag_list(wanted.tags())
        made.model.settings = _settings(wanted)
        made.model.configuration = request.get("configuration")
        made.model.capacity_providers = request.get("capacityProviders")
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        backend().clusters.pop(made.physical_id, None)


def _settings(wanted: Wanted) -> list[dict[str, str]]:
    settings = wanted.properties.get("ClusterSettings", [])
    return [{"name": setting["Name"], "value": setting["Value"]} for setting in settings]


class TaskDefinitionHandler(Handler):
    """AWS::ECS::TaskDefinition. Each change creates a revision; the old one is deregistered afterwards."""

    always_replaced = True

    def create(self, wanted: Wanted) -> Made:
        request = to_api("ecs", "RegisterTaskDefinition", wanted.properties)
        request.setdefault("family", f"{wanted.stack_name}-{wanted.logical_id}")
        registered = backend().register_task_definition(
            request["family"],
            request.get("containerDefinitions", []),
            volumes=request.get("volumes"),
            network_mode=request.get("networkMode"),
            tags=tag_list(wanted.tags()),
            requires_compatibilities=request.get("requiresCompatibilities"),
            cpu=request.get("cpu"),
            memory=request.get("memory"),
            task_role_arn=request.get("taskRoleArn"),
            execution_role_arn=request.get("executionRoleArn"),
            runtime_platform=request.get("runtimePlatform"),
            ephemeral_storage=request.get("ephemeralStorage"),
        )
        return Made(registered.arn, {"TaskDefinitionArn": registered.arn})

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        del made, old, wanted
        return None

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        backend().deregister_task_definition(made.physical_id)


class ServiceHandler(Handler):
    """AWS::ECS::Service. It is stable once the agent reports that the deployment is complete."""

    takes_tags = True

    def __init__(self, ecs: ContainerService, agent: Callable[[], model.Agent]) -> None:
        self._ecs = ecs
        self._agent = agent

    def create(self, wanted: Wanted) -> Made:
        request = to_api("ecs", "CreateService", wanted.properties)
        request.setdefault("desiredCount", 1)
        name = request.get("serviceName") or wanted.name(255)
        record = self._ecs.create(request, name, wanted.tags())
        return Made(record.arn, {"Name": name, "ServiceArn": record.arn}, record)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        before = to_api("ecs", "CreateService", old)
        request = to_api("ecs", "CreateService", wanted.properties)
        request.setdefault("desiredCount", 1)
        if any(before.get(key) != request.get(key) for key in _REPLACES):
            return None
        record: ServiceRecord = made.model
        record.tags = wanted.tags()
        # A property that the template no longer has gets ECS's default again.
        for key in before.keys() - request.keys():
            record.wanted.pop(key, None)
        request.pop("tags", None)
        self._ecs.change(record, request)
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        self._ecs.delete(made.model)

    def settling(self, made: Made) -> Settling:
        record: ServiceRecord = made.model

        def check() -> tuple[str, str]:
            state, reason = self._agent().rollout(record.arn, record.deployment_id)
            return state, CIRCUIT_BREAKER if state == "FAILED" else reason

        return check

    def draining(self, made: Made) -> Settling:
        record: ServiceRecord = made.model

        def check() -> tuple[str, str]:
            if not self._agent().drained(record.arn):
                return "IN_PROGRESS", ""
            self._ecs.forget(record)
            return "COMPLETED", ""

        return check
