"""Converts ECS services, task definitions and containers to the task agent's types."""

from __future__ import annotations

import re
from typing import Any

from copilot_sandbox import model

from .ecs_common import backend
from .service_records import ServiceRecord

_LABEL = re.compile(r"[a-z][a-z0-9-]{0,254}")


def to_service(record: ServiceRecord) -> model.Service:
    wanted = record.wanted
    configuration = wanted.get("deploymentConfiguration", {})
    strategy = wanted.get("capacityProviderStrategy", [])
    heaviest: dict[str, Any] = max(strategy, key=lambda item: item.get("weight", 0), default={})
    return model.Service(
        arn=record.arn,
        name=record.name,
        cluster_arn=record.cluster_arn,
        desired_count=int(wanted.get("desiredCount", 1)),
        task_definition=to_task_definition(backend().describe_task_definition(wanted["taskDefinition"])),
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
        host=_host(record) if wanted.get("serviceRegistries") else "",
        group=(record.cluster_arn, _slot(record)),
    )


def _host(record: ServiceRecord) -> str:
    """Return the service's name in Copilot's service discovery; empty where it is not Copilot's.

    Source: https://aws.github.io/copilot-cli/docs/developing/svc-to-svc-communication/
    """
    labels = [record.tags.get(f"copilot-{name}", "") for name in ("service", "environment", "application")]
    return f"{'.'.join(labels)}.local" if all(map(_LABEL.fullmatch, labels)) else ""


def _slot(record: ServiceRecord) -> str:
    """Return what a service belongs to; empty where no branch is deployed to it.

    On AWS the security group of the environment lets all services reach each other. Here those of one slot
    do, because a branch can be hostile. The tags are copilot-testenv's.
    """
    tags = record.tags
    return tags.get("slot") or (tags.get("copilot-service", "") if "branch" in tags else "")


def to_task_definition(registered: Any) -> model.TaskDefinition:
    return model.TaskDefinition(
        arn=registered.arn,
        cpu=str(registered.cpu or ""),
        memory=str(registered.memory or ""),
        containers=tuple(_to_container(container) for container in registered.container_definitions),
        volumes=tuple(volume["name"] for volume in registered.volumes),
        role=str(getattr(registered, "task_role_arn", "")),  # moto's has it only if it was given
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
        environment_files=tuple(item["value"] for item in definition.get("environmentFiles", [])),
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
