"""ECS in CloudFormation: clusters, task definitions, services."""

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
    """AWS::ECS::Cluster: Copilot finds it by its tags."""

    takes_tags = True

    def create(self, wanted: Wanted) -> Made:
        asked = to_api("ecs", "CreateCluster", wanted.properties)
        name = asked.get("clusterName") or wanted.name(255)
        cluster = backend().create_cluster(
            name,
            tags=tag_list(wanted.tags()),
            cluster_settings=_settings(wanted),
            configuration=asked.get("configuration"),
            capacity_providers=asked.get("capacityProviders"),
        )
        return Made(name, {"Arn": cluster.arn}, cluster)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        if old.get("ClusterName") != wanted.properties.get("ClusterName"):
            return None
        asked = to_api("ecs", "CreateCluster", wanted.properties)
        made.model.tags = tag_list(wanted.tags())
        made.model.settings = _settings(wanted)
        made.model.configuration = asked.get("configuration")
        made.model.capacity_providers = asked.get("capacityProviders")
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        backend().clusters.pop(made.physical_id, None)


def _settings(wanted: Wanted) -> list[dict[str, str]]:
    settings = wanted.properties.get("ClusterSettings", [])
    return [{"name": setting["Name"], "value": setting["Value"]} for setting in settings]


class TaskDefinitionHandler(Handler):
    """AWS::ECS::TaskDefinition: each change is a new revision; the old one is deregistered afterwards."""

    always_replaced = True

    def create(self, wanted: Wanted) -> Made:
        asked = to_api("ecs", "RegisterTaskDefinition", wanted.properties)
        asked.setdefault("family", f"{wanted.stack_name}-{wanted.logical_id}")
        registered = backend().register_task_definition(
            asked["family"],
            asked.get("containerDefinitions", []),
            volumes=asked.get("volumes"),
            network_mode=asked.get("networkMode"),
            tags=tag_list(wanted.tags()),
            requires_compatibilities=asked.get("requiresCompatibilities"),
            cpu=asked.get("cpu"),
            memory=asked.get("memory"),
            task_role_arn=asked.get("taskRoleArn"),
            execution_role_arn=asked.get("executionRoleArn"),
            runtime_platform=asked.get("runtimePlatform"),
            ephemeral_storage=asked.get("ephemeralStorage"),
        )
        return Made(registered.arn, {"TaskDefinitionArn": registered.arn})

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        del made, old, wanted
        return None

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        backend().deregister_task_definition(made.physical_id)


class ServiceHandler(Handler):
    """AWS::ECS::Service: it has settled when the agent says that the deployment is through."""

    takes_tags = True

    def __init__(self, ecs: ContainerService, agent: Callable[[], model.Agent]) -> None:
        self._ecs = ecs
        self._agent = agent

    def create(self, wanted: Wanted) -> Made:
        asked = to_api("ecs", "CreateService", wanted.properties)
        asked.setdefault("desiredCount", 1)
        name = asked.get("serviceName") or wanted.name(255)
        record = self._ecs.create(asked, name, wanted.tags())
        return Made(record.arn, {"Name": name, "ServiceArn": record.arn}, record)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        before = to_api("ecs", "CreateService", old)
        asked = to_api("ecs", "CreateService", wanted.properties)
        asked.setdefault("desiredCount", 1)
        if any(before.get(key) != asked.get(key) for key in _REPLACES):
            return None
        record: ServiceRecord = made.model
        record.tags = wanted.tags()
        # What the template no longer says goes back to ECS's default.
        for key in before.keys() - asked.keys():
            record.wanted.pop(key, None)
        asked.pop("tags", None)
        self._ecs.change(record, asked)
        return made

    def delete(self, made: Made, wanted: Wanted) -> None:
        del wanted
        self._ecs.delete(made.model)

    def settling(self, made: Made) -> Settling:
        record: ServiceRecord = made.model

        def look() -> tuple[str, str]:
            state, reason = self._agent().rollout(record.arn, record.deployment_id)
            return state, CIRCUIT_BREAKER if state == "FAILED" else reason

        return look

    def draining(self, made: Made) -> Settling:
        record: ServiceRecord = made.model

        def look() -> tuple[str, str]:
            if not self._agent().drained(record.arn):
                return "IN_PROGRESS", ""
            self._ecs.forget(record)
            return "COMPLETED", ""

        return look
