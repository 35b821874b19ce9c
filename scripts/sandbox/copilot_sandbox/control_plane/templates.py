"""Reads a CloudFormation template and resolves its functions to values."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import yaml

from .errors import TemplateError
from .template_form import check_form

_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]+)\}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_SSM_PARAMETER = "AWS::SSM::Parameter::Value<"


_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SAFE):  # type: ignore[misc]  # the base is chosen at run time
    """YAML with CloudFormation's short function names. Dates stay text, as in the Version of a policy.

    The tasks' copilot/cloudformation.py has the same loader: the two parts may not import each other.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own class attribute, replaced and never changed
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _SAFE.yaml_implicit_resolvers.items()
    }


def _construct_function(loader: Any, suffix: str, node: yaml.Node) -> dict[str, Any]:
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


_Loader.add_multi_constructor("!", _construct_function)


class _Absent:
    """AWS::NoValue: removes the property or list item."""

    def __repr__(self) -> str:
        return "AWS::NoValue"


ABSENT = _Absent()


class Unknown(str):
    """A value that a change set cannot know yet, because its resource does not exist yet."""

    __slots__ = ()


def read_template(text: str) -> dict[str, Any]:
    """Parse a template in YAML or JSON. Raises TemplateError if AWS would refuse its form."""
    try:
        if text.lstrip().startswith("{"):
            json.loads(text)
        template = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with CloudFormation's tags
    except json.JSONDecodeError as error:
        place = f"(line {error.lineno}, column {error.colno + 1})"
        raise TemplateError(f"Template format error: JSON not well-formed. {place}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise TemplateError(f"Template format error: YAML not well-formed.{place}") from error
    if not isinstance(template, dict):
        raise TemplateError("Template format error: unsupported structure.")
    check_form(template)
    return template


def references(node: Any) -> Iterator[str]:
    """Yield the names that Ref, Fn::GetAtt and Fn::Sub use, including parameters."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref" and isinstance(value, str):
                yield value
            elif key == "Fn::GetAtt":
                yield str(value[0] if isinstance(value, list) else value.split(".", 1)[0])
                yield from references(value)
            elif key == "Fn::Sub":
                text, local_names = value if isinstance(value, list) else (value, {})
                yield from (
                    name.strip().split(".", 1)[0]
                    for literal, name in _SUBSTITUTION.findall(text)
                    if not literal and name.strip() not in local_names
                )
                yield from references(value)
            else:
                yield from references(value)


def in_order(resources: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sort resources so that each comes after its dependencies.

    Raises TemplateError on a circular dependency.
    """

    def dependencies(name: str) -> list[str]:
        depends = resources[name].get("DependsOn", [])
        names = [depends] if isinstance(depends, str) else list(depends)
        names += references(resources[name].get("Properties", {}))
        return [other for other in names if other in resources and other != name]

    try:
        return list(TopologicalSorter({name: dependencies(name) for name in resources}).static_order())
    except CycleError as error:
        circle = ", ".join(reversed(error.args[1][1:]))
        raise TemplateError(f"Circular dependency between resources: [{circle}]") from None


def resolve_parameters(
    template: Mapping[str, Any], given: Mapping[str, str], ssm: Callable[[str], str]
) -> dict[str, Any]:
    """Combine given values with defaults and check them as AWS does.

    `ssm` looks up parameters of type AWS::SSM::Parameter::Value. Raises TemplateError.
    """
    declared = template.get("Parameters") or {}
    if unknown := [key for key in given if key not in declared]:
        raise TemplateError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    values: dict[str, Any] = {}
    missing = []
    for name, declaration in declared.items():
        value = given.get(name, declaration.get("Default"))
        if value is None:
            missing.append(name)
            continue
        text = as_text(value)
        if declaration.get("Type") == "Number" and not _NUMBER.fullmatch(text):
            raise TemplateError(f"Parameter '{name}' must be a number.")
        allowed = [as_text(item) for item in declaration.get("AllowedValues", [])]
        if allowed and text not in allowed:
            raise TemplateError(f"Parameter '{name}' must be one of AllowedValues")
        kind = str(declaration.get("Type", "String"))
        if kind.startswith(_SSM_PARAMETER):
            text = ssm(text)
        is_list = kind == "CommaDelimitedList" or kind.startswith(("List<", f"{_SSM_PARAMETER}List<"))
        values[name] = text.split(",") if is_list else text
    if missing:
        raise TemplateError(f"Parameters: [{', '.join(missing)}] must have values")
    return values


def as_text(value: Any) -> str:
    """Return a scalar as CloudFormation writes it, with booleans in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass
class Scope:
    """The meanings of names while a template is resolved."""

    template: Mapping[str, Any]
    values: Mapping[str, Any]  # parameters and AWS::… pseudo parameters
    resource: Callable[[str], str]  # logical id → the value of Ref
    attribute: Callable[[str, str], Any]
    export: Callable[[str], str]
    imported: set[str] = field(default_factory=set)  # the exports that were read
    _conditions: dict[str, bool] = field(default_factory=dict)

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            declared = self.template.get("Conditions") or {}
            if name not in declared:
                raise TemplateError(f"Template error: unresolved condition dependency {name}")
            self._conditions[name] = self._holds(declared[name])
        return self._conditions[name]

    def _holds(self, node: Any) -> bool:
        if isinstance(node, dict) and len(node) == 1:
            ((key, value),) = node.items()
            if key == "Condition":
                return self.condition(value)
            if key == "Fn::Equals":
                left, right = (self.resolve(item) for item in value)
                return as_text(left) == as_text(right)
            if key == "Fn::Not":
                return not self._holds(value[0])
            if key == "Fn::And":
                return all(self._holds(item) for item in value)
            if key == "Fn::Or":
                return any(self._holds(item) for item in value)
        raise TemplateError(f"Template error: {json.dumps(node)} is not a condition")

    def resolve(self, node: Any) -> Any:
        """Replace every function in `node` by its value. Values that are AWS::NoValue are removed."""
        if isinstance(node, list):
            return [value for item in node if (value := self.resolve(item)) is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((key, value),) = node.items()
            if key == "Ref":
                return self._ref(value)
            if key.startswith("Fn::"):
                return self._call(key, value)
        resolved = {key: self.resolve(value) for key, value in node.items()}
        return {key: value for key, value in resolved.items() if value is not ABSENT}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return ABSENT
        if name in self.values:
            return self.values[name]
        if name in self.template["Resources"]:
            return self.resource(name)
        raise TemplateError(
            f"Template format error: Unresolved resource dependencies [{name}] in the Resources block of the"
            " template"
        )

    def _call(self, function: str, value: Any) -> Any:
        method = {
            "Fn::Base64": self._base64,
            "Fn::FindInMap": self._find_in_map,
            "Fn::GetAZs": self._zones,
            "Fn::GetAtt": self._get_att,
            "Fn::If": self._if,
            "Fn::ImportValue": self._import,
            "Fn::Join": self._join,
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::Sub": self._sub,
        }.get(function)
        if method is None:
            raise TemplateError(f"Template error: the embedded AWS does not know {function}")
        return method(value)

    def _base64(self, value: Any) -> str:
        return base64.b64encode(as_text(self.resolve(value)).encode()).decode()

    def _find_in_map(self, value: Any) -> Any:
        entry: Any = self.template.get("Mappings") or {}
        resolved = [self.resolve(item) for item in value]
        if any(isinstance(item, Unknown) for item in resolved):
            return Unknown("unknown")
        keys = [as_text(item) for item in resolved]
        for key in keys:
            try:
                entry = entry[key]
            except (KeyError, TypeError):
                raise TemplateError(f"Template error: Unable to get mapping for {'::'.join(keys)}") from None
        return self.resolve(entry)

    def _zones(self, value: Any) -> list[str]:
        region = self.resolve(value) or self.values["AWS::Region"]
        return [f"{region}{zone}" for zone in "abcdef"]

    def _get_att(self, value: Any) -> Any:
        name, attribute = value.split(".", 1) if isinstance(value, str) else value
        if name not in self.template["Resources"]:
            raise TemplateError(
                f"Template error: instance of Fn::GetAtt references undefined resource {name}"
            )
        return self.attribute(name, self.resolve(attribute))

    def _if(self, value: Any) -> Any:
        name, yes, no = value
        return self.resolve(yes if self.condition(name) else no)

    def _import(self, value: Any) -> str:
        name = as_text(self.resolve(value))
        self.imported.add(name)
        return self.export(name)

    def _join(self, value: Any) -> str:
        delimiter, items = value[0], self.resolve(value[1])
        if isinstance(items, Unknown):
            return items
        return str(delimiter).join(as_text(item) for item in items)

    def _select(self, value: Any) -> Any:
        place, items = as_text(self.resolve(value[0])), self.resolve(value[1])
        if isinstance(items, Unknown):
            return items
        if not place.isdecimal() or not isinstance(items, list):
            raise TemplateError(
                "Template error: Fn::Select requires a list argument with two elements: an integer index and"
                " a list"
            )
        index = int(place)
        if index < len(items):
            return items[index]
        if any(isinstance(item, Unknown) for item in items):
            return Unknown("unknown")
        raise TemplateError(f"Template error: Fn::Select cannot select nonexistent value at index {index}")

    def _split(self, value: Any) -> list[str]:
        delimiter, text = value[0], self.resolve(value[1])
        return [text] if isinstance(text, Unknown) else as_text(text).split(delimiter)

    def _sub(self, value: Any) -> str:
        text, local_values = value if isinstance(value, list) else (value, {})
        variables = {name: self.resolve(item) for name, item in local_values.items()}

        def replacement(match: re.Match[str]) -> str:
            literal, name = match[1], match[2].strip()
            if literal:
                return f"${{{match[2]}}}"
            if name in variables:
                return as_text(variables[name])
            if "." in name and name not in self.values:
                return as_text(self._get_att(name))
            return as_text(self._ref(name))

        return _SUBSTITUTION.sub(replacement, text)
