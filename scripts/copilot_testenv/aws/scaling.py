"""Scale a stack's ECS service: now, or by the scheduled actions of Application Auto Scaling."""

from __future__ import annotations

from collections.abc import Mapping

from copilot_testenv.aws.calls import Answered
from copilot_testenv.aws.services import GONE, Services

_SERVICE = "application-autoscaling"
_WHICH = {"ServiceNamespace": "ecs", "ScalableDimension": "ecs:service:DesiredCount"}
_TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
_DESCRIBED = 10  # services in a call of DescribeServices
_DENIED = "AccessDeniedException"


class Scaling(Services):
    """Query and change how many tasks a service has."""

    def desired_count(self, stack: str) -> int | None:
        """Return how many tasks the stack's service is to have; None where it has no service."""
        service = self.service(stack)
        if not service:
            return None
        cluster, name = service
        answer = self._find("ecs", "describe_services", *GONE, cluster=cluster, services=[name])
        return next((int(each["desiredCount"]) for each in answer["services"]), None) if answer else None

    def task_count(self, stack: str) -> int:
        """Return how many tasks the manifest wants while the service is awake: at least one."""
        answer = self._of_stack("describe_stacks", StackName=stack)
        given = answer["Stacks"][0].get("Parameters", ()) if answer else ()
        count = next((each["ParameterValue"] for each in given if each["ParameterKey"] == "TaskCount"), "")
        return max(int(count), 1) if count.isdecimal() else 1

    def scale_service(self, stack: str, count: int) -> None:
        """Let the stack's service have so many tasks; do nothing where there is no service."""
        if service := self.service(stack):
            cluster, name = service
            gone = (*GONE, "ServiceNotActiveException")
            self._find("ecs", "update_service", *gone, cluster=cluster, service=name, desiredCount=count)

    def sleeping(self, app: str, environment: str) -> frozenset[str] | None:
        """Return the stacks of the environment whose services are to have no task.

        None where this role may not list services.
        """
        cluster = self.resource(f"{app}-{environment}", "Cluster")
        if not cluster:
            return frozenset()
        try:
            pages = self._pages("ecs", "list_services", cluster=cluster, PaginationConfig={"PageSize": 100})
            names = [arn.rsplit("/", 1)[-1] for page in pages for arn in page["serviceArns"]]
        except Answered as error:
            if error.code == _DENIED:
                return None
            raise
        found = []
        for first in range(0, len(names), _DESCRIBED):
            some = names[first : first + _DESCRIBED]
            answer = self._ask("ecs", "describe_services", cluster=cluster, services=some)
            found += [each["serviceName"] for each in answer["services"] if each["desiredCount"] == 0]
        # CloudFormation names a service after its stack and the resource: STACK-Service-1A2B3C.
        return frozenset(name.rpartition("-Service-")[0] for name in found)

    def scales_itself(self, stack: str) -> bool:
        """Return True if the stack has a scalable target of its own: its manifest's count is a range."""
        answer = self._of_stack("describe_stack_resources", StackName=stack)
        return any(each["ResourceType"] == _TARGET for each in (answer["StackResources"] if answer else ()))

    def schedule(
        self, stack: str, *, wakes: str, sleeps: str, zone: str, count: int, tags: Mapping[str, str]
    ) -> None:
        """Let AWS scale the stack's service to `count` tasks and to none, by two cron expressions.

        `tags` are those of a new scalable target, by which a role's rights are limited to it.
        """
        resource = self._scaled(stack)
        if not resource:
            return
        if not self._is_scaled(resource):  # AWS takes tags only when it is created
            self._ask(
                _SERVICE, "register_scalable_target", **_WHICH, ResourceId=resource,
                MinCapacity=0, MaxCapacity=count, Tags=dict(tags),
            )  # fmt: skip
        for name, schedule, tasks in (("wake", wakes, count), ("sleep", sleeps, 0)):
            self._ask(
                _SERVICE, "put_scheduled_action", **_WHICH, ResourceId=resource,
                ScheduledActionName=name, Schedule=schedule, Timezone=zone,
                ScalableTargetAction={"MinCapacity": tasks, "MaxCapacity": tasks},
            )  # fmt: skip

    def unschedule(self, stack: str) -> None:
        """End what `schedule` has set; do nothing where nothing is."""
        resource = self._scaled(stack)
        # A role that may only change what has certain tags is denied to change what does not exist.
        if resource and self._is_scaled(resource):
            absent = "ObjectNotFoundException"
            self._find(_SERVICE, "deregister_scalable_target", absent, **_WHICH, ResourceId=resource)

    def _is_scaled(self, resource: str) -> bool:
        """Return True if Application Auto Scaling has a scalable target of that name."""
        answer = self._ask(_SERVICE, "describe_scalable_targets", **_WHICH, ResourceIds=[resource])
        return bool(answer["ScalableTargets"])

    def _scaled(self, stack: str) -> str:
        """Return Application Auto Scaling's name for the stack's service; empty where it has none."""
        service = self.service(stack)
        return "/".join(("service", *service)) if service else ""
