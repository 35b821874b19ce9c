"""Rules on room for more deployments: quotas of the account, the application's template, free addresses."""

from __future__ import annotations

from collections.abc import Iterator

from copilot_testenv.account.look import AccountFinding, Look
from copilot_testenv.aws import inventory
from copilot_testenv.copilot import application
from copilot_testenv.copilot.resource_usage import footprint
from copilot_testenv.core import documents

_DEFAULT_VCPUS = (
    6.0  # of a new account. Source: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
)
_FEW = 5  # slots: with room for fewer, this is worth a warning
_BALANCER = 8  # addresses that a load balancer wants in each of its subnets
# Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html


def _room(what: str, used: float, limit: float, a_slot: float, instead: str) -> Iterator[AccountFinding]:
    """Find a limit that has room for only a few slots more, or for none."""
    more = int(max(0.0, limit - used) // a_slot) if a_slot else _FEW
    if more >= _FEW:
        return
    yield AccountFinding(
        "quota",
        "warning" if more else "error",
        f"{used:g} of {limit:g} {what} are in use",
        f"a slot takes {a_slot:g}, so there is room for {more or 'none'}" + (" more" if more else ""),
        instead,
    )


def _raise(name: str, service: str, code: str) -> str:
    return (
        f"tear deployments down, or ask for a higher quota ({name}): aws service-quotas "
        f"request-service-quota-increase --service-code {service} --quota-code {code} --desired-value N"
    )


def vcpus(look: Look) -> Iterator[AccountFinding]:
    """Find too few vCPUs for further tasks on Fargate, on Spot or on demand, as the manifest wants them."""
    takes = footprint(look.manifest, look.test)
    for tasks, code, kind, name in (
        (takes.spot, inventory.SPOT, "Standard/Spot", "Fargate Spot vCPU resource count"),
        (takes.on_demand, inventory.ON_DEMAND, "Standard/OnDemand", "Fargate On-Demand vCPU resource count"),
    ):
        if tasks and takes.cpu:
            quota = look.aws.quota("fargate", code)
            used = look.aws.vcpus_in_use(kind) or 0.0
            limit = _DEFAULT_VCPUS if quota is None else quota
            what = f"vCPUs of the quota {name}"
            yield from _room(what, used, limit, tasks * takes.cpu, _raise(name, "fargate", code))


def interfaces(look: Look) -> Iterator[AccountFinding]:
    """Find too few network interfaces: each task has one."""
    quota = look.aws.quota("vpc", inventory.INTERFACES)
    if quota is not None:
        name = "Network interfaces per Region"
        tasks = max(1, footprint(look.manifest, look.test).tasks or 1)
        instead = _raise(name, "vpc", inventory.INTERFACES)
        yield from _room("network interfaces of this region", look.aws.interfaces(), quota, tasks, instead)


def balancer(look: Look) -> Iterator[AccountFinding]:
    """Find a load balancer whose rules or target groups are nearly as many as it may have.

    A slot has a target group and a rule for each listener; a listener for HTTP alone has one.
    """
    arn = look.aws.resource(look.stack, "PublicLoadBalancer") if look.is_made else None
    if not arn:
        return
    limits, (rules, groups) = look.aws.balancer_limits(), look.aws.rules(arn)
    several = f"deploy further branches to a second test environment ({documents.page('scale.md')})"
    a_slot = 2 if look.aws.resource(look.stack, "HTTPSListener") else 1
    if limit := limits.get("rules-per-application-load-balancer"):
        yield from _room("rules of the load balancer", rules, limit, a_slot, several)
    # Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    yield from _room("target groups of the load balancer", groups, 100, 1, several)


def services(look: Look) -> Iterator[AccountFinding]:
    """Find an application whose template has room for only a few services more."""
    if look.is_made:
        text = str(look.aws.stack_set(application.stack_set(look.settings))["TemplateBody"])
        size, most = len(text.encode()), application.LONGEST
        several = "remove services that nobody needs, or deploy further branches to another application"
        what = "bytes of the application's template"
        yield from _room(what, size, most, application.A_SERVICE, several)


def subnets(look: Look) -> Iterator[AccountFinding]:
    """Find subnets that have no addresses left for tasks, or for a load balancer."""
    takes = footprint(look.manifest, look.test)
    kind = "PublicSubnets" if takes.public else "PrivateSubnets"
    ids = [each for each in look.export(look.test, kind).split(",") if each]
    for subnet in look.aws.subnets(ids) if ids else ():
        if subnet.free < _BALANCER + _FEW:
            yield AccountFinding(
                "subnet",
                "error" if not subnet.free else "warning",
                f"the subnet {subnet.id} of {look.test} has {subnet.free} free addresses",
                f"each task takes one, and a load balancer wants {_BALANCER}",
                "tear deployments down, or make the environment anew with larger subnets (network.vpc)",
            )


RULES = (vcpus, interfaces, balancer, services, subnets)
