"""The names that a template uses, checked before CloudFormation creates anything."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .errors import TemplateError
from .templates import Scope, references


def check_references(template: Mapping[str, Any]) -> None:
    """Raise TemplateError where a resource uses a name, or a condition, that the template does not have."""
    known = {*template["Resources"], *(template.get("Parameters") or {})}
    missing = {
        name: None
        for resource in template["Resources"].values()
        for name in (*references(resource.get("Properties") or {}), *_depends_on(resource))
        if name not in known and not name.startswith("AWS::") and "." not in name
    }
    if missing:
        raise _unresolved(missing, "Resources")
    conditions = template.get("Conditions") or {}
    for name in _conditions(template["Resources"]):
        if name not in conditions:
            raise TemplateError(f"Template error: unresolved condition dependency {name} in Fn::If")


def require_made(template: Mapping[str, Any], scope: Scope, names: Collection[str]) -> None:
    """Raise TemplateError where something refers to a resource that its condition leaves out."""
    left_out = set(template["Resources"]) - set(names)
    used = (template["Resources"][name].get("Properties") or {} for name in names)
    if missing := {name: None for node in used for name in _used(node, scope) if name in left_out}:
        raise _unresolved(missing, "Resources")
    outputs = (
        output["Value"]
        for output in (template.get("Outputs") or {}).values()
        if "Condition" not in output or scope.condition(output["Condition"])
    )
    if missing := {name: None for node in outputs for name in _used(node, scope) if name in left_out}:
        raise TemplateError(
            f"Unresolved resource dependencies [{', '.join(missing)}] in the Outputs block of the template"
        )


def _unresolved(names: Collection[str], block: str) -> TemplateError:
    return TemplateError(
        f"Template format error: Unresolved resource dependencies [{', '.join(names)}] in the {block} block"
        " of the template"
    )


def _depends_on(resource: Mapping[str, Any]) -> list[str]:
    names = resource.get("DependsOn", [])
    return [names] if isinstance(names, str) else list(names)


def _conditions(node: Any) -> Iterator[str]:
    """Yield the condition of each Fn::If below a node."""
    if isinstance(node, list):
        for item in node:
            yield from _conditions(item)
    elif isinstance(node, dict):
        if isinstance(choice := node.get("Fn::If"), list) and choice:
            yield str(choice[0])
        for value in node.values():
            yield from _conditions(value)


def _used(node: Any, scope: Scope) -> Iterator[str]:
    """Yield the names that a node uses in the branches of Fn::If that are taken."""
    if isinstance(node, dict) and set(node) == {"Fn::If"}:
        name, yes, no = node["Fn::If"]
        yield from _used(yes if scope.condition(name) else no, scope)
    elif isinstance(node, dict) and len(node) == 1 and next(iter(node)) in ("Ref", "Fn::GetAtt", "Fn::Sub"):
        yield from references(node)
    elif isinstance(node, (dict, list)):
        for item in node.values() if isinstance(node, dict) else node:
            yield from _used(item, scope)
