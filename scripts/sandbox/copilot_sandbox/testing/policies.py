"""IAM's decision on an action and a resource by policies: allowed, denied or not mentioned.

Sources: reference_policies_evaluation-logic.html, reference_policies_elements_resource.html and
reference_policies_elements_condition_operators.html in https://docs.aws.amazon.com/IAM/latest/UserGuide/.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_PARTS = 6  # arn:partition:service:region:account:resource


class Decision(Enum):
    ALLOWED = "allowed"
    DENIED = "denied"  # by a statement with Deny
    UNMENTIONED = "unmentioned"  # this also denies


@dataclass(frozen=True)
class Permission:
    """An action on a resource. `context` has the call's condition keys, in lower case."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def decide(documents: Iterable[Mapping[str, Any]], need: Permission) -> Decision:
    """Return the decision of all policies together. Raises ValueError for an unknown condition operator."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _as_list(document["Statement"])
        if _applies(statement, need)
    }
    if "Deny" in effects:
        return Decision.DENIED
    return Decision.ALLOWED if "Allow" in effects else Decision.UNMENTIONED


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _applies(statement: Mapping[str, Any], need: Permission) -> bool:
    action = need.action.lower()
    if "Action" in statement:
        named = any(matches(each.lower(), action) for each in _as_list(statement["Action"]))
    else:
        named = not any(matches(each.lower(), action) for each in _as_list(statement["NotAction"]))
    if "Resource" in statement:
        covered = any(arn_matches(each, need.resource) for each in _as_list(statement["Resource"]))
    else:
        covered = not any(arn_matches(each, need.resource) for each in _as_list(statement["NotResource"]))
    return named and covered and _conditions_hold(statement.get("Condition", {}), need.context)


def matches(pattern: str, text: str) -> bool:
    """Return True if the pattern matches: `*` is any text, `?` any one character."""
    return bool(_pattern(pattern).fullmatch(text))


@functools.lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": "."}
    return re.compile("".join(wildcards.get(char) or re.escape(char) for char in pattern), re.DOTALL)


def arn_matches(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part: a wildcard does not match across parts, except in the last one."""
    parts = pattern.split(":", _PARTS - 1)
    arn_parts = arn.split(":", len(parts) - 1)
    return len(arn_parts) == len(parts) and all(matches(*pair) for pair in zip(parts, arn_parts, strict=True))


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _holds(operator, context.get(key.lower()), [str(value) for value in _as_list(wanted)])
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _equal(wanted: str, found: str) -> bool:
    return wanted == found


def _equal_ignoring_case(wanted: str, found: str) -> bool:
    return wanted.lower() == found.lower()


# Each operator has an opposite, which is also true if the key is missing.
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": matches,
    "ArnEquals": arn_matches,
    "ArnLike": arn_matches,
    "Bool": _equal_ignoring_case,
}
_OPPOSITES = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(operator: str, value: str | None, wanted: list[str]) -> bool:
    name = operator.removesuffix("IfExists")
    if name == "Null":
        return (value is None) == (wanted == ["true"])
    compare = _OPERATORS.get(_OPPOSITES.get(name, name))
    if compare is None:
        raise ValueError(f"the sandbox's IAM does not know the condition operator {operator}")
    if value is None:
        return name in _OPPOSITES or operator != name
    return any(compare(item, value) for item in wanted) == (name not in _OPPOSITES)
