"""Find values that do not fit each other, which Copilot packages and AWS refuses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding, in_environments
from copilot_testenv.check.limits import seconds
from copilot_testenv.check.project import Project
from copilot_testenv.check.task import where
from copilot_testenv.copilot import patches
from copilot_testenv.copilot.resource_usage import FARGATE

Keys = tuple[str | int, ...]
_K = 1024
_OF_WINDOWS = (1024, 2048, 4096)  # source: as of FARGATE
# Source: https://docs.aws.amazon.com/apprunner/latest/api/API_InstanceConfiguration.html
_APP_RUNNER: Mapping[int, tuple[int, ...]] = {
    256: (512, _K),
    512: (_K,),
    1024: (2 * _K, 3 * _K, 4 * _K),
    2048: (4 * _K, 6 * _K),
    4096: (8 * _K, 10 * _K, 12 * _K),
}
_DEFAULTS = {"Request-Driven Web Service": (1024, 2048)}  # Copilot's; of all others 256 and 512
# The load balancer's defaults. Source: API_CreateTargetGroup of Elastic Load Balancing, and Copilot's own.
_INTERVAL, _TIMEOUT = 30.0, 5.0
_SHORTEST, _LONGEST = 5.0, 120.0  # an interval, a timeout
_SECRET_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PWD|SECRET|SECRET_KEY|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_?TOKEN|TOKEN)(_\d+)?$"
)
_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@$]+@")
_KEY_ID = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----")
_NO_VALUE = frozenset({"", "none", "null", "false", "true", "changeme", "dummy", "test", "example"})


def sizes(project: Project) -> Iterator[Finding]:
    """Find CPU and memory that Fargate, or App Runner, does not have together."""
    yield from in_environments(each(project, _sizes))


def doubles(project: Project) -> Iterator[Finding]:
    """Find names that a container has among its variables and its secrets: ECS refuses them."""
    yield from in_environments(each(project, _doubles))


def mounts(project: Project) -> Iterator[Finding]:
    """Find mounts of a volume that is not there, nor added by overrides."""
    overrides = {service: patches.text_below(project.root, service) for service in project.services}
    for finding in in_environments(each(project, _mounts)):
        document = next(each for each in project.services.items() if each[1].path == finding.path)
        name = finding.what.split()[2]
        added = name in overrides[document[0]] or "taskdef_overrides" in document[1].text
        if not added:
            yield finding


def checks(project: Project) -> Iterator[Finding]:
    """Find health checks of a load balancer whose timeout is not shorter than their interval."""
    yield from in_environments(each(project, _checks))
    yield from in_environments(each(project, _ranges))
    yield from in_environments(each(project, _queues))
    yield from in_environments(each(project, _listeners))


def passwords(project: Project) -> Iterator[Finding]:
    """Find passwords among variables: everybody who may read the stack can read them."""
    yield from in_environments(each(project, _passwords))


def each(project: Project, rule: Any) -> Iterator[tuple[str, Finding]]:
    """Yield what a rule finds in each service's manifest, with the environment for which it was judged."""
    for document in project.services.values():
        for environment in project.names:
            for finding in rule(document, environment):
                yield environment, finding


def merged(document: Document, environment: str, *keys: str) -> Any:
    """Return the value in an environment: its block is laid over the base, as Copilot does."""
    base, own = document.get(*keys), document.get("environments", environment, *keys)
    return _laid(base, own)


def _laid(base: Any, own: Any) -> Any:
    if isinstance(base, dict) and isinstance(own, dict):
        return {**base, **{key: _laid(base.get(key), value) for key, value in own.items()}}
    return base if own is None else own


def containers(document: Document, environment: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the main container and the sidecars, by their keys below the manifest."""
    whole = merged(document, environment)
    found: dict[tuple[str, ...], dict[str, Any]] = {(): whole if isinstance(whole, dict) else {}}
    sidecars = merged(document, environment, "sidecars")
    for name, sidecar in sidecars.items() if isinstance(sidecars, dict) else ():
        if isinstance(sidecar, dict):
            found["sidecars", str(name)] = sidecar
    return found


def _sizes(document: Document, environment: str) -> Iterator[Finding]:
    kind = str(document.get("type"))
    if kind == "Static Site":
        return
    known = _APP_RUNNER if kind == "Request-Driven Web Service" else FARGATE
    given = [merged(document, environment, key) for key in ("cpu", "memory")]
    pair = [
        default if value is None else value
        for value, default in zip(given, _DEFAULTS.get(kind, (256, 512)), strict=True)
    ]
    cpu, memory = pair
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in pair):
        return
    place = "App Runner" if known is _APP_RUNNER else "Fargate"
    platform = merged(document, environment, "platform")
    system = str(platform.get("osfamily") if isinstance(platform, dict) else platform).lower()
    if known is FARGATE and system.startswith("windows") and cpu in known and cpu not in _OF_WINDOWS:
        what = f"{place} has no task of {cpu} CPU units for Windows"
        key = "cpu" if given[0] is not None else "platform"
        near = min(_OF_WINDOWS, key=lambda units: abs(units - cpu))
        instead = f"write `cpu: {near}` and a memory that goes with it"
        yield _finding(document, environment, (key,), "size", what, instead)
        return
    if cpu not in known:
        near = min(known, key=lambda units: abs(units - cpu))
        what = f"{place} has no task of {cpu} CPU units"
        yield _finding(document, environment, ("cpu",), "size", what, f"write `cpu: {near}`")
    elif memory not in known[cpu]:
        near = min(known[cpu], key=lambda size: (abs(size - memory), -size))
        what = f"{place} has no task of {cpu} CPU units and {memory} MiB of memory"
        key = "memory" if given[1] is not None else "cpu"
        least = min((units for units, sizes_ in known.items() if memory in sizes_), default=0)
        instead = f"write `memory: {near}`" + (f", or `cpu: {least}`" if least else "")
        yield _finding(document, environment, (key,), "size", what, instead)


def _doubles(document: Document, environment: str) -> Iterator[Finding]:
    for keys, container in containers(document, environment).items():
        variables, secrets = container.get("variables"), container.get("secrets")
        if not isinstance(variables, dict) or not isinstance(secrets, dict):
            continue
        for name in variables.keys() & secrets.keys():
            what = f"{name} is a variable and a secret of the same container, which ECS refuses"
            place: Keys = (*keys, "secrets", str(name))
            yield _finding(document, environment, place, "double", what, "remove it from `variables`")


def _mounts(document: Document, environment: str) -> Iterator[Finding]:
    volumes = merged(document, environment, "storage", "volumes")
    known = [str(name) for name in volumes] if isinstance(volumes, dict) else []
    for keys, container in containers(document, environment).items():
        points = container.get("mount_points")
        for number, point in enumerate(points if isinstance(points, list) else ()):
            name = point.get("source_volume") if isinstance(point, dict) else None
            if isinstance(name, str) and "${" not in name and name not in known:
                what = f"the volume {name} is mounted, and `storage.volumes` has none of that name"
                instead = f"write one of {', '.join(known)}" if known else f"add `storage.volumes.{name}`"
                at: Keys = (*keys, "mount_points", number, "source_volume")
                yield _finding(document, environment, at, "volume", what, instead)


def _checks(document: Document, environment: str) -> Iterator[Finding]:
    if document.get("type") == "Request-Driven Web Service":
        return
    holders: list[tuple[Keys, Any]] = [
        (("http",), merged(document, environment, "http")),
        (("nlb",), merged(document, environment, "nlb")),
    ]
    for keys, holder in list(holders):
        for name in ("additional_rules", "additional_listeners"):
            rules = holder.get(name) if isinstance(holder, dict) else None
            holders += [
                ((*keys, name, number), rule)
                for number, rule in enumerate(rules if isinstance(rules, list) else ())
            ]
    for keys, holder in holders:
        check = holder.get("healthcheck") if isinstance(holder, dict) else None
        if not isinstance(check, dict):
            continue
        interval = _seconds(check.get("interval"), _INTERVAL)
        timeout = _seconds(check.get("timeout"), _TIMEOUT)
        if interval is None or timeout is None or interval > timeout:
            continue
        if keys[0] == "nlb" and interval == timeout:
            continue  # a network balancer takes it
        if interval < _SHORTEST or timeout > _LONGEST:
            continue  # limits.values reports it
        key = "timeout" if check.get("timeout") is not None else "interval"
        what = f"the health check's timeout ({timeout:g}s) is not shorter than its interval ({interval:g}s)"
        instead = f"write `timeout: {max(2, int(interval) - 1)}s`, or a longer `interval`"
        yield _finding(document, environment, (*keys, "healthcheck", key), "health-check", what, instead)


def _ranges(document: Document, environment: str) -> Iterator[Finding]:
    """Find a range of tasks whose least number is above its most, or that no task on Spot can reach."""
    given = merged(document, environment, "count", "range")
    if not isinstance(given, dict):
        return
    least, most, spot = (given.get(name) for name in ("min", "max", "spot_from"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        what = f"the least number of tasks, {least}, is above the most, {most}"
        yield _finding(
            document, environment, ("count", "range", "min"), "limit", what, f"write `{most}` or less"
        )
    if isinstance(spot, int) and isinstance(most, int) and spot > most:
        what = f"no task runs on Spot: `spot_from` is {spot}, above the most, {most}"
        place: Keys = ("count", "range", "spot_from")
        yield _finding(document, environment, place, "limit", what, f"write `{most}` or less", error=False)


def _listeners(document: Document, environment: str) -> Iterator[Finding]:
    """Find a port that two listeners of the network balancer have."""
    nlb = merged(document, environment, "nlb")
    more = nlb.get("additional_listeners") if isinstance(nlb, dict) else None
    listeners = [nlb, *(more if isinstance(more, list) else ())]
    ports = [str(each.get("port")).partition("/")[0] if isinstance(each, dict) else "" for each in listeners]
    for number, port in enumerate(ports[1:]):
        if port.isdigit() and port in ports[: number + 1]:
            what = f"the network balancer has a listener at port {port} already"
            at: Keys = ("nlb", "additional_listeners", number, "port")
            yield _finding(document, environment, at, "port", what, "write another port")


def _queues(document: Document, environment: str) -> Iterator[Finding]:
    """Find a FIFO queue whose limit is for each message group, and whose deduplication is not.

    Source: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
    """
    keys: Keys = ("subscribe", "queue", "fifo")
    fifo = merged(document, environment, *map(str, keys))
    if (
        isinstance(fifo, dict)
        and fifo.get("throughput_limit") == "perMessageGroupId"
        and fifo.get("deduplication_scope") is None
    ):
        what = "SQS takes `perMessageGroupId` only with `deduplication_scope: messageGroup`"
        at: Keys = (*keys, "throughput_limit")
        yield _finding(document, environment, at, "limit", what, "add it, or write `high_throughput: true`")


def _seconds(value: Any, default: float) -> float | None:
    return default if value is None else seconds(value) if isinstance(value, str) else None


def _passwords(document: Document, environment: str) -> Iterator[Finding]:
    for keys, container in containers(document, environment).items():
        variables = container.get("variables")
        for name in variables if isinstance(variables, dict) else ():
            if re.search(r"[\s=]|^\d", str(name)):
                what = f"no shell can read a variable with the name `{name}`"
                place = (*keys, "variables", str(name))
                instead = "write letters, digits and `_`"
                yield _finding(document, environment, place, "variable", what, instead, error=False)
        for name, value in variables.items() if isinstance(variables, dict) else ():
            if not isinstance(value, str) or not _is_secret(str(name), value):
                continue
            what = f"{name} looks like a secret, and everybody who may read the stack can read a variable"
            instead = (
                f"store it in SSM (`copilot secret init`) and name it under `{'.'.join((*keys, 'secrets'))}`"
            )
            place = (*keys, "variables", str(name))
            yield _finding(document, environment, place, "password", what, instead, error=False)


def _is_secret(name: str, value: str) -> bool:
    if "${" in value or value.strip().lower() in _NO_VALUE:
        return False
    named = bool(_SECRET_NAME.search(name.upper())) and not value.startswith(("/", "http", "arn:"))
    return named or bool(_IN_URL.search(value) or _KEY_ID.search(value))


def networks(project: Project) -> Iterator[Finding]:
    """Find subnets of an environment that are outside of its VPC, or overlap."""
    for document in project.environments.values():
        vpc = document.get("network", "vpc")
        subnets = vpc.get("subnets") if isinstance(vpc, dict) else None
        if not isinstance(vpc, dict):
            continue
        whole = _network(vpc.get("cidr"))
        if whole is None and isinstance(vpc.get("cidr"), str) and "${" not in vpc["cidr"]:
            line = document.line("network", "vpc", "cidr")
            what = f"`{vpc['cidr']}` is no range of addresses"
            yield Finding(document.path, line, "network", "error", what, "write one such as `10.0.0.0/16`")
        yield from (*_zones(document), *_repeated(document), *_size_of_vpc(document, whole))
        earlier: list[tuple[str, Any]] = []
        for kind in ("public", "private"):
            listed = subnets.get(kind) if isinstance(subnets, dict) else None
            for number, subnet in enumerate(listed if isinstance(listed, list) else ()):
                keys = ("network", "vpc", "subnets", kind, number, "cidr")
                given = subnet.get("cidr") if isinstance(subnet, dict) else None
                network = _network(given)
                if network is None:
                    continue
                clash = next((text for text, other in earlier if other.overlaps(network)), "")
                what = ""
                if whole and not network.subnet_of(whole):
                    what = f"the subnet {network} is not in the VPC's {whole}"
                elif clash:
                    what = f"the subnet {network} overlaps {clash}"
                earlier.append((str(network), network))
                if what:
                    line = document.line(*keys)
                    yield Finding(
                        document.path, line, "network", "error", what, "write a free part of the VPC's range"
                    )


def _zones(document: Document) -> Iterator[Finding]:
    """Find availability zones of another region than the others'."""
    found: list[tuple[Keys, str]] = []
    for kind in ("public", "private"):
        listed = document.get("network", "vpc", "subnets", kind)
        for number, subnet in enumerate(listed if isinstance(listed, list) else ()):
            zone = subnet.get("az") if isinstance(subnet, dict) else None
            if isinstance(zone, str) and "-" in zone and "${" not in zone:
                found.append((("network", "vpc", "subnets", kind, number, "az"), zone))
    regions = [zone.rstrip("abcdef") for _, zone in found]
    for (keys, zone), region in zip(found, regions, strict=True):
        usual = max(regions, key=regions.count)
        if region != usual:
            what = f"{zone} is no zone of {usual}, the region of the other subnets"
            line = document.line(*keys)
            yield Finding(document.path, line, "network", "error", what, f"write a zone of {usual}")


def _repeated(document: Document) -> Iterator[Finding]:
    """Find a subnet or, among the public or the private ones, an availability zone that stands twice."""
    taken: set[tuple[str, str]] = set()
    for kind in ("public", "private"):
        listed = document.get("network", "vpc", "subnets", kind)
        for number, subnet in enumerate(listed if isinstance(listed, list) else ()):
            for name, scope in (("id", ""), ("az", kind)):
                value = subnet.get(name) if isinstance(subnet, dict) else None
                if not isinstance(value, str) or "${" in value:
                    continue
                if (scope, value) in taken:
                    line = document.line("network", "vpc", "subnets", kind, number, name)
                    what = f"{value} stands here a second time"
                    yield Finding(document.path, line, "network", "error", what, "write another one")
                taken.add((scope, value))


def _size_of_vpc(document: Document, whole: ipaddress.IPv4Network | None) -> Iterator[Finding]:
    """Find a VPC that is larger or smaller than AWS makes one."""
    if whole and not 16 <= whole.prefixlen <= 28:  # noqa: PLR2004 - AWS's limits
        what = f"AWS makes no VPC of {whole}: it takes /16 to /28"
        line = document.line("network", "vpc", "cidr")
        yield Finding(document.path, line, "network", "error", what, "write one such as `10.0.0.0/16`")


def _network(value: Any) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _finding(
    document: Document,
    environment: str,
    keys: Keys,
    rule: str,
    what: str,
    instead: str,
    *,
    error: bool = True,
) -> Finding:
    line = where(document, environment, *keys)
    return Finding(document.path, line, rule, "error" if error else "warning", what, instead)


RULES = (sizes, doubles, mounts, checks, passwords, networks)
