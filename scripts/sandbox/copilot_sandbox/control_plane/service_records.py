"""ECS services and their deployments: the user's request, and the agent's reports."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from copilot_sandbox import model

from .ecs_common import tag_list, time_of

_EVENTS_KEPT = 100


@dataclass(eq=False)
class Deployment:
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
        """Store the agent's report. `updated_at` changes only if the report differs."""
        before = (self.desired, self.running, self.pending, self.failed, self.rollout, self.reason)
        self.desired, self.running, self.pending = report.desired, report.running, report.pending
        self.failed, self.rollout, self.reason = report.failed, report.rollout, report.rollout_reason
        if before != (self.desired, self.running, self.pending, self.failed, self.rollout, self.reason):
            self.updated_at = time.time()


@dataclass
class ServiceRecord:
    """An ECS service: the user's request, and the agent's reports."""

    arn: str
    name: str
    cluster_arn: str
    wanted: dict[str, Any]  # CreateService's input
    tags: dict[str, str]
    created_at: float
    status: str = "ACTIVE"
    deployments: list[Deployment] = field(default_factory=list)  # the newest first
    history: list[Deployment] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def deployment_id(self) -> str:
        return self.history[-1].id

    def roll_out(self) -> None:
        """Start a new deployment of the present request."""
        now = time.time()
        identity = f"ecs-svc/{secrets.randbelow(10**19):019}"
        deployment = Deployment(
            identity,
            self.wanted["taskDefinition"],
            now,
            now,
            int(self.wanted.get("desiredCount", 1)),
            reason=f"ECS deployment {identity} in progress.",
        )
        self.history.append(deployment)
        self.deployments = [deployment, *(d for d in self.deployments if d.running or d.pending)]

    def add_event(self, message: str) -> None:
        """Add a sentence of the agent's, which names the service itself."""
        self.events.insert(
            0,
            {
                "id": secrets.token_hex(16),
                "createdAt": time_of(time.time()),
                "message": message,
            },
        )
        del self.events[_EVENTS_KEPT:]

    def describe(self, *, with_tags: bool) -> dict[str, Any]:
        """Return the service in the form of DescribeServices."""
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
            "createdAt": time_of(self.created_at),
            "schedulingStrategy": "REPLICA",
            "deploymentController": {"type": "ECS"},
            "tags": tag_list(self.tags) if with_tags else None,
        }

    def _describe(self, deployment: Deployment, status: str) -> dict[str, Any]:
        return {
            "id": deployment.id,
            "status": status,
            "taskDefinition": deployment.task_definition,
            "desiredCount": deployment.desired,
            "pendingCount": deployment.pending,
            "runningCount": deployment.running,
            "failedTasks": deployment.failed,
            "createdAt": time_of(deployment.created_at),
            "updatedAt": time_of(deployment.updated_at),
            "launchType": self.wanted.get("launchType"),
            "capacityProviderStrategy": self.wanted.get("capacityProviderStrategy"),
            "platformVersion": self.wanted.get("platformVersion", "LATEST"),
            "platformFamily": "Linux",
            "networkConfiguration": self.wanted.get("networkConfiguration"),
            "rolloutState": deployment.rollout,
            "rolloutStateReason": deployment.reason,
        }
