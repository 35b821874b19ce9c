"""Find the changes in a rendered service that its code, containers and variables do not need.

Deny by default: the changes that a branch may make freely are listed, by Copilot's own resources (here) and
their properties (template_properties). Everything else that the branch has must be equal to the baseline, the
default branch's rendering. What Copilot itself wrote for the baseline may be missing: the manifest no longer
asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from copilot_testenv.branch_guard import template_properties, template_values
from copilot_testenv.branch_guard.template_properties import Verdict
from copilot_testenv.branch_guard.template_values import Resolver
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.settings import Settings

# The resources that Copilot may write for a branch's manifest beyond the baseline: logical id and type.
# Source: internal/pkg/template/templates/workloads of aws/copilot-cli 1.34.
_COPILOTS = (
    (r"LogGroup", "AWS::Logs::LogGroup"),
    (r"TaskDefinition", "AWS::ECS::TaskDefinition"),
    (r"(Execution|Task|EnvController|RulePriorityFunction|DynamicDesiredCountFunction|AutoScaling)Role",
     "AWS::IAM::Role"),
    (r"DiscoveryService", "AWS::ServiceDiscovery::Service"),
    (r"Service", "AWS::ECS::Service"),
    (r"EnvControllerAction", "Custom::EnvControllerFunction"),
    (r"HTTPS?Rule(WithDomain)?PriorityAction", "Custom::RulePriorityFunction"),
    (r"DynamicDesiredCountAction", "Custom::DynamicDesiredCountFunction"),
    (r"(EnvController|RulePriority|DynamicDesiredCount)Function", "AWS::Lambda::Function"),
    (r"AutoScalingTarget", "AWS::ApplicationAutoScaling::ScalableTarget"),
    (r"AutoScalingPolicy(ECSService|ALB)\w+", "AWS::ApplicationAutoScaling::ScalingPolicy"),
    (r"(CPU|Memory)RollbackAlarm", "AWS::CloudWatch::Alarm"),
    (r"TargetGroup\d*", "AWS::ElasticLoadBalancingV2::TargetGroup"),
    (r"HTTPS?ListenerRule(WithDomain)?\d*", "AWS::ElasticLoadBalancingV2::ListenerRule"),
    (r"LoadBalancerDNSAlias", "AWS::Route53::RecordSetGroup"),
    (r"\w+SNSTopic", "AWS::SNS::Topic"),
    (r"\w+SNSTopicPolicy", "AWS::SNS::TopicPolicy"),
    (r"AddonsStack", "AWS::CloudFormation::Stack"),
)  # fmt: skip
RULE = re.compile(r"HTTPS?ListenerRule(WithDomain)?\d*")
# The policies that Copilot itself gives a role, where the manifest uses the feature that needs them.
_POLICIES = re.compile(
    r"DenyIAM|ExecuteCommand|Publish2SNS|AWSDistroOpenTelemetryPolicy|"
    r"\S+(SecretsPolicy|GetEnvFilePolicy(For\w+)?|GetLoggingEnvFilePolicy)"
)
# Copilot writes names and numbers from the manifest into these, and nothing that leads out of the service.
_WRITTEN_BY_COPILOT = frozenset(
    {"AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "Custom::DynamicDesiredCountFunction"}
)
# Copilot writes arbitrary values from the manifest into these.
_WRITTEN_BY_MANIFEST = frozenset(
    {
        "AWS::ECS::TaskDefinition", "AWS::ECS::Service", "AWS::ElasticLoadBalancingV2::TargetGroup",
        "Custom::EnvControllerFunction", "AWS::CloudFormation::Stack",
    }
)  # fmt: skip
_FREE_ATTRIBUTES = frozenset({"Metadata", "DependsOn"})  # of a resource
_FREE_SECTIONS = frozenset({"AWSTemplateFormatVersion", "Description", "Metadata"})
_RANDOM_PROPERTIES = {"DynamicDesiredCountAction": "UpdateID"}  # different in each of Copilot's renderings
_SHORT = 3  # characters; shorter texts occur by chance


@dataclass(frozen=True)
class Change:
    """A change that a person must trust: `name` is from core.trust, `path` leads to it in the template.

    `search_texts` are the texts by which it is found in the branch's files, the most specific first.
    """

    name: str
    path: tuple[str, ...]
    what: str
    search_texts: tuple[str, ...] = ()
    addons: bool = False


@dataclass(frozen=True)
class Rendered:
    """A service's template with its functions resolved.

    Properties raise ValueError for a malformed template.
    """

    template: Template
    settings: Settings

    @cached_property
    def body(self) -> dict[str, Any]:
        found = template_values.read(self.template.text)
        return dict(Resolver(self.template.parameters).resolve(found))

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        return _mapping(self.body.get("Resources"))

    def properties(self, name: str) -> dict[str, Any]:
        return _mapping(_mapping(self.resources.get(name)).get("Properties"))

    @cached_property
    def addons(self) -> dict[str, Any]:
        """The addons' template, with its parameters App, Env and Name filled in."""
        if not self.template.addons:
            return {}
        given = {"App": self.settings.app, "Env": self.settings.test_env, "Name": self.settings.service}
        return dict(Resolver(given).resolve(template_values.read(self.template.addons)))


def is_copilots(name: str, kind: object) -> bool:
    """Return True if Copilot itself writes a resource with this logical id and type."""
    return any(kind == type_ and re.fullmatch(pattern, name) for pattern, type_ in _COPILOTS)


def changes(branch: Rendered, base: Rendered, not_overridden: Rendered) -> Iterator[Change]:
    """Yield each difference from the baseline that a person must trust, in sections, resources and addons.

    `not_overridden` is the branch's rendering without its overrides: what Copilot itself writes for the
    manifest. template_references checks secrets and other references, template_rules checks listener rules.
    """
    yield from _other_sections(branch, base, not_overridden)
    for name in branch.resources:
        yield from _resource(name, branch, base, not_overridden)
    for name, resource in base.resources.items():
        kind = _mapping(resource).get("Type")
        if name not in branch.resources and not is_copilots(name, kind):
            what = f"it removes {name} ({kind}), which the default branch has"
            yield Change("access", ("Resources", name), what, (name,))
    yield from _addons(branch, base)


def _resource(name: str, branch: Rendered, base: Rendered, not_overridden: Rendered) -> Iterator[Change]:
    resource, before, own = (each.resources.get(name) for each in (branch, base, not_overridden))
    if _same(name, resource, before):
        return
    kind, path = _mapping(resource).get("Type"), ("Resources", name)
    expected = before if before is not None else own
    if expected is None or (before is None and not is_copilots(name, kind)):
        yield Change(
            _trust_of_addition(str(kind)),
            path,
            f"it adds the resource {name} ({kind})",
            _search_texts(name, str(kind)),
        )
    elif kind != _mapping(expected).get("Type"):
        yield Change("resources", path, f"it makes {name} a {kind}", (name, str(kind)))
    elif not is_copilots(name, kind):
        yield Change("resources", path, f"it changes the resource {name} ({kind})", (name,))
    else:
        known = [_mapping(each) for each in (before, own) if each is not None]
        yield from _attributes(name, _mapping(resource), known)
        if kind == "AWS::IAM::Role":
            properties = (each.properties(name) for each in (branch, base, not_overridden))
            yield from _role(name, *properties)
        elif not RULE.fullmatch(name) and kind != "AWS::Route53::RecordSetGroup":  # template_rules
            yield from _properties(name, str(kind), branch, base, not_overridden)


def _other_sections(branch: Rendered, base: Rendered, not_overridden: Rendered) -> Iterator[Change]:
    """Yield the changes of the template's other sections that Copilot itself does not write."""
    for key in branch.body.keys() - _FREE_SECTIONS - {"Resources"}:
        found = branch.body[key]
        if key not in {"Parameters", "Conditions", "Outputs"} or not isinstance(found, dict):
            if found != base.body.get(key):
                yield Change("resources", (key,), f"it changes the template's section {key}", (key,))
            continue
        for name, value in found.items():
            known = [_mapping(each.body.get(key)).get(name) for each in (base, not_overridden)]
            if value not in known:
                what = f"it changes {name} in the template's {key}"
                yield Change("resources", (key, name), what, (f"/{key}/{name}", name))
    for path, text in template_values.texts(branch.body):
        if text == "Fn::Transform" or text.startswith("Fn::ForEach"):
            yield Change("resources", path, "the template holds a transform", (text,))


def _attributes(name: str, resource: Mapping[str, Any], known: list[dict[str, Any]]) -> Iterator[Change]:
    """Yield the changed attributes of a resource, beside its properties, that Copilot did not write."""
    every = {key for each in known for key in each}
    for key in (resource.keys() | every) - {"Type", "Properties"} - _FREE_ATTRIBUTES:
        if resource.get(key) not in [each.get(key) for each in known]:
            path = ("Resources", name, key)
            yield Change("resources", path, f"it changes {key} of {name}", ("/" + "/".join(path), key))


def _properties(
    name: str, kind: str, branch: Rendered, base: Rendered, not_overridden: Rendered
) -> Iterator[Change]:
    found, before, own = (each.properties(name) for each in (branch, base, not_overridden))
    for key in sorted(found.keys() | before.keys()):
        value = found.get(key)
        if value == before.get(key) or key == _RANDOM_PROPERTIES.get(name):
            continue
        verdict = template_properties.verdict(kind, key, value, before.get(key), branch.settings)
        if verdict == template_properties.FREE:
            continue
        if value == own.get(key) and (
            kind in _WRITTEN_BY_COPILOT or (not before and kind not in _WRITTEN_BY_MANIFEST)
        ):
            continue  # it belongs to a feature that the manifest uses
        verdict = verdict or Verdict("resources", f"it changes {key} of {name}")
        path = ("Resources", name, "Properties", key)
        yield Change(verdict.name, path, verdict.what, (*_new_texts(value, before.get(key)), key))


def _role(name: str, found: dict[str, Any], before: dict[str, Any], own: dict[str, Any]) -> Iterator[Change]:
    """Yield the rights of a role beyond the baseline's policies and Copilot's own."""
    if not before and found == own:
        return  # it belongs to a feature that the manifest uses
    expected = before or own
    for key in sorted(found.keys() | expected.keys()):
        path = ("Resources", name, "Properties", key)
        value = found.get(key)
        if key == "Policies":
            yield from _policies(name, _list(value), _list(before.get(key)), _list(own.get(key)))
        elif key == "ManagedPolicyArns":
            for arn in _list(value):
                # `_addons` checks the policies in the addons' own template.
                of_addons = re.fullmatch(r"\$\{AddonsStack\.Outputs\.\w+\}", str(arn)) and arn in _list(
                    own.get(key)
                )
                if arn not in _list(expected.get(key)) and not of_addons:
                    yield Change(
                        "resources", path, f"it gives the role {name} the policy {arn}", (str(arn), key)
                    )
            if value is not None and not isinstance(value, list):
                yield Change("resources", path, f"it changes {key} of the role {name}", (key,))
        elif value != expected.get(key):
            yield Change("resources", path, f"it changes {key} of the role {name}", (key,))


def _policies(role: str, found: list[Any], before: list[Any], own: list[Any]) -> Iterator[Change]:
    path = ("Resources", role, "Properties", "Policies")
    allowed = [_key(each) for each in before]
    allowed += [_key(each) for each in own if _POLICIES.fullmatch(_policy_name(each))]
    for policy in found:
        if _key(policy) in allowed:
            continue
        title = _policy_name(policy)
        of_files = title.startswith("GrantEFSAccess") or title == "GrantAccessCopilotManagedEFS"
        what = f"it gives the role {role} the policy {title or '?'}"
        search_texts = (title, "efs") if of_files else (title,)
        yield Change("references" if of_files else "resources", path, what, search_texts)
    kept = {_key(each) for each in found}
    for policy in before or own:
        if _policy_name(policy) == "DenyIAM" and _key(policy) not in kept:
            yield Change("resources", path, f"it removes the policy DenyIAM from the role {role}")


def _addons(branch: Rendered, base: Rendered) -> Iterator[Change]:
    """Yield the changes of addons.

    A plain resource may be removed, because a branch gains nothing by that.
    """
    found, before = branch.addons, base.addons
    for section in sorted(found.keys() - {"AWSTemplateFormatVersion", "Description", "Metadata"}):
        values, known = found[section], _mapping(before.get(section))
        if not isinstance(values, dict):
            if values != before.get(section):
                yield Change(
                    "resources", (section,), f"the addons' {section} differ", (section,), addons=True
                )
            continue
        for name, value in values.items():
            if value != known.get(name):
                kind = (
                    f" ({_mapping(value).get('Type')})" if section == "Resources" else f" in their {section}"
                )
                what = f"the addons {'change' if name in known else 'add'} {name}{kind}"
                yield Change("resources", (section, name), what, (name,), addons=True)
    for path, text in template_values.texts(found):
        if text == "Fn::Transform" or text.startswith("Fn::ForEach"):
            yield Change("resources", path, "the addons hold a transform", (text,), addons=True)
    for name, value in _mapping(before.get("Resources")).items():
        kind = str(_mapping(value).get("Type"))
        if name not in _mapping(found.get("Resources")) and re.search("WAF|Shield|Policy", kind):
            what = f"the addons remove {name} ({kind})"
            yield Change("access", ("Resources", name), what, (name,), addons=True)


def _same(name: str, found: Any, before: Any) -> bool:
    """Return True where two resources differ only in attributes that are always free; never for a rule."""
    if not isinstance(found, dict) or not isinstance(before, dict) or RULE.fullmatch(name):
        return False
    one, other = (
        {key: value for key, value in each.items() if key not in _FREE_ATTRIBUTES} for each in (found, before)
    )
    return one == other


def _trust_of_addition(kind: str) -> str:
    """Return the name in core.trust that allows an additional resource of a type."""
    if kind.startswith("AWS::Route53::") or kind.endswith("::ListenerRule"):
        return "rules"
    if kind.startswith("AWS::ElasticLoadBalancing") or "SecurityGroup" in kind:
        return "access"
    return "references" if kind.startswith("AWS::EFS::") else "resources"


def _search_texts(name: str, kind: str) -> tuple[str, ...]:
    return (name, kind, *(("nlb",) if "Balancing" in kind else ()))


def _policy_name(policy: Any) -> str:
    """Return a policy's name; a conditional one is in an Fn::If with an empty second branch."""
    inner = _mapping(policy).get("Fn::If")
    if isinstance(inner, list) and inner[2:] == [""]:
        policy = inner[1]
    return str(_mapping(policy).get("PolicyName", ""))


def _new_texts(value: Any, before: Any) -> tuple[str, ...]:
    """Return the first texts of a value that the baseline's value does not contain."""
    known = {text for _, text in template_values.texts(before)}
    found = [
        text
        for path, text in template_values.texts(value)
        if text not in known and len(text) > _SHORT and (not path or text != path[-1])
    ]
    return tuple(found[:4])


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
