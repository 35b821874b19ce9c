"""Read a YAML file of the repository with the line of each key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.copilot import manifest
from copilot_testenv.core.errors import SettingsError


class _Loader(manifest.LOADER):  # type: ignore[misc]  # PyYAML's loader in C, or in Python
    """A safe loader that reads a value with a tag, such as `!Ref`, as if it had none: so does Copilot."""


def _untagged(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _untagged)


@dataclass(frozen=True)
class Document:
    """A manifest: `path` relative to the repository, its text, and the parsed `data`."""

    path: str
    text: str
    data: dict[str, Any]

    @cached_property
    def root(self) -> yaml.Node:
        """Return the file as YAML nodes: every key with its line, also a repeated key."""
        node = yaml.compose(self.text, Loader=manifest.LOADER)
        assert node is not None  # noqa: S101 - it has been read as a mapping
        return node

    def line(self, *keys: str | int) -> int:
        """Return the line, from 1, of the key or item that these keys lead to.

        If it does not exist, return the line of the last key on the way that exists.
        """
        node, line = self.root, 1
        for key in keys:
            child = _child(node, key)
            if child is None:
                break
            line, node = child
        return line

    def node(self, *keys: str | int) -> yaml.Node | None:
        """Return the value under these keys as a node; None if there is none."""
        node: yaml.Node | None = self.root
        for key in keys:
            child = _child(node, key) if node is not None else None
            node = child[1] if child else None
        return node

    def get(self, *keys: str | int) -> Any:
        """Return the value under these keys; None if there is no value."""
        value: Any = self.data
        for key in keys:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def nearest(self, environment: str, *keys: str | int) -> tuple[str | int, ...]:
        """Return the keys of an environment's value: in its own block if it is there, else in the base."""
        own = ("environments", environment, *keys)
        return own if self.get(*own) is not None else keys


def read(file: Path, root: Path) -> Document:
    """Read the document. Raise SettingsError where it cannot be read as a mapping."""
    try:
        if not file.is_file():  # reading a device would never end
            raise SettingsError(f"The manifest {file} is not a regular file.")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The manifest {file} cannot be read: {error}.") from error
    return of_text(text, file.relative_to(root).as_posix())


def of_text(text: str, path: str) -> Document:
    """Return the document of a text. Raise SettingsError where it is not a mapping."""
    return Document(path, text, _with_on(manifest.parse(text, path, _Loader)))


def _with_on(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data in which a job's key `on` is called so: PyYAML takes it for true, Copilot does not."""
    blocks = data.get("environments")
    for holder in (data, *(blocks.values() if isinstance(blocks, dict) else ())):
        if isinstance(holder, dict) and True in holder:
            holder["on"] = holder.pop(True)
    return data


def entries(mapping: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield each key of a mapping with its node and its value; merged keys (`<<`) come last."""
    merged: list[yaml.Node] = []
    for key, value in mapping.value:
        if key.tag == "tag:yaml.org,2002:merge":
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        else:
            yield str(key.value), key, value
    for holder in merged:
        if isinstance(holder, yaml.MappingNode):
            yield from entries(holder)


def line_of(node: yaml.Node) -> int:
    """Return the node's line, from 1."""
    return int(node.start_mark.line) + 1


def _child(node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return line_of(node.value[key]), node.value[key]
    if isinstance(node, yaml.MappingNode):
        for name, written, value in entries(node):
            if name == str(key):
                return line_of(written), value
    return None
