"""Parse CloudFormation's YAML.

The sandbox's control_plane/templates.py has the same loader: the tasks and the sandbox may not import each
other.
"""

from __future__ import annotations

from typing import Any

import yaml

from copilot_testenv.copilot.manifest import LOADER


class _Loader(LOADER):  # type: ignore[misc]  # the base is chosen at run time
    """Load YAML with CloudFormation's short function names. Dates stay text, such as a policy's Version."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own class attribute, replaced and never changed
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in LOADER.yaml_implicit_resolvers.items()
    }


def _function(loader: Any, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def parse(text: str) -> Any:
    """Return a template's content; `!Ref x` becomes {"Ref": x}, `!Sub x` {"Fn::Sub": x}. Raises YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with CloudFormation's tags
