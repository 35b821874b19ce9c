"""A YAML file of the repository, and on which line each of its keys stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.copilot import manifest
from copilot_testenv.core.errors import SettingsError


@dataclass(frozen=True)
class Document:
    """A manifest: `path` relative to the repository, its text, and what it says."""

    path: str
    text: str
    data: dict[str, Any]

    @cached_property
    def root(self) -> yaml.Node:
        """What stands in the file as YAML's nodes: every key with its line, also one that stands twice."""
        found = yaml.compose(self.text, Loader=manifest.LOADER)
        assert found is not None  # noqa: S101 - it has been read as a mapping
        return found

    def line(self, *keys: str | int) -> int:
        """Return the line, from 1, of the key or item that these keys lead to.

        Without it, the line of the last one there is.
        """
        node, line = self.root, 1
        for key in keys:
            found = _child(node, key)
            if found is None:
                break
            line, node = found
        return line

    def get(self, *keys: str | int) -> Any:
        """Return what stands under these keys; None where there is nothing."""
        found: Any = self.data
        for key in keys:
            if isinstance(found, dict):
                found = found.get(key)
            elif isinstance(found, list) and isinstance(key, int) and key < len(found):
                found = found[key]
            else:
                return None
        return found

    def nearest(self, environment: str, *keys: str | int) -> tuple[str | int, ...]:
        """Return where an environment's value stands.

        It stands below its own block where it is there, else in the base.
        """
        own = ("environments", environment, *keys)
        return own if self.get(*own) is not None else keys


def read(file: Path, root: Path) -> Document:
    """Read the document. Raise SettingsError where it cannot be read as a mapping."""
    try:
        if not file.is_file():  # a device would be read without an end
            raise SettingsError(f"The manifest {file} is no regular file.")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The manifest {file} cannot be read: {error}.") from error
    shown = file.relative_to(root).as_posix()
    return Document(shown, text, manifest.parse(text, shown))


def entries(mapping: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Yield a mapping's keys as they are written, each with its node and its value.

    What is merged into it comes last.
    """
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
