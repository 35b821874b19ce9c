"""Converts CloudFormation's properties to a service API's input, with botocore's model of the API."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from .templates import as_text


@cache
def operation(service: str, name: str) -> OperationModel:
    return botocore.session.get_session().get_service_model(service).operation_model(name)


def to_api(service: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """Return `properties` with the names and types of an operation's input, without unknown ones."""
    shape = operation(service, name).input_shape
    converted: dict[str, Any] = _convert(shape, properties) if shape else {}
    return converted


def _convert(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        members = {name.lower(): name for name in shape.members}
        return {
            members[key.lower()]: _convert(shape.members[members[key.lower()]], item)
            for key, item in value.items()
            if key.lower() in members
        }
    if isinstance(shape, ListShape):
        return [_convert(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {str(key): _convert(shape.value, item) for key, item in value.items()}
    convert_scalar: Callable[[Any], Any] = _SCALARS.get(str(shape.type_name), as_text)
    return convert_scalar(value)


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": lambda value: as_text(value) == "true",
}
