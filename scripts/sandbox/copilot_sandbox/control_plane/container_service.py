"""ECS's services and tasks, with the task agent's reports on them."""

from __future__ import annotations

import time
import zlib
from typing import Any

from copilot_sandbox import model

from .ecs_common import EcsError, backend, cluster_name, family_of, services_only, tag_list, task_arn, time_of
from .errors import handler_failed
from .one_off import OneOffTask, OneOffTasks
from .resources import ACCOUNT, REGION
from .service_records import ServiceRecord
from .task_definitions import to_service, to_task_definition

STOPPED_TASKS_KEPT = 3600.0
"""Seconds for which a stopped task can be described, as on ECS.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html
"""

# A change of one of these starts a new deployment. Other changes apply to the current one.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
_ROLLS_OUT = (
    "taskDefinition",
    "networkConfiguration",
    "loadBalancers",
    "serviceRegistries",
    "platformVersion",
    "capacityProviderStrategy",
)


class ContainerService:
    """The existing services and tasks. The caller holds the control plane's lock."""

    def __init__(self) -> None:
        self._services: dict[str, ServiceRecord] = {}
        self._tasks: dict[str, model.TaskReport] = {}
        self._one_off = OneOffTasks()

    # Calls of CloudFormation and the API

    def create(self, wanted: dict[str, Any], name: str, tags: dict[str, str]) -> ServiceRecord:
        cluster = cluster_name(wanted.get("cluster", "default"))
        if cluster not in backend().clusters:
            raise handler_failed("Cluster not found. (Service: AmazonECS, Status Code: 400)")
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}"
        record = ServiceRecord(arn, name, backend().clusters[cluster].arn, wanted, tags, time.time())
        self._services[arn] = record
        record.roll_out()
        return record

    def change(self, record: ServiceRecord, changes: dict[str, Any], *, force: bool = False) -> None:
        """Apply changed fields of UpdateService. Start a new deployment if ECS would."""
        if "taskDefinition" in changes:
            changes = {
                **changes,
                "taskDefinition": backend().describe_task_definition(changes["taskDefinition"]).arn,
            }
        rolls = force or any(key in changes and changes[key] != record.wanted.get(key) for key in _ROLLS_OUT)
        record.wanted = {**record.wanted, **changes}
        if rolls:
            record.roll_out()
        else:
            current = record.deployments[0]
            current.desired = int(record.wanted.get("desiredCount", 1))
            current.updated_at = time.time()

    def delete(self, record: ServiceRecord) -> None:
        """Let the service drain: the agent no longer gets it, and stops its tasks."""
        record.status = "DRAINING"
        record.wanted = {**record.wanted, "desiredCount": 0}

    def forget(self, record: ServiceRecord) -> None:
        record.status = "INACTIVE"
        # The deployments stay visible: Copilot waits for the last one until it is reported to have ended.
        for deployment in record.deployments:
            deployment.desired = deployment.running = deployment.pending = 0
            deployment.updated_at = time.time()
            if deployment.rollout == "IN_PROGRESS":
                deployment.rollout, deployment.reason = "FAILED", "The service was deleted."

    def find(self, cluster: str, name_or_arn: str) -> ServiceRecord | None:
        name = name_or_arn.rsplit("/", 1)[-1]
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster_name(cluster)}/{name}"
        return self._services.get(arn)

    def active(self) -> list[ServiceRecord]:
        return [record for record in self._services.values() if record.status == "ACTIVE"]

    def run(self, request: dict[str, Any]) -> list[str]:
        """Start tasks without a service, and return their ids."""
        cluster = cluster_name(request.get("cluster") or "default")
        if cluster not in backend().clusters:
            raise EcsError("ClusterNotFoundException", "Cluster not found.")
        definition = to_task_definition(backend().describe_task_definition(request["taskDefinition"]))
        arn, prefix = backend().clusters[cluster].arn, task_arn(cluster, "").rstrip("/")
        started = [
            self._one_off.run(prefix, arn, definition, request) for _ in range(int(request.get("count") or 1))
        ]
        self._tasks |= {task.id: _first_report(task) for task in started}
        return [task.id for task in started]

    def stop(self, identity: str) -> None:
        """Stop a task that RunTask started."""
        task = self._tasks.get(identity)
        if task is None:
            raise EcsError("InvalidParameterException", "The referenced task was not found.")
        if self._one_off.find(identity) is None:
            raise services_only("StopTask for the tasks of a service")
        self._one_off.end(identity)

    # Calls of the agent

    def services(self) -> list[model.Service]:
        return [*(to_service(record) for record in self.active()), *self._one_off.wanted()]

    def report_task(self, report: model.TaskReport) -> None:
        self._tasks[report.id] = report
        if report.status == "STOPPED":
            self._one_off.end(report.id)
        horizon = time.time() - STOPPED_TASKS_KEPT
        for identity in [
            task.id for task in self._tasks.values() if task.stopped_at and task.stopped_at < horizon
        ]:
            del self._tasks[identity]
            self._one_off.forget(identity)

    def report_service(self, arn: str, reports: list[model.DeploymentReport], event: str | None) -> None:
        record = self._services.get(arn)
        if record is None or record.status == "INACTIVE":
            return
        known = {deployment.id: deployment for deployment in record.history}
        reported = []
        for report in reports:
            if deployment := known.get(report.id):
                deployment.take(report)
                reported.append(deployment)
        current = record.history[-1]
        if current not in reported:
            reported.append(current)  # the agent does not know it yet
        record.deployments = sorted(reported, key=lambda deployment: deployment is not current)
        if event:
            record.add_event(event)

    # Answers of the API

    def tasks(
        self, cluster: str, service: str | None, family: str | None, desired: str, started_by: str | None
    ) -> list[str]:
        ids = [
            task.id
            for task in self._tasks.values()
            if cluster_name(task.cluster_arn) == cluster_name(cluster)
            and task.desired_status == desired
            and (not service or task.service_arn.rsplit("/", 1)[-1] == service.rsplit("/", 1)[-1])
            and (not family or family_of(task.task_definition_arn) == family)
            and (not started_by or self._started_by(task) == started_by)
        ]
        return [task_arn(cluster, identity) for identity in ids]

    def describe_task(self, task_id: str) -> dict[str, Any] | None:
        task = self._tasks.get(task_id.rsplit("/", 1)[-1])
        if task is None:
            return None
        record = self._services.get(task.service_arn)
        definition = backend().describe_task_definition(task.task_definition_arn)
        arn = task_arn(task.cluster_arn, task.id)
        interface = f"eni-{zlib.crc32(task.id.encode()):017x}"
        subnets: list[str] = []
        group = f"service:{task.service_arn.rsplit('/', 1)[-1]}"
        if record:
            network = record.wanted.get("networkConfiguration", {})
            subnets = network.get("awsvpcConfiguration", {}).get("subnets", [])
        elif one_off := self._one_off.find(task.id):
            subnets, group = one_off.subnets, one_off.group
        return {
            "taskArn": arn,
            "clusterArn": task.cluster_arn,
            "taskDefinitionArn": task.task_definition_arn,
            "group": group,
            "startedBy": self._started_by(task),
            "lastStatus": task.status,
            "desiredStatus": task.desired_status,
            "healthStatus": task.health,
            "launchType": "FARGATE",
            "capacityProviderName": task.capacity_provider,
            "platformVersion": "1.4.0",
            "platformFamily": "Linux",
            "availabilityZone": f"{REGION}a",
            "connectivity": "CONNECTED",
            "cpu": definition.cpu,
            "memory": definition.memory,
            "createdAt": time_of(task.created_at),
            "startedAt": time_of(task.started_at) if task.started_at else None,
            "stoppingAt": time_of(task.stopped_at) if task.stopped_at else None,
            "stoppedAt": time_of(task.stopped_at) if task.stopped_at else None,
            "stoppedReason": task.stopped_reason,
            "stopCode": task.stop_code,
            "version": 1,
            "overrides": {"containerOverrides": [], "inferenceAcceleratorOverrides": []},
            "attachments": [
                {
                    "id": interface,
                    "type": "ElasticNetworkInterface",
                    "status": "DELETED" if task.status == "STOPPED" else "ATTACHED",
                    "details": [
                        *({"name": "subnetId", "value": subnet} for subnet in subnets[:1]),
                        {"name": "networkInterfaceId", "value": interface},
                        {"name": "privateIPv4Address", "value": task.address},
                    ],
                }
            ],
            "containers": [
                {
                    "containerArn": f"{arn.replace(':task/', ':container/')}/{container.name}",
                    "taskArn": arn,
                    "name": container.name,
                    "image": container.image,
                    "imageDigest": container.image_digest,
                    "runtimeId": f"{task.id}-{zlib.crc32(container.name.encode())}",
                    "lastStatus": container.status,
                    "exitCode": container.exit_code,
                    "reason": container.reason,
                    "healthStatus": container.health,
                    "networkBindings": [],
                    "networkInterfaces": [{"attachmentId": interface, "privateIpv4Address": task.address}],
                }
                for container in task.containers
            ],
            "tags": tag_list(record.tags) if record else [],
        }

    def _started_by(self, task: model.TaskReport) -> str | None:
        """Return the client that started the task, or its deployment: its definition's last one before it."""
        record = self._services.get(task.service_arn)
        if record is None:
            one_off = self._one_off.find(task.id)
            return one_off.started_by if one_off else None
        same_definition = [d for d in record.history if d.task_definition == task.task_definition_arn]
        started = [d for d in same_definition if d.created_at <= task.created_at] or same_definition
        return started[-1].id if started else record.deployment_id


def _first_report(task: OneOffTask) -> model.TaskReport:
    """Return the report of a task that the agent does not know yet."""
    definition = task.wanted.task_definition
    return model.TaskReport(
        id=task.id,
        service_arn=task.wanted.arn,
        cluster_arn=task.wanted.cluster_arn,
        task_definition_arn=definition.arn,
        status="PROVISIONING",
        desired_status="RUNNING",
        health="UNKNOWN",
        address="",
        created_at=time.time(),
        containers=[model.ContainerReport(each.name, each.image) for each in definition.containers],
    )
