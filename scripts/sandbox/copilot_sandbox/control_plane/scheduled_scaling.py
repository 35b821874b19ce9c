"""Application Auto Scaling for ECS's services: scalable targets and their scheduled actions, carried out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from moto.core.exceptions import ServiceException
from moto.core.resource_tagging import TaggedResource
from moto.core.responses import ActionResult, BaseResponse

from .container_service import ContainerService
from .ecs_common import time_of
from .paging import InvalidToken, page
from .resources import ACCOUNT, REGION
from .schedules import InvalidScheduleError, Schedule, parse
from .service_records import ServiceRecord

DIMENSION = "ecs:service:DesiredCount"
_PAGE = (
    50  # https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalableTargets.html
)
_T = TypeVar("_T")


class _Invalid(ServiceException):
    code = "ValidationException"


class _NotFound(ServiceException):
    code = "ObjectNotFoundException"


class _InvalidNextToken(ServiceException):
    code = "InvalidNextTokenException"


def target_arn(resource: str) -> str:
    """Return the ARN of the scalable target of a resource such as `service/CLUSTER/NAME`."""
    identity = hashlib.sha256(resource.encode()).hexdigest()[:36]
    return f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/{identity}"


@dataclass
class Action:
    """A scheduled action; times are Unix seconds by the clock that tests can move."""

    name: str
    expression: str
    zone: str
    schedule: Schedule
    created_at: float
    minimum: int | None
    maximum: int | None


@dataclass
class ScalableTarget:
    """A service that is scaled, within a range."""

    resource: str
    minimum: int
    maximum: int
    created_at: float
    tags: dict[str, str]
    actions: dict[str, Action] = field(default_factory=dict)


class ScheduledScaling:
    """The scalable targets. The caller holds the control plane's lock."""

    def __init__(self, ecs: ContainerService, now: Callable[[], float]) -> None:
        self._ecs = ecs
        self.now = now
        self.targets: dict[str, ScalableTarget] = {}
        self._since = now()

    def service(self, resource: str) -> ServiceRecord | None:
        """Return the active service of a resource; None where there is none."""
        kind, _, name = resource.partition("/")
        cluster, _, name = name.partition("/")
        found = self._ecs.find(cluster, name) if kind == "service" and name else None
        return found if found and found.status == "ACTIVE" else None

    def carry_out(self) -> bool:
        """Carry out what is due since the last call, in its order; return True if it changed a service.

        Forget the targets whose service is gone.
        """
        since, self._since = self._since, self.now()
        self.targets = {name: each for name, each in self.targets.items() if self.service(name)}
        due = [
            (moment, target, action)
            for target in self.targets.values()
            for action in target.actions.values()
            for moment in action.schedule.between(max(since, action.created_at), self._since)
        ]
        due.sort(key=lambda each: each[0])
        changes = [self._scale(target, action) for _, target, action in due]
        return any(changes)

    def _scale(self, target: ScalableTarget, action: Action) -> bool:
        if action.minimum is not None:
            target.minimum = action.minimum
        if action.maximum is not None:
            target.maximum = action.maximum
        service = self.service(target.resource)
        if service is None:
            return False
        count = int(service.wanted.get("desiredCount", 1))
        wanted = max(target.minimum, min(count, target.maximum))
        if wanted == count:
            return False
        self._ecs.change(service, {"desiredCount": wanted})
        service.add_event(
            f"Message: Successfully set desired count to {wanted}. "
            f"Cause: scheduled action name {action.name} was triggered"
        )
        return True

    def tagged(self) -> Iterable[TaggedResource]:
        """Yield the targets with their tags."""
        for each in self.targets.values():
            yield TaggedResource(
                target_arn(each.resource), each.tags, "application-autoscaling:scalable-target"
            )


class Responses(BaseResponse):
    """Application Auto Scaling's API for ECS's services and scheduled actions."""

    scaling: ScheduledScaling  # set by bound_to

    def __init__(self) -> None:
        super().__init__(service_name="application-autoscaling")
        self.automated_parameter_parsing = True

    @classmethod
    def bound_to(cls, scaling: ScheduledScaling) -> type[Responses]:
        """Return a subclass that serves `scaling`: moto creates an object for each request."""
        return type("BoundResponses", (cls,), {"scaling": scaling})

    def register_scalable_target(self) -> ActionResult:
        resource = self._resource()
        if self.scaling.service(resource) is None:
            raise _Invalid(f"ECS service doesn't exist: {resource}")
        known = self.scaling.targets.get(resource)
        low, high = self._get_param("MinCapacity"), self._get_param("MaxCapacity")
        if known is None and (low is None or high is None):
            raise _Invalid("Both min and max capacity must be specified for a new scalable target.")
        low = known.minimum if known and low is None else int(low)
        high = known.maximum if known and high is None else int(high)
        if not 0 <= low <= high:
            raise _Invalid("Maximum capacity cannot be less than minimum capacity")
        tags = dict(self._get_param("Tags") or {})
        if known and tags:
            raise _Invalid("The sandbox sets tags only when a scalable target is created.")
        if known:
            known.minimum, known.maximum = low, high
        else:
            now = self.scaling.now()
            self.scaling.targets[resource] = ScalableTarget(resource, low, high, now, tags)
        return ActionResult({"ScalableTargetARN": target_arn(resource)})

    def deregister_scalable_target(self) -> ActionResult:
        resource = self._target().resource
        del self.scaling.targets[resource]
        return ActionResult({})

    def describe_scalable_targets(self) -> ActionResult:
        wanted = self._get_param("ResourceIds")
        found = [
            {
                "ServiceNamespace": "ecs",
                "ResourceId": each.resource,
                "ScalableDimension": DIMENSION,
                "MinCapacity": each.minimum,
                "MaxCapacity": each.maximum,
                "CreationTime": time_of(each.created_at),
                "ScalableTargetARN": target_arn(each.resource),
            }
            for each in self.scaling.targets.values()
            if self._get_param("ServiceNamespace") == "ecs" and (not wanted or each.resource in wanted)
        ]
        return self._page("ScalableTargets", found, lambda each: str(each["ResourceId"]))

    def describe_scaling_policies(self) -> ActionResult:
        """Return no policy: `copilot svc status` asks for them, and a `count` range is not scaled here."""
        return ActionResult({"ScalingPolicies": []})

    def put_scheduled_action(self) -> ActionResult:
        target, name = self._target(), str(self._get_param("ScheduledActionName"))
        known = target.actions.get(name)
        expression = str(self._get_param("Schedule") or (known.expression if known else ""))
        zone = str(self._get_param("Timezone") or (known.zone if known else ""))
        try:
            schedule = parse(expression, zone)
        except InvalidScheduleError as error:
            raise _Invalid(f"Invalid schedule: {error}.") from error
        capacity = self._get_param("ScalableTargetAction") or {}
        low, high = capacity.get("MinCapacity"), capacity.get("MaxCapacity")
        now = self.scaling.now()
        target.actions[name] = Action(name, expression, zone, schedule, now, low, high)
        return ActionResult({})

    def delete_scheduled_action(self) -> ActionResult:
        name = str(self._get_param("ScheduledActionName"))
        if self._target().actions.pop(name, None) is None:
            raise _NotFound(f"No scheduled action found for name: {name}")
        return ActionResult({})

    def describe_scheduled_actions(self) -> ActionResult:
        resource, names = self._get_param("ResourceId"), self._get_param("ScheduledActionNames")
        found = [
            {
                "ScheduledActionName": action.name,
                "ScheduledActionARN": f"{target_arn(target.resource)}:{action.name}",
                "ServiceNamespace": "ecs",
                "Schedule": action.expression,
                "Timezone": action.zone or None,
                "ResourceId": target.resource,
                "ScalableDimension": DIMENSION,
                "ScalableTargetAction": {"MinCapacity": action.minimum, "MaxCapacity": action.maximum},
                "CreationTime": time_of(action.created_at),
            }
            for target in self.scaling.targets.values()
            for action in target.actions.values()
            if (not resource or target.resource == resource) and (not names or action.name in names)
        ]
        return self._page("ScheduledActions", found, lambda each: f"{each['ResourceId']} {each['Schedule']}")

    def _resource(self) -> str:
        namespace, dimension = self._get_param("ServiceNamespace"), self._get_param("ScalableDimension")
        if (namespace, dimension) != ("ecs", DIMENSION):
            raise _Invalid(f"The sandbox scales ecs, {DIMENSION}, and not {namespace}, {dimension}.")
        return str(self._get_param("ResourceId"))

    def _target(self) -> ScalableTarget:
        """Return the registered target of the request. Raises _NotFound."""
        resource = self._resource()
        if resource not in self.scaling.targets:
            raise _NotFound(
                f"No scalable target found for service namespace: ecs, resource ID: {resource}, "
                f"scalable dimension: {DIMENSION}"
            )
        return self.scaling.targets[resource]

    def _page(self, key: str, items: list[_T], by: Callable[[_T], str]) -> ActionResult:
        limit = int(self._get_param("MaxResults") or _PAGE)
        if not 1 <= limit <= _PAGE:
            raise _Invalid(f"MaxResults must be between 1 and {_PAGE}.")
        try:
            shown, token = page(items, by, limit=limit, token=self._get_param("NextToken"))
        except InvalidToken as error:
            raise _InvalidNextToken(f"Invalid token: {error}") from error
        return ActionResult({key: shown, "NextToken": token})
