"""Check which requests a rendered service receives from the load balancer, and from which addresses.

A rule may have the hosts, the paths and the priority of the default branch's rules, or only the branch's own
host. It may not admit an address that the default branch does not admit.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from copilot_testenv.branch_guard.template_changes import RULE, Change, Rendered
from copilot_testenv.branch_guard.template_properties import own_hosts

_REDIRECT = {
    "Type": "redirect",
    "RedirectConfig": {
        "Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}",
        "StatusCode": "HTTP_301",
    },
}  # fmt: skip
_FIELDS = {
    "host-header": "HostHeaderConfig",
    "path-pattern": "PathPatternConfig",
    "source-ip": "SourceIpConfig",
}


@dataclass(frozen=True)
class _Rule:
    """The conditions of a listener rule; None where there is no such condition."""

    name: str
    hosts: frozenset[str] | None
    paths: frozenset[str] | None
    sources: tuple[Any, ...] | None


def changes(branch: Rendered, base: Rendered) -> Iterator[Change]:
    """Yield the changes of a branch's rules that go beyond the baseline's and its own host."""
    before = []
    for name in base.resources:
        if RULE.fullmatch(name):
            try:
                before.append(_read(name, base.properties(name)))
            except ValueError:
                continue  # the default branch's own rule; nothing can be compared with it
    if branch.settings.web and not any(map(RULE.fullmatch, base.resources)):  # of another service
        for name in filter(RULE.fullmatch, branch.resources):
            what = f"the rule {name} gives an address to a service that has none in the default branch"
            yield Change("access", ("Resources", name), what, ("type", "http"))
    for name in branch.resources:
        if RULE.fullmatch(name):
            yield from _judged(name, branch, base, before)
    yield from _balancer(branch, base)


def _judged(name: str, branch: Rendered, base: Rendered, before: list[_Rule]) -> Iterator[Change]:
    path = ("Resources", name, "Properties", "Conditions")
    try:
        rule = _read(name, branch.properties(name))
    except ValueError as error:
        if branch.settings.slug or branch.properties(name) != base.properties(name):
            yield Change("rules", path, f"the conditions of {name} cannot be judged: {error}")
        return
    own = rule.hosts is not None and rule.hosts <= own_hosts(branch.settings)
    yield from _place(name, branch, base, rule, own=own)
    fitting = [each for each in before if _reaches_no_more(rule, each, own=own)]
    if (branch.settings.slug and not own) or (not fitting and not own):
        hosts, paths = sorted(rule.hosts or ()), sorted(rule.paths or ())
        what = (
            f"the rule {name} answers to {', '.join(hosts) or 'any host'}, {', '.join(paths) or 'any path'}"
        )
        limit = (
            "the branch's own host" if branch.settings.slug else "what the default branch's rules answer to"
        )
        search_texts = (*hosts, *paths, *(pattern.removesuffix("/*") for pattern in paths), "alias", "path")
        yield Change("rules", path, f"{what}, which is not {limit}", search_texts)
        return
    judge = any if fitting else all
    closed = rule.sources is not None
    if not (closed or before) or (
        before and not judge(_lets_in_no_more(rule, each) for each in fitting or before)
    ):
        shown = ", ".join(map(str, rule.sources)) if rule.sources is not None else "every address"
        what = f"the rule {name} lets in {shown}, which the default branch does not"
        yield Change("access", path, what, ("allowed_source_ips", *map(str, rule.sources or ()), "http"))


def _place(name: str, branch: Rendered, base: Rendered, rule: _Rule, *, own: bool) -> Iterator[Change]:
    """Yield the changes of the rule's listener, its priority and its action."""
    found, same = branch.properties(name), base.properties(name)
    scheme = "HTTPS" if name.startswith("HTTPS") else "HTTP"
    number = re.sub(r"^\D+", "", name)
    expected = {
        "Actions": ([{"Type": "forward", "TargetGroupArn": f"${{TargetGroup{number}}}"}], [_REDIRECT]),
        "ListenerArn": (f"${{EnvControllerAction.{scheme}ListenerArn}}",),
    }
    for key in sorted((found.keys() | same.keys()) - {"Conditions", "Priority"}):
        if found.get(key) != same.get(key) and found.get(key) not in expected.get(key, ()):
            path = ("Resources", name, "Properties", key)
            yield Change("rules", path, f"the rule {name} has other {key} than Copilot writes", (key,))
    kind = re.sub(r"ListenerRule|\d+$", "", name)  # HTTP, HTTPWithDomain, HTTPS
    action = f"{scheme}Rule{kind.removeprefix(scheme)}PriorityAction"
    path = ("Resources", name, "Properties", "Priority")
    if found.get("Priority") != f"${{{action}.Priority{number}}}":
        what = f"the rule {name} has the priority {found.get('Priority')}, not the one that Copilot chooses"
        yield Change("rules", path, what)
    elif not own and not _fits_its_turn(branch.properties(action), int(number or 0), rule):
        same_turn = branch.properties(action) == base.properties(action)
        if not same_turn or found.get("Conditions") != same.get("Conditions"):
            yield Change("rules", path, f"the rule {name} has the priority of another path", ("path",))


def _fits_its_turn(finder: dict[str, Any], number: int, rule: _Rule) -> bool:
    """Return True if the rule has the path for which Copilot's function chooses its priority: `/` is last."""
    listed = finder.get("RulePath")
    if not isinstance(listed, list) or number >= len(listed):
        return False
    path = str(listed[number])
    return rule.paths == frozenset(["/*"] if path == "/" else [path, f"{path}/*"])


def _balancer(branch: Rendered, base: Rendered) -> Iterator[Change]:
    """Yield DNS records with another name than the service's own, or outside the environment's zone."""
    zone = f"${{ImportValue:{branch.settings.app}-{branch.settings.test_env}-HostedZone}}"
    for name in branch.resources:
        found = branch.properties(name)
        if not re.fullmatch(r"LoadBalancerDNSAlias\w*", name) or found == base.properties(name):
            continue
        records = [each for each in found.get("RecordSets") or () if isinstance(each, dict)]
        names = [str(each.get("Name")) for each in records]
        own = all(each.rstrip(".") in own_hosts(branch.settings) for each in names)
        if not names or not own or found.get("HostedZoneId") != zone:
            what = f"it takes the DNS record {', '.join(names) or name}"
            yield Change("rules", ("Resources", name), what, (*names, "hosted_zone", "alias"))


def _read(name: str, properties: dict[str, Any]) -> _Rule:
    """Return a rule's conditions.

    Raises ValueError where one is not a list of plain texts, or is repeated.
    """
    found: dict[str, frozenset[str] | None] = dict.fromkeys(_FIELDS)
    conditions = properties.get("Conditions")
    if not isinstance(conditions, list):
        raise ValueError("they are not a list")  # noqa: TRY004 - the template is wrong, not a type here
    for each in conditions:
        field = each.get("Field") if isinstance(each, dict) else None
        if field not in _FIELDS:
            if isinstance(each, dict) and isinstance(field, str) and "Fn::" not in str(each):
                continue  # headers, methods, queries: they only restrict the rule
            raise ValueError("one is not a mapping with a field")
        config = each.get(_FIELDS[field], each)
        values = config.get("Values") if isinstance(config, dict) else None
        if (
            set(each) - {"Field", "Values", _FIELDS[field]}
            or (_FIELDS[field] in each and "Values" in each)
            or not isinstance(values, list)
            or not values
            or not all(isinstance(value, str) and "Fn::" not in value for value in values)
        ):
            raise ValueError(f"{field} has no plain values")
        if found[field] is not None:
            raise ValueError(f"{field} is there twice")
        found[field] = frozenset(values)
    hosts = found["host-header"]
    sources = found["source-ip"]
    return _Rule(
        name,
        frozenset(host.lower() if "${" not in host else host for host in hosts)
        if hosts is not None
        else None,
        found["path-pattern"],
        None
        if sources is None
        else tuple(ipaddress.ip_network(each, strict=False) for each in sorted(sources)),
    )


def _reaches_no_more(rule: _Rule, base: _Rule, *, own: bool) -> bool:
    hosts = (
        own
        or rule.hosts == base.hosts
        or (rule.hosts is not None and base.hosts is not None and rule.hosts <= base.hosts)
    )
    paths = base.paths is None or (rule.paths is not None and _within(rule.paths, base.paths, narrower=own))
    return hosts and paths


def _within(paths: frozenset[str], known: frozenset[str], *, narrower: bool) -> bool:
    """Return True if all paths are in `known`, or with `narrower` below one of them.

    A path below the baseline's has another priority, so it is allowed only with the branch's own host.
    """
    if paths <= known:
        return True
    return narrower and all(any(path.startswith(each.removesuffix("*")) for each in known) for path in paths)


def _lets_in_no_more(rule: _Rule, base: _Rule) -> bool:
    if base.sources is None:
        return True
    if rule.sources is None:
        return False
    return all(
        any(each.version == other.version and each.subnet_of(other) for other in base.sources)
        for each in rule.sources
    )
