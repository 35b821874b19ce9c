"""The constraints of botocore's service models: AWS refuses a value that breaks one, and moto accepts it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from botocore.exceptions import BotoCoreError
from botocore.model import OperationNotFoundError, Shape

from .failures import CallFailed, Failure
from .shapes import operation

# The error's code by service. Source: the service's page "Common Errors", and localstack/localstack,
# tests/aws/services/*/*.snapshot.json: "1 validation error detected".
_CODES = {
    "cloudformation": "ValidationError",
    "iam": "ValidationError",
    "kms": "ValidationException",
    "logs": "InvalidParameterException",
    "secretsmanager": "ValidationException",
    "sts": "ValidationError",
}


def require_constraints(service: str, name: str, given: Mapping[str, Any]) -> None:
    """Raise CallFailed where a top-level parameter breaks a constraint; others check for themselves."""
    if service not in _CODES:
        return
    try:
        shape = operation(service, name).input_shape
    except (BotoCoreError, OperationNotFoundError):  # moto answers that the operation is unknown
        return
    members = shape.members if shape is not None else {}
    broken = [
        f"Value {_shown(value, members[key])}at '{key[0].lower()}{key[1:]}' failed to satisfy"
        f" constraint: {text}"
        for key, value in given.items()
        if key in members
        for text in _broken(members[key], value)
    ]
    if broken:
        noun = "error" if len(broken) == 1 else "errors"
        message = f"{len(broken)} validation {noun} detected: {'; '.join(broken)}"
        raise CallFailed(Failure(400, _CODES[service], message))


def _shown(value: Any, shape: Shape) -> str:
    return "" if shape.metadata.get("sensitive") or not isinstance(value, (str, int)) else f"'{value}' "


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    limits = shape.metadata
    if shape.type_name in ("integer", "long"):
        if "max" in limits and int(value) > limits["max"]:
            yield f"Member must have value less than or equal to {limits['max']}"
        if "min" in limits and int(value) < limits["min"]:
            yield f"Member must have value greater than or equal to {limits['min']}"
    elif isinstance(value, (str, list)):
        if "max" in limits and len(value) > limits["max"] and shape.type_name != "blob":
            yield f"Member must have length less than or equal to {limits['max']}"
        if len(value) < limits.get("min", 0):
            yield f"Member must have length greater than or equal to {limits['min']}"
        if isinstance(value, str) and limits.get("enum") and value not in limits["enum"]:
            yield f"Member must satisfy enum value set: [{', '.join(limits['enum'])}]"
        if isinstance(value, str) and "pattern" in limits and not _matches(limits["pattern"], value):
            yield f"Member must satisfy regular expression pattern: {limits['pattern']}"


@cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(pattern)
    except re.error:  # a pattern of Java's that Python does not have
        return None


def _matches(pattern: str, value: str) -> bool:
    compiled = _compiled(pattern)
    return compiled is None or compiled.fullmatch(value) is not None
