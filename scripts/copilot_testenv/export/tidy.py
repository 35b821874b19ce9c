"""Correct cfn-lint's findings in a template without a change of what it deploys; disable the others there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from copilot_testenv.copilot.template_lint import LintFinding
from copilot_testenv.export.tree import first, functions, references


def tidy(body: CommentedMap) -> None:
    """Remove unused parts, and DependsOn that references imply; set UpdateReplacePolicy to DeletionPolicy."""
    while _drop_unused(body):
        pass
    for resource in body["Resources"].values():
        _drop_needless_order(resource)
        if "DeletionPolicy" in resource:
            resource.setdefault("UpdateReplacePolicy", resource["DeletionPolicy"])


def excuse(body: CommentedMap, findings: Iterable[LintFinding]) -> list[LintFinding]:
    """Disable cfn-lint's rules, with the reason, at the resources where Copilot's template is known to fail.

    Return the findings that are not in Copilot's own part.
    """
    others = []
    for finding in findings:
        place = finding.path.split("/")
        why = finding.copilots_own
        if why is None or place[0] != "Resources":
            others.append(finding)
            continue
        metadata = _child(body["Resources"][place[1]], "Metadata", first=True)
        rules = _child(_child(metadata, "cfn-lint"), "config").setdefault("ignore_checks", CommentedSeq())
        if finding.rule not in rules:
            rules.append(finding.rule)
            rules.yaml_add_eol_comment(why, len(rules) - 1)
    return others


def _drop_unused(body: CommentedMap) -> bool:
    """Remove parameters and conditions that nothing uses; return True if there were any."""
    named, conditions = references(body), _conditions(body)
    unused = [("Parameters", name) for name in body.get("Parameters", ()) if name not in named]
    unused += [("Conditions", name) for name in body.get("Conditions", ()) if name not in conditions]
    for section, name in unused:
        del body[section][name]
        if not body[section]:
            del body[section]
    return bool(unused)


def _conditions(body: CommentedMap) -> set[str]:
    """Return the conditions that a resource, an output, another condition or an `If` names."""
    held = [*body["Resources"].values(), *body.get("Outputs", {}).values()]
    found = {str(item["Condition"]) for item in held if isinstance(item.get("Condition"), str)}
    for function, value in functions(body):
        if function == "Condition":
            found.add(str(value))
        elif function == "If":
            found.add(str(first(value)))
    return found


def _drop_needless_order(resource: CommentedMap) -> None:
    order = resource.get("DependsOn")
    if order is None:
        return
    given = references(_unconditional(resource.get("Properties")))
    names = [str(name) for name in (order if isinstance(order, list) else [order])]
    kept = [name for name in names if name not in given]
    if not kept:
        del resource["DependsOn"]
    elif len(kept) < len(names):
        resource["DependsOn"] = kept


def _unconditional(node: Any) -> Any:
    """Return the node without `If`: a reference in it implies no order if the condition is false."""
    if any(function == "If" for function, value in functions(node) if value is node):
        return None
    if isinstance(node, dict):
        if "Fn::If" in node:
            return None
        return {key: _unconditional(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unconditional(item) for item in node]
    return node


def _child(node: CommentedMap, key: str, *, first: bool = False) -> CommentedMap:
    if key not in node:
        if first:
            node.insert(0, key, CommentedMap())
        else:
            node[key] = CommentedMap()
    found: CommentedMap = node[key]
    return found
