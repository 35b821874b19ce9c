"""Judge which properties of Copilot's own resources a branch may change: its code, containers and numbers.

The judgement is None where the general rule applies (equal to the baseline), FREE, or a name in core.trust
with the fault that it allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from copilot_testenv.branch_guard.template_values import texts
from copilot_testenv.core.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """The judgement of a change: `name` is from core.trust, empty where the change is free."""

    name: str = ""
    what: str = ""


FREE = Verdict()
Judge = Callable[[str, Any, Any, Settings], Verdict | None]
_RUNTIME = re.compile(r"nodejs\d+\.x")
_SERVICE = frozenset(
    {
        "DesiredCount", "PlatformVersion", "CapacityProviderStrategy", "LaunchType",
        "HealthCheckGracePeriodSeconds", "PropagateTags", "EnableECSManagedTags",
        "AvailabilityZoneRebalancing",
    }
)  # fmt: skip
# Any other key is refused: a deployment can have hooks and a target another rule, which use roles of their
# own.
_DEPLOYMENT = frozenset({"DeploymentCircuitBreaker", "MinimumHealthyPercent", "MaximumPercent", "Alarms"})
_TARGET = frozenset({"ContainerName", "ContainerPort", "TargetGroupArn"})


def verdict(kind: str, key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    """Judge the changed property of a resource of that type; `before` is the baseline's value."""
    judge = _JUDGES.get(kind)
    return judge(key, value, before, settings) if judge else None


def own_hosts(settings: Settings) -> frozenset[str]:
    """Return the host names of a branch's own service: its own, and Copilot's default name."""
    default = f"{settings.service}.${{ImportValue:{settings.app}-{settings.test_env}-SubDomain}}"
    below = "localhost" if settings.target == "sandbox" else settings.test_domain
    own = f"{settings.host_label}.{below}" if settings.slug and below else ""
    return frozenset(filter(None, (default, own)))


def _task_definition(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    del settings
    if key in {"Cpu", "Memory", "EphemeralStorage", "RuntimePlatform"}:
        return FREE
    if key == "Volumes":
        known = before if isinstance(before, list) else []
        plain = value is None or (
            isinstance(value, list) and all(_keys(each) == {"Name"} or each in known for each in value)
        )
        return FREE if plain else Verdict("references", "it mounts a volume that is not the task's own")
    if key == "ContainerDefinitions":  # template_references looks into them
        plain = isinstance(value, list) and all(isinstance(each, dict) for each in value)
        return FREE if plain else Verdict("resources", "its containers are no list")
    if key in {"TaskRoleArn", "ExecutionRoleArn"}:
        return Verdict("references", f"the task would run with the role {value}")
    return None


def _service(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    found: Verdict | None = None
    if key in _SERVICE:
        found = FREE
    elif key == "DeploymentConfiguration":
        plain = _keys(value) <= _DEPLOYMENT
        found = (
            FREE
            if plain
            else Verdict("resources", f"it deploys with {', '.join(_keys(value) - _DEPLOYMENT)}")
        )
    elif key == "EnableExecuteCommand":
        opens = str(value).lower() not in {"none", "false"}
        found = Verdict("access", "it opens a shell into the containers (`exec`)") if opens else FREE
    elif key == "NetworkConfiguration":
        found = _network(value, before, settings)
    elif key == "LoadBalancers":
        own = isinstance(value, list | None) and all(
            _keys(each) == _TARGET and re.fullmatch(r"\$\{TargetGroup\d*\}", str(each["TargetGroupArn"]))
            for each in value or ()
        )
        found = FREE if own else Verdict("rules", "its tasks would answer for another target group")
    elif key == "ServiceRegistries":
        same = _without_ports(value) == _without_ports(before)
        found = FREE if same else Verdict("rules", "it registers its tasks under another name")
    elif key == "ServiceConnectConfiguration":
        own = _connects_as_itself(value, settings)
        found = FREE if own else Verdict("rules", "it answers to another name in the network (`connect`)")
    elif key in {"Cluster", "TaskDefinition"}:
        found = Verdict("references", f"it sets {key} of the service to {value}")
    return found


def _network(value: Any, before: Any, settings: Settings) -> Verdict:
    """Judge a placement: free are the baseline's, and the environment's own private subnets."""
    own, known = _inside(value, "AwsvpcConfiguration"), _inside(before, "AwsvpcConfiguration")
    if _keys(value) != {"AwsvpcConfiguration"} or own.keys() - {
        "AssignPublicIp",
        "Subnets",
        "SecurityGroups",
    }:
        return Verdict("access", "it changes the network that its tasks are in")
    if own.get("AssignPublicIp") not in (known.get("AssignPublicIp"), "DISABLED"):
        return Verdict("access", "its tasks would have public addresses (`placement`)")
    export = f"${{ImportValue:{settings.app}-{settings.test_env}-PrivateSubnets}}"
    if own.get("Subnets") not in (known.get("Subnets"), {"Fn::Split": [",", export]}):
        return Verdict("references", "its tasks would run in other subnets")
    groups, kept = own.get("SecurityGroups"), known.get("SecurityGroups")
    if groups == kept:
        return FREE
    if not isinstance(groups, list) or not isinstance(kept, list):
        return Verdict("references", "it changes the security groups of its tasks")
    more = [
        each for each in groups if each not in kept and not str(each).startswith("${AddonsStack.Outputs.")
    ]
    return Verdict("references", f"its tasks would be in the security group {more[0]}") if more else FREE


def _connects_as_itself(value: Any, settings: Settings) -> bool:
    """Return True if Service Connect uses only the service's own names in the environment's namespace."""
    named: dict[str, set[str]] = {"DnsName": set(), "DiscoveryName": set(), "Namespace": set()}
    for path, text in texts(value):
        if path and path[-1] in named and text != path[-1]:
            named[path[-1]].add(text)
    names = {settings.service, f"{settings.service}-sc"}
    return (
        named["DnsName"] | named["DiscoveryName"] <= names
        and named["Namespace"] <= {f"{settings.test_env}.{settings.app}.local"}
        and "Fn::ImportValue" not in json.dumps(value)
    )


def _target_group(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    del before
    if key == "VpcId":
        own = value == f"${{ImportValue:{settings.app}-{settings.test_env}-VpcId}}"
        return FREE if own else Verdict("references", f"its target group is in another network, {value}")
    if key == "TargetType":
        return (
            FREE
            if value == "ip"
            else Verdict("rules", f"its target group leads to {value}, not to its tasks")
        )
    if key in {"Targets", "Name", "Tags"}:
        return Verdict("rules", f"it sets {key} of its target group")
    return FREE


def _env_controller(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    known = before if isinstance(before, list) else []
    if key == "Aliases":
        more = [str(each) for each in value if each not in known] if isinstance(value, list) else [str(value)]
        own = value is None or all(each in own_hosts(settings) for each in more)
        return FREE if own else Verdict("rules", f"it takes the host name {', '.join(more)}")
    if key == "Parameters":
        allowed = {"ALBWorkloads", "Aliases", "NATWorkloads", *map(str, known)}
        own = isinstance(value, list) and {str(each) for each in value} <= allowed
        return FREE if own else Verdict("resources", f"it changes the environment's {value}")
    if key in {"Workload", "EnvStack"}:
        return Verdict("rules", f"it sets {key} of the environment's controller to {value}")
    return None


def _function(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    del before, settings
    return FREE if key == "Runtime" and _RUNTIME.fullmatch(str(value)) else None


def _priorities(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    """Judge the action that chooses priorities; template_rules checks the paths together with their rules."""
    del before, settings
    if key == "RulePath":
        return FREE
    return Verdict("rules", f"it chooses the rules' priorities by {key} {value}")


def _numbers(key: str, value: Any, before: Any, settings: Settings) -> Verdict | None:
    """Judge the numbers of auto scaling, alarms and the log group."""
    del value, before, settings
    free = {"MinCapacity", "MaxCapacity", "TargetTrackingScalingPolicyConfiguration", "Threshold"}
    return FREE if key in free | {"AlarmDescription", "RetentionInDays"} else None


_JUDGES: dict[str, Judge] = {
    "AWS::ECS::TaskDefinition": _task_definition,
    "AWS::ECS::Service": _service,
    "AWS::ElasticLoadBalancingV2::TargetGroup": _target_group,
    "Custom::EnvControllerFunction": _env_controller,
    "Custom::RulePriorityFunction": _priorities,
    "AWS::Lambda::Function": _function,
    "AWS::ApplicationAutoScaling::ScalableTarget": _numbers,
    "AWS::ApplicationAutoScaling::ScalingPolicy": _numbers,
    "AWS::CloudWatch::Alarm": _numbers,
    "AWS::Logs::LogGroup": _numbers,
}


def _without_ports(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [
        {key: item for key, item in each.items() if key != "Port"} if isinstance(each, dict) else each
        for each in value
    ]


def _inside(value: Any, key: str) -> dict[str, Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _keys(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()
