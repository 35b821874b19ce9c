"""A CloudFormation template with comments, order and short tags, as ruamel.yaml reads and writes it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar


def references(node: Any) -> set[str]:
    """Return the names that `Ref`, `GetAtt` and `Sub` in it name, short or long."""
    found = set()
    for function, value in functions(node):
        if function == "Ref":
            found.add(str(value))
        elif function == "GetAtt":
            found.add(str(first(value)).split(".")[0])
        elif function == "Sub":
            found |= {name.split(".")[0] for name in re.findall(r"\$\{([\w.:]+)\}", str(first(value)))}
    return found


def functions(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield each intrinsic function in it with its value: `!Sub x` and `{Fn::Sub: x}` are both ("Sub", x)."""
    tag = tag_of(node)
    if tag:
        yield tag.removeprefix("!"), node.value if isinstance(node, TaggedScalar) else node
    for key, value in items(node):
        if len(node) == 1 and (key in {"Ref", "Condition"} or str(key).startswith("Fn::")):
            yield str(key).removeprefix("Fn::"), value
        yield from functions(value)


def first(value: Any) -> Any:
    """Return the first of a function's arguments, or its only one."""
    return value[0] if isinstance(value, list) and value else value


def items(node: Any) -> list[tuple[Any, Any]]:
    """Yield what a mapping or a list holds, with its key or index; nothing of anything else."""
    if isinstance(node, dict):
        return list(node.items())
    return list(enumerate(node)) if isinstance(node, list) else []


def tagged(tag: str, value: str) -> TaggedScalar:
    return TaggedScalar(value, tag=tag)


def tag_of(node: Any) -> str:
    if isinstance(node, TaggedScalar | CommentedMap | CommentedSeq) and node.tag is not None:
        found = str(node.tag)
        return found if re.fullmatch(r"![A-Z]\w*", found) else ""
    return ""


def loaded(text: str) -> CommentedMap:
    found: CommentedMap = _yaml().load(text)
    return found


def snippet(text: str) -> Any:
    """Return a value of a template, short tags and all."""
    return _yaml().load(text)


def dumped(node: Any) -> str:
    out = io.StringIO()
    _yaml().dump(node, out)
    return out.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a broken line in a script or a policy is hard to compare with Copilot's
    yaml.brace_single_entry_mapping_in_flow_sequence = True  # `[x, a: b]` is not read everywhere
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
