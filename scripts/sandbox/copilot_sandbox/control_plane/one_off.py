"""ECS's RunTask: tasks without a service, run once."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copilot_sandbox import model

from .ecs_common import family_of


@dataclass(frozen=True)
class OneOffTask:
    """A started task, with the fields of DescribeTasks that the agent's report lacks."""

    wanted: model.Service
    started_by: str | None
    group: str
    subnets: list[str]

    @property
    def id(self) -> str:
        return self.wanted.arn.rsplit("/", 1)[-1]


class OneOffTasks:
    """The started tasks. The caller holds the control plane's lock."""

    def __init__(self) -> None:
        self._known: dict[str, OneOffTask] = {}
        self._wanted: dict[str, OneOffTask] = {}

    def run(
        self, prefix: str, cluster_arn: str, definition: model.TaskDefinition, request: Mapping[str, Any]
    ) -> OneOffTask:
        """Start one more task; its ARN begins with `prefix`."""
        identity = uuid.uuid4().hex
        family = family_of(definition.arn)
        network = (request.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        task = OneOffTask(
            model.Service(
                arn=f"{prefix}/{identity}",
                name=family,
                cluster_arn=cluster_arn,
                desired_count=1,
                task_definition=definition,
                deployment_id=identity,
                only_task=identity,
            ),
            request.get("startedBy"),
            request.get("group") or f"family:{family}",
            list(network.get("subnets", ())),
        )
        self._known[identity] = self._wanted[identity] = task
        return task

    def wanted(self) -> list[model.Service]:
        return [task.wanted for task in self._wanted.values()]

    def find(self, identity: str) -> OneOffTask | None:
        return self._known.get(identity)

    def end(self, identity: str) -> None:
        """Mark the task as ended or to be ended: the agent no longer gets it."""
        self._wanted.pop(identity, None)

    def forget(self, identity: str) -> None:
        self._known.pop(identity, None)
