"""Resolve the intrinsic functions of a rendered template, so that no spelling hides a value.

A value that only AWS knows becomes text too: `${TargetGroup}`, `${Service.Name}`, `${Fn::Select:…}`,
`${ImportValue:demo-test-VpcId}`. A literal `${` becomes `${!`, as in Fn::Sub. Conditions are not evaluated:
both branches of Fn::If are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from copilot_testenv.copilot import cloudformation
from copilot_testenv.copilot.manifest import LOADER, events

# Parameters whose value at the deploy differs from that of `package`, because something is uploaded.
LATE = re.compile(r"ContainerImage|AddonsTemplateURL|(Logging)?EnvFileARN\w*")
_VARIABLE = re.compile(r"\$\{(!?)([^}]*)\}")
_YAML = "tag:yaml.org,2002:"
_TAGS = frozenset({"bool", "float", "int", "map", "null", "seq", "str", "timestamp", "value"})
_PAIR = 2  # arguments of a function
_NOTHING = object()  # Ref AWS::NoValue


@lru_cache(maxsize=8)
def read(text: str) -> dict[str, Any]:
    """Return the template's content. Raises ValueError where a key is repeated, or `<<` merges a mapping.

    CloudFormation and this parser may use different values of a repeated key, and CloudFormation has no
    merge.
    """
    try:
        for _ in events(text):  # rejects hostile YAML
            pass
        root = yaml.compose(text, Loader=LOADER)
        _require_plain(root)
        found = cloudformation.parse(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise ValueError("it is not a mapping")  # noqa: TRY004 - the text is wrong, not its type
    return found


def _require_plain(node: yaml.Node | None) -> None:
    if node is not None and node.tag.startswith(_YAML) and node.tag.removeprefix(_YAML) not in _TAGS:
        raise ValueError(f"line {node.start_mark.line + 1}: the tag {node.tag} is not CloudFormation's")
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge" or not isinstance(key, yaml.ScalarNode):
                raise ValueError(f"line {key.start_mark.line + 1}: a key that is not a text, or a merge")
            if key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value} is repeated")
            seen.add(key.value)
            _require_plain(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _require_plain(item)


class Resolver:
    """Resolve the functions of one template with the values of its parameters."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = {
            name: str(value) for name, value in parameters.items() if not LATE.fullmatch(name)
        }
        self._same: dict[str, str] = {}
        # `arn:aws:kms:REGION:ACCOUNT:key/…`: this region and account, written literally, equal the variables.
        key = self._parameters.get("ArtifactKeyARN", "").split(":")
        if len(key) > 5 and key[3] and key[4]:  # noqa: PLR2004 - an ARN has six parts
            self._same = {f":{key[3]}:{key[4]}:": ":${AWS::Region}:${AWS::AccountId}:"}

    def resolve(self, value: Any) -> Any:
        """Return plain mappings, lists and texts.

        A mapping with the one key `Fn::…` could not be resolved.
        """
        resolved = self._value(value)
        return "" if resolved is _NOTHING else resolved

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict):
            if len(value) == 1:
                ((name, argument),) = value.items()
                if name == "Ref" or (isinstance(name, str) and name.startswith("Fn::")):
                    return self._function(name, argument)
            pairs = ((str(key), self._value(item)) for key, item in value.items())
            return {key: item for key, item in pairs if item is not _NOTHING}
        if isinstance(value, list):
            return [item for item in map(self._value, value) if item is not _NOTHING]
        return self._text(value)

    def _text(self, value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        text = "" if value is None else str(value)
        return self._placed(text.replace("${", "${!"))

    def _placed(self, text: str) -> str:
        for literal, token in self._same.items():
            text = text.replace(literal, token)
        return text.replace("arn:aws:", "arn:${AWS::Partition}:")

    def _function(self, name: str, argument: Any) -> Any:
        if name == "Ref":
            return _NOTHING if argument == "AWS::NoValue" else self._named(str(argument))
        if name == "Fn::GetAtt":
            parts = argument if isinstance(argument, list) else [argument]
            return f"${{{'.'.join(str(part) for part in parts)}}}"
        if name == "Fn::Sub":
            return self._substituted(argument)
        if name == "Fn::If":
            items = argument if isinstance(argument, list) else [argument]
            return {name: ["" if item is _NOTHING else item for item in map(self._value, items)]}
        found = self._value(argument)
        if name == "Fn::ImportValue" and isinstance(found, str):
            return f"${{ImportValue:{found}}}"
        resolve = {"Fn::Join": self._joined, "Fn::Select": _selected, "Fn::Split": _split}.get(name)
        resolved = resolve(*found) if resolve and isinstance(found, list) and len(found) == _PAIR else None
        return {name: found} if resolved is None else resolved

    def _joined(self, delimiter: Any, parts: Any) -> str | None:
        if not isinstance(parts, list):
            return None
        return self._placed(str(delimiter).join(_as_text(part) for part in parts))

    def _named(self, name: str) -> str:
        if name in self._parameters:
            return self._text(self._parameters[name])
        return f"${{{name}}}"

    def _substituted(self, argument: Any) -> str:
        text, own = (argument[0], argument[1]) if isinstance(argument, list) else (argument, {})
        given = (
            {key: _as_text(self._value(item)) for key, item in own.items()} if isinstance(own, dict) else {}
        )

        def value(match: re.Match[str]) -> str:
            if match[1]:
                return match[0]
            return given[match[2]] if match[2] in given else self._named(match[2].strip())

        return self._placed(_VARIABLE.sub(value, str(text)))


def _selected(index: Any, values: Any) -> Any:
    known = isinstance(values, list) and str(index).isdigit() and int(index) < len(values)
    return values[int(index)] if known else None


def _split(delimiter: Any, text: Any) -> list[str] | None:
    """Return the parts of a text; None where it contains a value that only AWS knows."""
    if not delimiter or not isinstance(text, str) or "${" in text.replace("${!", ""):
        return None
    return text.split(str(delimiter))


def _as_text(value: Any) -> str:
    """Return a value as text, to be a part of another text, even if it could not be resolved."""
    if isinstance(value, str):
        return value
    if value is _NOTHING:
        return ""
    if isinstance(value, dict) and len(value) == 1:
        ((name, argument),) = value.items()
        return f"${{{name}:{json.dumps(argument, sort_keys=True)}}}"
    return json.dumps(value, sort_keys=True)


def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each text with the keys that lead to it; the keys of mappings are texts too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts(item, (*path, str(number)))
    else:
        yield path, str(value)
