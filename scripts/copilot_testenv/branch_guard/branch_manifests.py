"""Find the paths and variables in a branch's manifests and addons that Copilot would read, with their lines.

Files are read as YAML nodes, so that anchors, merges (`<<`), repeated keys and the blocks of all environments
are found with their lines. Copilot compares keys exactly and reads the first document of a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from copilot_testenv.copilot import manifest

Keys = tuple[str, ...]
Kind = Literal["file", "dockerfile", "context", "source", "asset"]
# The same pattern as Copilot's; a variable after a backslash is left to the container's shell.
# Source: internal/pkg/manifest/interpolate.go of aws/copilot-cli 1.34.
_VARIABLE = re.compile(r"(\\?)\$\{([_a-zA-Z][_a-zA-Z0-9]*)\}")
OWN_VARIABLES = ("COPILOT_APPLICATION_NAME", "COPILOT_ENVIRONMENT_NAME")
_YAML = "tag:yaml.org,2002:"
_PLAIN = {_YAML + name for name in ("str", "int", "float", "bool", "null", "seq", "map")}
# Mappings with free keys: a key below them has no meaning for Copilot.
_FREE = frozenset({"variables", "secrets", "labels", "args"})
_NAMED = frozenset({"environments", "sidecars"})  # their keys are names
# Paths in addons that Copilot uploads unless they are URLs: the resource's type, and the keys of the path.
# Source: internal/pkg/addon/package.go of aws/copilot-cli 1.34.
_ASSETS: Mapping[str, Sequence[Keys]] = {
    "AWS::ApiGateway::RestApi": [("BodyS3Location",)],
    "AWS::Lambda::Function": [("Code",)],
    "AWS::Lambda::LayerVersion": [("Content",)],
    "AWS::Serverless::Function": [("CodeUri",)],
    "AWS::Serverless::LayerVersion": [("ContentUri",)],
    "AWS::Serverless::Application": [("Location",)],
    "AWS::AppSync::GraphQLSchema": [("DefinitionS3Location",)],
    "AWS::AppSync::Resolver": [
        ("RequestMappingTemplateS3Location",),
        ("ResponseMappingTemplateS3Location",),
    ],
    "AWS::AppSync::FunctionConfiguration": [
        ("RequestMappingTemplateS3Location",),
        ("ResponseMappingTemplateS3Location",),
    ],
    "AWS::Serverless::Api": [("DefinitionUri",)],
    "AWS::ElasticBeanstalk::ApplicationVersion": [("SourceBundle",)],
    "AWS::CloudFormation::Stack": [("TemplateURL",)],
    "AWS::Glue::Job": [("Command", "ScriptLocation")],
    "AWS::StepFunctions::StateMachine": [("DefinitionS3Location",)],
    "AWS::Serverless::StateMachine": [("DefinitionUri",)],
    "AWS::CodeCommit::Repository": [("Code", "S3")],
}
_URL = ("s3://", "http://", "https://")


@dataclass(frozen=True)
class Named:
    """A path in a file, with its line, from 1."""

    kind: Kind
    path: str
    line: int


@dataclass(frozen=True)
class Read:
    """A YAML file: its documents as nodes, and its tags and variables with their lines."""

    documents: tuple[yaml.Node, ...]
    tags: tuple[tuple[int, str], ...]  # tags that change the type of a value
    variables: tuple[tuple[int, str], ...]  # variables that Copilot would fill in


def read(file: Path) -> Read:
    """Read a manifest or a template. Raises OSError, ValueError, RecursionError, YAMLError."""
    text = file.read_bytes().decode("utf-8").removeprefix(manifest.BOM)
    tags, variables = [], []
    for event in manifest.events(text):
        line = _line(event)
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _PLAIN:
            tags.append((line, tag))
        if isinstance(event, yaml.ScalarEvent):
            variables += [(line, match[2]) for match in _VARIABLE.finditer(event.value) if not match[1]]
    documents = tuple(node for node in yaml.compose_all(text, Loader=manifest.LOADER) if node is not None)
    return Read(documents, tuple(tags), tuple(variables))


def _line(element: yaml.Event | yaml.Node) -> int:
    mark = element.start_mark
    return mark.line + 1 if mark else 1


def filled(text: str, values: Mapping[str, str]) -> str:
    """Return the text with variables filled in as by Copilot; undefined variables stay."""
    filled_in = text
    for escape, name in _VARIABLE.findall(text):
        if escape:
            filled_in = filled_in.replace(f"\\${{{name}}}", f"${{{name}}}")
        elif name in values:
            filled_in = filled_in.replace(f"${{{name}}}", values[name])
    return filled_in


def paths(found: Read) -> Iterator[Named]:
    """Yield every path that a manifest names, in any block."""
    for document in found.documents:
        yield from _paths(document, ())


def caches(found: Read) -> Iterator[tuple[int, str]]:
    """Yield the values of `cache_from` with their lines: Docker accepts more there than images."""
    for document in found.documents:
        for keys, node in _scalars(document, ()):
            if "cache_from" in keys[-2:]:
                yield _line(node), node.value


def _paths(document: yaml.Node, keys: Keys) -> Iterator[Named]:
    scalars = list(_scalars(document, keys))
    contexts = {at[:-1] for at, _ in scalars if at[-2:] == ("build", "context")}
    for at, node in scalars:
        line = _line(node)
        if len(at) > 1 and at[-2] in _FREE and at[-3:-2] not in {(name,) for name in _NAMED}:
            continue
        if at[-1:] == ("env_file",):
            yield Named("file", node.value, line)
        elif at[-2:] == ("image", "build"):
            yield from _built(node.value, None, line)
        elif at[-2:] == ("build", "dockerfile"):
            yield Named("dockerfile", node.value, line)
            if contexts.isdisjoint({at[:-1], _in_base(at[:-1])}):
                yield Named("context", os.path.dirname(node.value) or ".", line)  # noqa: PTH120 - Copilot's filepath.Dir
        elif at[-2:] == ("build", "context"):
            yield from _built(None, node.value, line)
        elif at[-3:] == ("files", "-", "source"):
            yield Named("source", node.value, line)


def _in_base(keys: Keys) -> Keys:
    """Return the keys of the same place in the base, for keys in an environment's block."""
    return keys[2:] if keys[:1] == ("environments",) else keys


def _built(dockerfile: str | None, context: str | None, line: int) -> Iterator[Named]:
    """Yield the Dockerfile and the context, where the manifest names one or both; see manifest.build."""
    if not (dockerfile or context):
        return
    build = manifest.build({"dockerfile": dockerfile, "context": context})
    if build:
        yield Named("dockerfile", build.dockerfile, line)
        yield Named("context", build.context, line)


def _scalars(node: yaml.Node, keys: Keys) -> Iterator[tuple[Keys, yaml.ScalarNode]]:
    """Yield each scalar with the keys that lead to it; an item of a list is `-`."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value.strip() if isinstance(key, yaml.ScalarNode) else ""
            if name == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    yield from _scalars(merged, keys)
            else:
                yield from _scalars(value, (*keys, name))
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(item, (*keys, "-"))
    elif isinstance(node, yaml.ScalarNode):
        yield keys, node


def assets(found: Read) -> Iterator[Named]:
    """Yield every path in an addon's template that Copilot would upload."""
    for document in found.documents:
        for resources in _values(document, "Resources"):
            for _, resource in resources.value if isinstance(resources, yaml.MappingNode) else ():
                for kind in _values(resource, "Type"):
                    for keys in _ASSETS.get(str(kind.value), ()):
                        yield from _uploaded(_under(resource, ("Properties", *keys)))
        yield from _uploaded(_included(document))


def _included(node: yaml.Node) -> Iterator[yaml.Node]:
    """Yield the `Location` of each transform; Copilot uploads that of AWS::Include."""
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == "Fn::Transform":
                yield from _under(value, ("Parameters", "Location"))
            children.append(value)
        if node.tag == "!Transform":
            yield from _under(node, ("Parameters", "Location"))
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    for child in children:
        yield from _included(child)


def _uploaded(nodes: Iterator[yaml.Node]) -> Iterator[Named]:
    for node in nodes:
        if isinstance(node, yaml.ScalarNode) and node.value and not node.value.startswith(_URL):
            yield Named("asset", node.value, _line(node))


def _under(node: yaml.Node, keys: Keys) -> Iterator[yaml.Node]:
    if not keys:
        yield node
        return
    for value in _values(node, keys[0]):
        yield from _under(value, keys[1:])


def _values(node: yaml.Node, name: str) -> Iterator[yaml.Node]:
    """Yield every value under a key, also repeated ones and those from merges."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == name:
            yield value
        elif key.value == "<<":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _values(merged, name)
