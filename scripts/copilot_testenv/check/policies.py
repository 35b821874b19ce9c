"""Find what IAM refuses in the policies of addons, and cfn-lint does not report."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from copilot_testenv.check import keys
from copilot_testenv.check.document import line_of
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project

_TEXT, _LIST = "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq"


def actions(project: Project) -> Iterator[Finding]:
    """Find actions without the prefix of their service.

    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html
    """
    for path, root in keys.addon_trees(project):
        for action in _actions(root):
            what = f"IAM knows no action {action.value}: it lacks the prefix of its service"
            instead = f"write the prefix before it, such as `s3:{action.value}`"
            yield Finding(path, line_of(action), "policy", "error", what, instead)


def _actions(root: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    """Yield the wrong actions of all statements, each node once: it may be an alias."""
    ahead, seen = [root], set[int]()
    while ahead:
        node = ahead.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            ahead += node.value
        if not isinstance(node, yaml.MappingNode):
            continue
        ahead += [value for _, value in node.value]
        names = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
        for listed in (names.get("Action"), names.get("NotAction")) if "Effect" in names else ():
            # A tagged list is a function: `!If [A, B, C]`.
            is_list = isinstance(listed, yaml.SequenceNode) and listed.tag == _LIST
            for action in listed.value if listed and is_list else [listed]:
                if isinstance(action, yaml.ScalarNode) and _is_wrong(action):
                    yield action


def _is_wrong(action: yaml.ScalarNode) -> bool:
    """Return True for a text that is no function of CloudFormation, and names no service."""
    return action.tag == _TEXT and action.value != "*" and ":" not in action.value


RULES = (actions,)
