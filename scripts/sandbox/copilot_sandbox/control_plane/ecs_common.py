"""Shared parts of ECS: moto's backend, its errors, and names in ARNs."""

from __future__ import annotations

import datetime as dt

from moto.core.exceptions import ServiceException
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends

from .resources import ACCOUNT, REGION


class EcsError(ServiceException):
    """An error of ECS's API, with its code and message."""


def services_only(operation: str) -> EcsError:
    return EcsError(
        "UnsupportedFeatureException",
        f"The sandbox's ECS has no {operation}: it runs Copilot's services and its one-off tasks.",
    )


def backend() -> EC2ContainerServiceBackend:
    return ecs_backends[ACCOUNT][REGION]


def time_of(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def cluster_name(name_or_arn: str) -> str:
    return name_or_arn.rsplit("/", 1)[-1]


def family_of(task_definition_arn: str) -> str:
    return task_definition_arn.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]


def task_arn(cluster: str, identity: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster_name(cluster)}/{identity}"
