"""ECS: task definitions and services in full, and what the task agent reports of them."""

from __future__ import annotations

import datetime as dt
import secrets
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse

from scripts.sandbox import model

from .errors import handler_failed
from .one_off import OneOffTask, OneOffTasks
from .paging import TokenWrong, page
from .resources import ACCOUNT, REGION, Handler, Made, Settling, Wanted
from .shapes import to_api

STOPPED_TASKS_KEPT = 3600.0
"""Seconds for which a stopped task can be described, as on ECS.

Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-errors.html
"""

# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html, API_ListServices.html
_PAGE = 100
_PAGE_OF_SERVICES = 10  # unless more are asked for

CIRCUIT_BREAKER = "Error occurred during operation 'ECS Deployment Circuit Breaker was triggered'."
_EVENTS_KEPT = 100

# Changing one of these starts a new deployment; the others are applied to the one that runs.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
_ROLLS_OUT = (
    "taskDefinition",
    "networkConfiguration",
    "loadBalancers",
    "serviceRegistries",
    "platformVersion",
    "capacityProviderStrategy",
)
# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ecs-service.html
_REPLACES = ("cluster", "serviceName", "launchType", "schedulingStrategy")


def backend() -> EC2ContainerServiceBackend:
    return ecs_backends[ACCOUNT][REGION]


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def _tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


class _EcsError(ServiceException):
    """An error of ECS's API: code and words."""


@dataclass(eq=False)
class _Deployment:
    id: str
    task_definition: str
    created_at: float
    updated_at: float
    desired: int
    running: int = 0
    pending: int = 0
    failed: int = 0
    rollout: str = "IN_PROGRESS"
    reason: str = ""

    def take(self, report: model.DeploymentReport) -> None:
        """Note what the agent reports; the time of the last change is that of a change."""
        before = (self.desired, self.running, self.pending, self.failed, self.rollout, self.reason)
        self.desired, self.running, self.pending = report.desired, report.running, report.pending
        self.failed, self.rollout, self.reason = report.failed, report.rollout, report.rollout_reason
        if before != (self.desired, self.running, self.pending, self.failed, self.rollout, self.reason):
            self.updated_at = time.time()


@dataclass
class ServiceRecord:
    """An ECS service: what was asked for, and what the agent reported."""

    arn: str
    name: str
    cluster_arn: str
    wanted: dict[str, Any]  # CreateService's input
    tags: dict[str, str]
    created_at: float
    status: str = "ACTIVE"
    deployments: list[_Deployment] = field(default_factory=list)  # the newest first
    history: list[_Deployment] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def deployment_id(self) -> str:
        return self.history[-1].id

    def roll_out(self) -> None:
        """Begin a new deployment of what is wanted now."""
        now = time.time()
        identity = f"ecs-svc/{secrets.randbelow(10**19):019}"
        begun = _Deployment(
            identity,
            self.wanted["taskDefinition"],
            now,
            now,
            int(self.wanted.get("desiredCount", 1)),
            reason=f"ECS deployment {identity} in progress.",
        )
        self.history.append(begun)
        self.deployments = [begun, *(old for old in self.deployments if old.running or old.pending)]

    def add_event(self, message: str) -> None:
        self.events.insert(
            0,
            {
                "id": secrets.token_hex(16),
                "createdAt": _time(time.time()),
                "message": f"(service {self.name}) {message}",
            },
        )
        del self.events[_EVENTS_KEPT:]

    def describe(self, *, with_tags: bool) -> dict[str, Any]:
        """Return the service as DescribeServices shows it."""
        shown: dict[str, Any] = {
            key: self.wanted[key]
            for key in (
                "loadBalancers",
                "serviceRegistries",
                "launchType",
                "capacityProviderStrategy",
                "platformVersion",
                "deploymentConfiguration",
                "networkConfiguration",
                "healthCheckGracePeriodSeconds",
                "propagateTags",
                "enableExecuteCommand",
            )
            if key in self.wanted
        }
        return {
            **shown,
            "serviceArn": self.arn,
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "status": self.status,
            "desiredCount": int(self.wanted.get("desiredCount", 1)),
            "runningCount": sum(deployment.running for deployment in self.deployments),
            "pendingCount": sum(deployment.pending for deployment in self.deployments),
            "taskDefinition": self.wanted["taskDefinition"],
            "deployments": [
                self._describe(deployment, "ACTIVE" if place else "PRIMARY")
                for place, deployment in enumerate(self.deployments)
            ],
            "events": self.events,
            "createdAt": _time(self.created_at),
            "schedulingStrategy": "REPLICA",
            "deploymentController": {"type": "ECS"},
            "tags": _tag_list(self.tags) if with_tags else None,
        }

    def _describe(self, deployment: _Deployment, status: str) -> dict[str, Any]:
        return {
            "id": deployment.id,
            "status": status,
            "taskDefinition": deployment.task_definition,
            "desiredCount": deployment.desired,
            "pendingCount": deployment.pending,
            "runningCount": deployment.running,
            "failedTasks": deployment.failed,
            "createdAt": _time(deployment.created_at),
            "updatedAt": _time(deployment.updated_at),
            "launchType": self.wanted.get("launchType"),
            "capacityProviderStrategy": self.wanted.get("capacityProviderStrategy"),
            "platformVersion": self.wanted.get("platformVersion", "LATEST"),
            "platformFamily": "Linux",
            "networkConfiguration": self.wanted.get("networkConfiguration"),
            "rolloutState": deployment.rollout,
            "rolloutStateReason": deployment.reason,
        }


class ContainerService:
    """ECS's memory. Its caller holds the control plane's lock."""

    def __init__(self) -> None:
        self._services: dict[str, ServiceRecord] = {}
        self._tasks: dict[str, model.TaskReport] = {}
        self._one_off = OneOffTasks()

    # What CloudFormation and the API do

    def create(self, wanted: dict[str, Any], name: str, tags: dict[str, str]) -> ServiceRecord:
        cluster = _cluster_name(wanted.get("cluster", "default"))
        if cluster not in backend().clusters:
            raise handler_failed("Cluster not found. (Service: AmazonECS, Status Code: 400)")
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}"
        record = ServiceRecord(arn, name, backend().clusters[cluster].arn, wanted, tags, time.time())
        self._services[arn] = record
        record.roll_out()
        return record

    def change(self, record: ServiceRecord, changes: dict[str, Any], *, force: bool = False) -> None:
        """Apply changed fields of UpdateService; a new deployment begins where ECS begins one."""
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
        """Let the service drain: the agent no longer sees it."""
        record.status = "DRAINING"
        record.wanted = {**record.wanted, "desiredCount": 0}

    def forget(self, record: ServiceRecord) -> None:
        record.status = "INACTIVE"
        # They stay to be seen: Copilot waits for the last one's end for as long as it is not told of it.
        for deployment in record.deployments:
            deployment.desired = deployment.running = deployment.pending = 0
            deployment.updated_at = time.time()
            if deployment.rollout == "IN_PROGRESS":
                deployment.rollout, deployment.reason = "FAILED", "The service was deleted."

    def find(self, cluster: str, name_or_arn: str) -> ServiceRecord | None:
        name = name_or_arn.rsplit("/", 1)[-1]
        arn = f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{_cluster_name(cluster)}/{name}"
        return self._services.get(arn)

    def active(self) -> list[ServiceRecord]:
        return [record for record in self._services.values() if record.status == "ACTIVE"]

    def run(self, asked: dict[str, Any]) -> list[str]:
        """Want tasks of no service; their ids."""
        cluster = _cluster_name(asked.get("cluster") or "default")
        if cluster not in backend().clusters:
            raise _EcsError("ClusterNotFoundException", "Cluster not found.")
        definition = _to_task_definition(backend().describe_task_definition(asked["taskDefinition"]))
        arn, prefix = backend().clusters[cluster].arn, _task_arn(cluster, "").rstrip("/")
        begun = [
            self._one_off.run(prefix, arn, definition, asked) for _ in range(int(asked.get("count") or 1))
        ]
        self._tasks |= {task.id: _asked_for(task) for task in begun}
        return [task.id for task in begun]

    def stop(self, identity: str) -> None:
        """End a task that RunTask started."""
        task = self._tasks.get(identity)
        if task is None:
            raise _EcsError("InvalidParameterException", "The referenced task was not found.")
        if self._one_off.find(identity) is None:
            raise _services_only("StopTask for the tasks of a service")
        self._one_off.over(identity)

    # What the agent asks and tells

    def services(self) -> list[model.Service]:
        return [*(_to_service(record) for record in self.active()), *self._one_off.wanted()]

    def report_task(self, report: model.TaskReport) -> None:
        self._tasks[report.id] = report
        if report.status == "STOPPED":
            self._one_off.over(report.id)
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
        told = []
        for report in reports:
            if deployment := known.get(report.id):
                deployment.take(report)
                told.append(deployment)
        current = record.history[-1]
        if current not in told:
            told.append(current)  # the agent has not seen it yet
        record.deployments = sorted(told, key=lambda deployment: deployment is not current)
        if event:
            record.add_event(event)

    # What the API shows

    def tasks(
        self, cluster: str, service: str | None, family: str | None, desired: str, started_by: str | None
    ) -> list[str]:
        found = [
            task.id
            for task in self._tasks.values()
            if _cluster_name(task.cluster_arn) == _cluster_name(cluster)
            and task.desired_status == desired
            and (not service or task.service_arn.rsplit("/", 1)[-1] == service.rsplit("/", 1)[-1])
            and (not family or _family(task.task_definition_arn) == family)
            and (not started_by or self._started_by(task) == started_by)
        ]
        return [_task_arn(cluster, identity) for identity in found]

    def describe_task(self, task_id: str) -> dict[str, Any] | None:
        task = self._tasks.get(task_id.rsplit("/", 1)[-1])
        if task is None:
            return None
        record = self._services.get(task.service_arn)
        definition = backend().describe_task_definition(task.task_definition_arn)
        arn = _task_arn(task.cluster_arn, task.id)
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
            "createdAt": _time(task.created_at),
            "startedAt": _time(task.started_at) if task.started_at else None,
            "stoppingAt": _time(task.stopped_at) if task.stopped_at else None,
            "stoppedAt": _time(task.stopped_at) if task.stopped_at else None,
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
            "tags": _tag_list(record.tags) if record else [],
        }

    def _started_by(self, task: model.TaskReport) -> str | None:
        """Who asked for it, or the deployment it belongs to: the last of its definition before its start."""
        record = self._services.get(task.service_arn)
        if record is None:
            one_off = self._one_off.find(task.id)
            return one_off.started_by if one_off else None
        of_its_kind = [d for d in record.history if d.task_definition == task.task_definition_arn]
        begun = [d for d in of_its_kind if d.created_at <= task.created_at] or of_its_kind
        return begun[-1].id if begun else record.deployment_id


def _cluster_name(name_or_arn: str) -> str:
    return name_or_arn.rsplit("/", 1)[-1]


def _family(task_definition_arn: str) -> str:
    return task_definition_arn.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]


def _task_arn(cluster: str, identity: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{_cluster_name(cluster)}/{identity}"


def _asked_for(task: OneOffTask) -> model.TaskReport:
    """What there is to tell before the agent has seen it."""
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


def _to_service(record: ServiceRecord) -> model.Service:
    wanted = record.wanted
    configuration = wanted.get("deploymentConfiguration", {})
    strategy = wanted.get("capacityProviderStrategy", [])
    heaviest: dict[str, Any] = max(strategy, key=lambda item: item.get("weight", 0), default={})
    return model.Service(
        arn=record.arn,
        name=record.name,
        cluster_arn=record.cluster_arn,
        desired_count=int(wanted.get("desiredCount", 1)),
        task_definition=_to_task_definition(backend().describe_task_definition(wanted["taskDefinition"])),
        deployment_id=record.deployment_id,
        minimum_healthy_percent=configuration.get("minimumHealthyPercent", 100),
        maximum_percent=configuration.get("maximumPercent", 200),
        grace_period=wanted.get("healthCheckGracePeriodSeconds", 0),
        circuit_breaker=configuration.get("deploymentCircuitBreaker", {}).get("enable", False),
        capacity_provider=heaviest.get("capacityProvider"),
        load_balancing=tuple(
            model.LoadBalancing(entry["targetGroupArn"], entry["containerName"], entry["containerPort"])
            for entry in wanted.get("loadBalancers", [])
        ),
    )


def _to_task_definition(registered: Any) -> model.TaskDefinition:
    return model.TaskDefinition(
        arn=registered.arn,
        cpu=str(registered.cpu or ""),
        memory=str(registered.memory or ""),
        containers=tuple(_to_container(container) for container in registered.container_definitions),
        volumes=tuple(volume["name"] for volume in registered.volumes),
    )


def _to_container(definition: dict[str, Any]) -> model.Container:
    log = definition.get("logConfiguration", {}).get("options", {})
    check = definition.get("healthCheck")
    entry_point, command = definition.get("entryPoint"), definition.get("command")
    return model.Container(
        name=definition["name"],
        image=definition["image"],
        essential=definition.get("essential", True),
        entry_point=tuple(entry_point) if entry_point else None,
        command=tuple(command) if command else None,
        working_directory=definition.get("workingDirectory"),
        environment={item["name"]: item.get("value", "") for item in definition.get("environment", [])},
        secrets={item["name"]: item["valueFrom"] for item in definition.get("secrets", [])},
        ports=tuple(item["containerPort"] for item in definition.get("portMappings", [])),
        depends_on={item["containerName"]: item["condition"] for item in definition.get("dependsOn", [])},
        health_check=model.HealthCheck(
            tuple(check["command"]),
            interval=check.get("interval", 30),
            timeout=check.get("timeout", 5),
            retries=check.get("retries", 3),
            start_period=check.get("startPeriod", 0),
        )
        if check
        else None,
        stop_timeout=definition.get("stopTimeout", 30),
        mounts=tuple(
            model.Mount(item["sourceVolume"], item["containerPath"], item.get("readOnly", False))
            for item in definition.get("mountPoints", [])
        ),
        log_group=log.get("awslogs-group"),
        log_prefix=log.get("awslogs-stream-prefix", "ecs"),
    )


class ClusterHandler(Handler):
    """AWS::ECS::Cluster: Copilot finds it by its tags."""

    takes_tags = True

    def create(self, wanted: Wanted) -> Made:
        asked = to_api("ecs", "CreateCluster", wanted.properties)
        name = asked.get("clusterName") or wanted.name(255)
        cluster = backend().create_cluster(
            name,
            tags=_tag_list(wanted.tags()),
            cluster_settings=_settings(wanted),
            configuration=asked.get("configuration"),
            capacity_providers=asked.get("capacityProviders"),
        )
        return Made(name, {"Arn": cluster.arn}, cluster)

    def update(self, made: Made, old: dict[str, Any], wanted: Wanted) -> Made | None:
        if old.get("ClusterName") != wanted.properties.get("ClusterName"):
            return None
        asked = to_api("ecs", "CreateCluster", wanted.properties)
        made.model.tags = _tag_list(wanted.tags())
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
            tags=_tag_list(wanted.tags()),
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


class Responses(EC2ContainerServiceResponse):
    """ECS's API: moto's, but services and tasks are ours."""

    ecs: ContainerService  # set by bound_to
    changed: Callable[[], None]

    @classmethod
    def bound_to(cls, ecs: ContainerService, changed: Callable[[], None]) -> type[Responses]:
        """Make a class of it that serves `ecs`: moto makes an object of its own for each request."""
        return type("BoundResponses", (cls,), {"ecs": ecs, "changed": staticmethod(changed)})

    def _cluster(self) -> str:
        return str(self._get_param("cluster", "default"))

    def _service(self) -> ServiceRecord:
        record = self.ecs.find(self._cluster(), self._get_param("service"))
        if record is None or record.status == "INACTIVE":
            raise _EcsError("ServiceNotFoundException", "Service not found.")
        return record

    def list_services(self) -> ActionResult:
        cluster = _cluster_name(self._cluster())
        arns = [r.arn for r in self.ecs.active() if _cluster_name(r.cluster_arn) == cluster]
        return self._page("serviceArns", arns, _PAGE_OF_SERVICES)

    def _page(self, key: str, arns: list[str], limit: int) -> ActionResult:
        limit = int(self._get_param("maxResults") or limit)
        if not 1 <= limit <= _PAGE:
            raise _EcsError("InvalidParameterException", f"maxResults must be between 1 and {_PAGE}.")
        try:
            shown, token = page(arns, str, limit=limit, token=self._get_param("nextToken"))
        except TokenWrong as error:
            raise _EcsError("InvalidParameterException", f"Invalid token: {error}") from error
        return ActionResult({key: shown, "nextToken": token})

    def list_services_by_namespace(self) -> ActionResult:
        return ActionResult({"serviceArns": []})

    def describe_services(self) -> ActionResult:
        with_tags = "TAGS" in (self._get_param("include") or [])
        services, failures = [], []
        for name in self._get_param("services") or []:
            record = self.ecs.find(self._cluster(), name)
            if record is None:
                failures.append({"arn": name, "reason": "MISSING"})
            else:
                services.append(record.describe(with_tags=with_tags))
        return ActionResult({"services": services, "failures": failures})

    def update_service(self) -> ActionResult:
        record = self._service()
        changes = {
            key: value
            for key, value in dict(self._get_params()).items()
            if key not in ("cluster", "service", "forceNewDeployment") and value is not None
        }
        force = bool(self._get_param("forceNewDeployment", if_none=False))
        self.ecs.change(record, changes, force=force)
        self.changed()
        return ActionResult({"service": record.describe(with_tags=True)})

    def delete_service(self) -> ActionResult:
        record = self._service()
        if int(record.wanted.get("desiredCount", 1)) and not self._get_param("force", if_none=False):
            raise _EcsError(
                "InvalidParameterException", "The service cannot be stopped while it is scaled above 0."
            )
        self.ecs.delete(record)
        self.ecs.forget(record)
        self.changed()
        return ActionResult({"service": record.describe(with_tags=True)})

    def list_tasks(self) -> ActionResult:
        arns = self.ecs.tasks(
            self._cluster(),
            self._get_param("serviceName"),
            self._get_param("family"),
            self._get_param("desiredStatus") or "RUNNING",
            self._get_param("startedBy"),
        )
        return self._page("taskArns", arns, _PAGE)

    def describe_tasks(self) -> ActionResult:
        asked: Iterable[str] = self._get_param("tasks") or []
        described = {name: self.ecs.describe_task(name) for name in asked}
        return ActionResult(
            {
                "tasks": [task for task in described.values() if task],
                "failures": [
                    {"arn": name, "reason": "MISSING"} for name, task in described.items() if not task
                ],
            }
        )

    def create_service(self) -> ActionResult:
        raise _services_only("CreateService")

    def run_task(self) -> ActionResult:
        ids = self.ecs.run({key: value for key, value in dict(self._get_params()).items() if value})
        self.changed()
        return ActionResult({"tasks": [self.ecs.describe_task(each) for each in ids], "failures": []})

    def start_task(self) -> ActionResult:
        raise _services_only("StartTask")

    def stop_task(self) -> ActionResult:
        identity = str(self._get_param("task")).rsplit("/", 1)[-1]
        self.ecs.stop(identity)
        self.changed()
        return ActionResult({"task": self.ecs.describe_task(identity)})

    def execute_command(self) -> ActionResult:
        raise _services_only("ExecuteCommand")


def _services_only(operation: str) -> _EcsError:
    return _EcsError(
        "UnsupportedFeatureException",
        f"The sandbox's ECS has no {operation}: it runs Copilot's services and its one-off tasks.",
    )
