"""Read and write a CloudFormation template with ruamel.yaml, which keeps comments, order and short tags."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar


def references(node: Any) -> set[str]:
    """Return the names in all `Ref`, `GetAtt` and `Sub` below a node, in short and long form."""
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
    """Yield each intrinsic function in a node with its value: `!Sub x` and `{Fn::Sub: x}` as ("Sub", x)."""
    tag = tag_of(node)
    if tag:
        yield tag.removeprefix("!"), node.value if isinstance(node, TaggedScalar) else node
    for key, value in items(node):
        if len(node) == 1 and (key in {"Ref", "Condition"} or str(key).startswith("Fn::")):
            yield str(key).removeprefix("Fn::"), value
        yield from functions(value)


def first(value: Any) -> Any:
    """Return a function's first or only argument."""
    return value[0] if isinstance(value, list) and value else value


def items(node: Any) -> list[tuple[Any, Any]]:
    """Return the (key or index, value) pairs of a mapping or a list; empty for other nodes."""
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
    """Parse a value of a template, which may have short tags."""
    return _yaml().load(text)


def dumped(node: Any) -> str:
    out = io.StringIO()
    _yaml().dump(node, out)
    return out.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # wrapped lines of scripts and policies are hard to compare with Copilot's
    yaml.brace_single_entry_mapping_in_flow_sequence = True  # not every parser reads `[x, a: b]`
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
