"""What IAM policies say to an action on a resource: yes, no, or nothing. It knows nobody who asks.

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
    DENIED = "denied"  # by a statement that says Deny
    UNMENTIONED = "unmentioned"  # which denies as well


@dataclass(frozen=True)
class Asked:
    """One action on one resource; `context` holds the condition keys that the call has, in lower case."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def decide(documents: Iterable[Mapping[str, Any]], asked: Asked) -> Decision:
    """Return the verdict of all policies together. Raises ValueError for an operator not known here."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _listed(document["Statement"])
        if _applies(statement, asked)
    }
    if "Deny" in effects:
        return Decision.DENIED
    return Decision.ALLOWED if "Allow" in effects else Decision.UNMENTIONED


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _applies(statement: Mapping[str, Any], asked: Asked) -> bool:
    action = asked.action.lower()
    if "Action" in statement:
        named = any(matches(each.lower(), action) for each in _listed(statement["Action"]))
    else:
        named = not any(matches(each.lower(), action) for each in _listed(statement["NotAction"]))
    if "Resource" in statement:
        meant = any(arn_matches(each, asked.resource) for each in _listed(statement["Resource"]))
    else:
        meant = not any(arn_matches(each, asked.resource) for each in _listed(statement["NotResource"]))
    return named and meant and _conditions_hold(statement.get("Condition", {}), asked.context)


def matches(pattern: str, text: str) -> bool:
    """`*` stands for any letters, `?` for one."""
    return bool(_compiled(pattern).fullmatch(text))


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    signs = {"*": ".*", "?": "."}
    return re.compile("".join(signs.get(each) or re.escape(each) for each in pattern), re.DOTALL)


def arn_matches(pattern: str, arn: str) -> bool:
    """Part by part, so that a wildcard in one does not reach into the next; the last one has no next."""
    parts = pattern.split(":", _PARTS - 1)
    found = arn.split(":", len(parts) - 1)
    return len(found) == len(parts) and all(matches(*pair) for pair in zip(parts, found, strict=True))


def _conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        _holds(operator, context.get(key.lower()), [str(value) for value in _listed(wanted)])
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _same(wanted: str, found: str) -> bool:
    return wanted == found


def _same_but_for_case(wanted: str, found: str) -> bool:
    return wanted.lower() == found.lower()


# An operator and its opposite, which also holds where the key is missing.
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _same,
    "StringEqualsIgnoreCase": _same_but_for_case,
    "StringLike": matches,
    "ArnEquals": arn_matches,
    "ArnLike": arn_matches,
    "Bool": _same_but_for_case,
}
_OPPOSITES = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _holds(operator: str, found: str | None, wanted: list[str]) -> bool:
    name = operator.removesuffix("IfExists")
    if name == "Null":
        return (found is None) == (wanted == ["true"])
    compare = _OPERATORS.get(_OPPOSITES.get(name, name))
    if compare is None:
        raise ValueError(f"the sandbox's IAM does not know the condition operator {operator}")
    if found is None:
        return name in _OPPOSITES or operator != name
    return any(compare(each, found) for each in wanted) == (name not in _OPPOSITES)
