"""The form that CloudFormation requires of a template's blocks and functions, whatever their values are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .errors import TemplateError

_NAME = re.compile("[A-Za-z0-9]+")
_ATTRIBUTES = frozenset(
    {
        "Condition",
        "CreationPolicy",
        "DeletionPolicy",
        "DependsOn",
        "Metadata",
        "Properties",
        "Type",
        "UpdatePolicy",
        "UpdateReplacePolicy",
        "Version",
    }
)
"""Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-product-attribute-reference.html"""


def check_form(template: Mapping[str, Any]) -> None:
    """Raise TemplateError where AWS refuses a block of the template, with its words.

    Source: localstack/localstack, tests/aws/services/cloudformation, recorded from AWS; tests/recorded/ has
    each text with its test.
    """
    resources = template.get("Resources")
    if not resources:
        raise TemplateError("Template format error: At least one Resources member must be defined.")
    if not isinstance(resources, dict) or not all(isinstance(each, dict) for each in resources.values()):
        raise TemplateError("Template format error: Any Resources member must be an object.")
    _check_names("Resource", resources)
    _check_names("Parameter", template.get("Parameters") or {})
    for name, resource in resources.items():
        if not resource.get("Type"):
            raise TemplateError(
                f"Template format error: [/Resources/{name}] Every Resources object must contain a"
                " Type member."
            )
        if unknown := set(resource) - _ATTRIBUTES:
            raise TemplateError(f"Invalid template resource property '{min(unknown)}'")
    _check_mappings(template.get("Mappings") or {})
    _check_outputs(template.get("Outputs") or {})
    for block in ("Conditions", "Resources", "Outputs"):
        _check_functions(template.get(block) or {})


def _check_names(kind: str, block: Mapping[str, Any]) -> None:
    for name in block:
        if not _NAME.fullmatch(str(name)):
            raise TemplateError(f"Template format error: {kind} name {name} is non alphanumeric.")


def _check_mappings(mappings: Mapping[str, Any]) -> None:
    for mapping in mappings.values():
        for key, entry in mapping.items():
            if not isinstance(entry, dict):
                raise TemplateError(f"Template format error: Every Mappings member {key} must be a map")
            if any(isinstance(value, dict) for value in entry.values()):
                raise TemplateError(
                    "Template format error: Every Mappings attribute must be a String or a List."
                )


def _check_outputs(outputs: Mapping[str, Any]) -> None:
    for name, output in outputs.items():
        if not isinstance(output, dict) or "Value" not in output:
            raise TemplateError("Template format error: Every Outputs member must contain a Value object")
        if output["Value"] is None:
            raise TemplateError(f"[/Outputs/{name}/Value] 'null' values are not allowed in templates")


def _check_functions(node: Any) -> None:
    """Check the number of arguments of each function below a node."""
    if isinstance(node, list):
        for item in node:
            _check_functions(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if (check := _ARGUMENTS.get(name)) and not check[0](value):
                raise TemplateError(f"Template error: {check[1]}")
            _check_functions(value)


def _is_list_of_two(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2  # noqa: PLR2004 - the two arguments


def _names_attribute(value: Any) -> bool:
    parts = value.split(".", 1) if isinstance(value, str) else value
    return _is_list_of_two(parts) and all(parts)


_GET_ATT = (
    "every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute"
)
_SPLIT = (
    "every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be split or a"
    " function that returns a string to be split."
)
_ARGUMENTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "Fn::Equals": (_is_list_of_two, "every Fn::Equals object requires a list of 2 string parameters."),
    "Fn::GetAtt": (_names_attribute, _GET_ATT),
    "Fn::Select": (
        _is_list_of_two,
        "Fn::Select requires a list argument with two elements: an integer index and a list",
    ),
    "Fn::Split": (_is_list_of_two, _SPLIT),
}
