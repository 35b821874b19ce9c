"""Elastic Load Balancing: load balancers, target groups, listeners and rules with updates in place."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.elbv2.exceptions import TargetGroupNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeAction, elbv2_backends
from moto.elbv2.responses import ELBV2Response

from copilot_sandbox import model

from .errors import handler_failed
from .resources import ACCOUNT, REGION, CreatedResource, Handler, ResourceSpec
from .shapes import to_api

_MOST_VALUES = 5  # in all conditions of a rule together
_LOWEST_PRIORITY = 100_000  # after every priority that a rule can have (50000)


def backend() -> ELBv2Backend:
    return elbv2_backends[ACCOUNT][REGION]


def _tags(spec: ResourceSpec) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in spec.tags().items()]


def _retag(arn: str, spec: ResourceSpec) -> None:
    """Replace a resource's tags: AWS allows 50, but moto's API refuses more than ten.

    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    tagging = backend().tagging_service
    tagging.delete_all_tags_for_resource(arn)
    tagging.tag_resource(arn, _tags(spec))


class LoadBalancing:
    """The agent's reports of targets, and the load balancer's rules. The caller holds the lock."""

    def __init__(self) -> None:
        self.targets: dict[str, list[model.TargetReport]] = {}
        self.environments: dict[str, tuple[str, int]] = {}  # balancer's ARN → environment, port

    def load_balancers(self) -> list[model.LoadBalancer]:
        return [
            model.LoadBalancer(arn, environment, port, self._rules(arn))
            for arn, (environment, port) in self.environments.items()
            if arn in backend().load_balancers
        ]

    def _rules(self, balancer_arn: str) -> tuple[model.Rule, ...]:
        """Return the rules of all listeners, as one listener of plain HTTP on loopback can have them.

        A browser meets no certificate here. So a rule that only redirects to HTTPS is left out, and the
        HTTPS listener's own rule answers in its place.
        """
        listeners = backend().load_balancers[balancer_arn].listeners.values()
        rules = [_to_rule(rule) for listener in listeners for rule in listener.rules.values()]
        if any(listener.protocol == "HTTPS" for listener in listeners):
            rules = [rule for rule in rules if not (rule.redirect_to or "").startswith("https:")]
        return tuple(sorted(rules, key=lambda rule: rule.priority))

    def target_group(self, arn: str) -> model.TargetGroup | None:
        group = backend().target_groups.get(arn)
        if group is None:
            return None
        return model.TargetGroup(
            arn=arn,
            port=int(group.port),
            health_path=group.health_check_path or "/",
            matcher=str(group.matcher.get("HttpCode", "200")),
            interval=float(group.health_check_interval_seconds),
            timeout=float(group.health_check_timeout_seconds),
            healthy_threshold=int(group.healthy_threshold_count),
            unhealthy_threshold=int(group.unhealthy_threshold_count),
            deregistration_delay=float(str(group.attributes["deregistration_delay.timeout_seconds"])),
        )


def _to_rule(rule: Any) -> model.Rule:
    hosts: list[str] = []
    paths: list[str] = []
    sources: list[str] = []
    for condition in rule.conditions:
        if condition["Field"] == "host-header":
            hosts += condition.get("HostHeaderConfig", {}).get("Values") or condition.get("Values", [])
        elif condition["Field"] == "path-pattern":
            paths += condition.get("PathPatternConfig", {}).get("Values") or condition.get("Values", [])
        elif condition["Field"] == "source-ip":
            sources += condition["SourceIpConfig"]["Values"]
    groups: list[str] = []
    redirect: str | None = None
    status: int | None = None
    for action in (action.data for action in rule.actions):
        if action["Type"] == "forward":
            weighted = action.get("ForwardConfig", {}).get("TargetGroups", [])
            groups += [group["TargetGroupArn"] for group in weighted] or [action["TargetGroupArn"]]
        elif action["Type"] == "redirect":
            url = action["RedirectConfig"]
            redirect = (
                f"{url.get('Protocol', '#{protocol}').lower()}://{url.get('Host', '#{host}')}"
                f":{url.get('Port', '#{port}')}{url.get('Path', '/#{path}')}?{url.get('Query', '#{query}')}"
            )
        elif action["Type"] == "fixed-response":
            status = int(action["FixedResponseConfig"]["StatusCode"])
    return model.Rule(
        priority=_LOWEST_PRIORITY if rule.is_default else int(rule.priority),
        hosts=tuple(hosts),
        paths=tuple(paths),
        sources=tuple(sources),
        target_group_arns=tuple(groups),
        redirect_to=redirect,
        fixed_status=status,
    )


class LoadBalancerHandler(Handler):
    """AWS::ElasticLoadBalancingV2::LoadBalancer. Its DNS name is `localhost:<port>`, so that URLs open."""

    takes_tags = True

    def __init__(self, balancing: LoadBalancing, port_for: Callable[[str], int]) -> None:
        self._balancing = balancing
        self._port_for = port_for

    def create(self, spec: ResourceSpec) -> CreatedResource:
        properties = spec.properties
        balancer = backend().create_load_balancer(
            str(properties.get("Name") or spec.name(32)),
            properties.get("SecurityGroups", []),
            properties.get("Subnets", []),
            scheme=properties.get("Scheme", "internet-facing"),
            loadbalancer_type=properties.get("Type", "application"),
            tags=_tags(spec),
        )
        environment = spec.stack_tags.get("copilot-environment", spec.stack_name)
        if properties.get("Scheme", "internet-facing") == "internet-facing":
            port = self._port_for(environment)
            balancer.dns_name = f"localhost:{port}"
            self._balancing.environments[balancer.arn] = (environment, port)
        balancer.activate()
        self._apply(balancer, properties)
        return CreatedResource(
            balancer.arn,
            {
                "DNSName": balancer.dns_name,
                "LoadBalancerName": balancer.name,
                "LoadBalancerFullName": balancer.arn.split(":loadbalancer/", 1)[1],
                "CanonicalHostedZoneID": balancer.canonical_hosted_zone_id,
                "LoadBalancerArn": balancer.arn,
                "SecurityGroups": balancer.security_groups,
            },
            balancer,
        )

    def _apply(self, balancer: Any, properties: dict[str, Any]) -> None:
        for attribute in properties.get("LoadBalancerAttributes", []):
            balancer.attrs[attribute["Key"]] = str(attribute["Value"]).lower()

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if any(old.get(key) != spec.properties.get(key) for key in ("Name", "Scheme", "Type")):
            return None
        created.model.security_groups = spec.properties.get("SecurityGroups", [])
        self._apply(created.model, spec.properties)
        _retag(created.physical_id, spec)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().delete_load_balancer(created.physical_id)
        self._balancing.environments.pop(created.physical_id, None)


class TargetGroupHandler(Handler):
    """AWS::ElasticLoadBalancingV2::TargetGroup."""

    takes_tags = True
    _FIXED = ("Name", "Port", "Protocol", "ProtocolVersion", "TargetType", "VpcId")

    def __init__(self, balancing: LoadBalancing) -> None:
        self._balancing = balancing

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("elbv2", "CreateTargetGroup", spec.properties)
        group = backend().create_target_group(
            request.get("Name") or spec.name(32),
            vpc_id=request.get("VpcId"),
            protocol=request.get("Protocol"),
            protocol_version=request.get("ProtocolVersion"),
            port=request.get("Port"),
            target_type=request.get("TargetType"),
        )
        _retag(group.arn, spec)
        self._apply(group, spec)
        return CreatedResource(
            group.arn,
            {
                "TargetGroupArn": group.arn,
                "TargetGroupName": group.name,
                "TargetGroupFullName": group.arn.rsplit(":", 1)[1],
            },
            group,
        )

    def _apply(self, group: Any, spec: ResourceSpec) -> None:
        request = to_api("elbv2", "CreateTargetGroup", spec.properties)
        group.health_check_protocol = request.get("HealthCheckProtocol", group.protocol)
        group.health_check_port = request.get("HealthCheckPort", "traffic-port")
        group.health_check_path = request.get("HealthCheckPath", "/")
        group.health_check_interval_seconds = request.get("HealthCheckIntervalSeconds", 30)
        group.health_check_timeout_seconds = request.get("HealthCheckTimeoutSeconds", 5)
        group.healthy_threshold_count = request.get("HealthyThresholdCount", 5)
        group.unhealthy_threshold_count = request.get("UnhealthyThresholdCount", 2)
        group.matcher = request.get("Matcher", {"HttpCode": "200"})
        group.attributes["deregistration_delay.timeout_seconds"] = "300"
        for attribute in spec.properties.get("TargetGroupAttributes", []):
            group.attributes[attribute["Key"]] = str(attribute["Value"]).lower()

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if any(old.get(key) != spec.properties.get(key) for key in self._FIXED):
            return None
        self._apply(created.model, spec)
        _retag(created.physical_id, spec)
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().delete_target_group(created.physical_id)
        self._balancing.targets.pop(created.physical_id, None)

    def attribute(self, created: CreatedResource, name: str) -> Any:
        if name == "LoadBalancerArns":
            return created.model.load_balancer_arns
        return super().attribute(created, name)


class ListenerHandler(Handler):
    """AWS::ElasticLoadBalancingV2::Listener."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("elbv2", "CreateListener", spec.properties)
        certificates = [item["CertificateArn"] for item in request.get("Certificates", [])]
        listener = backend().create_listener(
            request["LoadBalancerArn"],
            request.get("Protocol", ""),
            request.get("Port", ""),
            request.get("SslPolicy", ""),
            certificates[0] if certificates else None,
            request["DefaultActions"],
            tags=_tags(spec),
        )
        return CreatedResource(listener.arn, {"ListenerArn": listener.arn}, listener)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if old.get("LoadBalancerArn") != spec.properties.get("LoadBalancerArn"):
            return None
        request = to_api("elbv2", "CreateListener", spec.properties)
        backend().modify_listener(
            created.physical_id,
            request.get("Port"),
            request.get("Protocol"),
            request.get("SslPolicy"),
            request.get("Certificates"),
            request["DefaultActions"],
        )
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().delete_listener(created.physical_id)


def _check_conditions(conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a rule's conditions. Raises ResourceFailed if ELB would refuse them, which moto does not.

    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    values = 0
    for condition in conditions:
        configs = [value for key, value in condition.items() if key.endswith("Config")]
        values += len(condition.get("Values", [])) + sum(len(config.get("Values", [])) for config in configs)
        for source in condition.get("SourceIpConfig", {}).get("Values", []):
            try:
                ipaddress.ip_network(source, strict=False)
            except ValueError:
                raise handler_failed(f"The source IP '{source}' is not a valid CIDR block") from None
    if values > _MOST_VALUES:
        raise handler_failed(f"A rule can only have '{_MOST_VALUES}' condition values")
    return conditions


class ListenerRuleHandler(Handler):
    """AWS::ElasticLoadBalancingV2::ListenerRule."""

    def create(self, spec: ResourceSpec) -> CreatedResource:
        request = to_api("elbv2", "CreateRule", spec.properties)
        rule = backend().create_rule(
            request["ListenerArn"],
            _check_conditions(request["Conditions"]),
            request["Priority"],
            request["Actions"],
            tags=_tags(spec),
        )
        return CreatedResource(rule.arn, {"RuleArn": rule.arn, "IsDefault": False}, rule)

    def update(
        self, created: CreatedResource, old: dict[str, Any], spec: ResourceSpec
    ) -> CreatedResource | None:
        if old.get("ListenerArn") != spec.properties.get("ListenerArn"):
            return None
        request = to_api("elbv2", "CreateRule", spec.properties)
        # moto's own modify_rule keeps the old conditions if a field is missing.
        created.model.conditions = _check_conditions(request["Conditions"])
        created.model.priority = request["Priority"]
        created.model.actions = [FakeAction(action) for action in request["Actions"]]
        return created

    def delete(self, created: CreatedResource, spec: ResourceSpec) -> None:
        del spec
        backend().delete_rule(created.physical_id)


class Responses(ELBV2Response):
    """ELB's API: moto's, with the targets' health as the agent reports it."""

    balancing: LoadBalancing  # set by bound_to

    @classmethod
    def bound_to(cls, balancing: LoadBalancing) -> type[Responses]:
        """Return a subclass that serves `balancing`: moto creates an object for each request."""
        return type("BoundResponses", (cls,), {"balancing": balancing})

    def describe_target_health(self) -> ActionResult:
        arn = self._get_param("TargetGroupArn")
        if arn not in backend().target_groups:
            raise TargetGroupNotFoundError
        wanted_ids = {target["Id"] for target in self._get_param("Targets") or []}
        return ActionResult(
            {
                "TargetHealthDescriptions": [
                    {
                        "Target": {"Id": target.address, "Port": target.port},
                        "HealthCheckPort": str(target.port),
                        "TargetHealth": {
                            "State": target.state,
                            "Reason": target.code,
                            "Description": target.reason,
                        },
                    }
                    for target in self.balancing.targets.get(arn, [])
                    if not wanted_ids or target.address in wanted_ids
                ]
            }
        )
