"""Find the position of each value in a YAML text: its first and last character, and its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from copilot_testenv.copilot import manifest
from copilot_testenv.core.errors import SettingsError

BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # YAML's line breaks


@dataclass(eq=False)  # compared by identity
class Node:
    """A value, from its first character to the end of its content; an alias is a separate node."""

    start: int
    end: int
    line: int
    column: int = 0  # of a block mapping's keys
    flow: bool = False
    entries: list[Entry] | None = None  # a mapping's
    items: list[Node] = field(default_factory=list)  # a sequence's
    anchor: str | None = None
    target: Node | None = None  # an alias's

    @property
    def real(self) -> Node:
        return self.target or self

    def entry(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries or () if entry.key == key), None)

    def merge(self, key: str) -> Entry | None:
        """Return the mapping's merge `<<` that contains the key; None where none does."""
        for entry in self.entries or ():
            if entry.key == "<<":
                for holder in entry.value.real.items or [entry.value]:
                    if holder.real.entry(key) or holder.real.merge(key):
                        return entry
        return None


@dataclass(eq=False)  # compared by identity
class Entry:
    """A key of a mapping and its value; `key` is None where the key is not a text."""

    key: str | None
    start: int
    line: int
    value: Node


def read(text: str, where: str) -> Node:
    """Return the positions in a text without a byte order mark.

    Raises SettingsError with the file `where`.
    """
    try:
        return _Reader(text).document()
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(
            f"The manifest {where} cannot be read: {' '.join(str(error).split())}."
        ) from error


def begins_line(text: str, at: int) -> bool:
    return at == 0 or BREAK.fullmatch(text[at - 1]) is not None


def next_line(text: str, at: int) -> int:
    """Return where the next line begins; `at` itself where a line begins there."""
    if begins_line(text, at):
        return at
    match = BREAK.search(text, at)
    return match.end() if match else len(text)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.events = manifest.events(text)
        self.anchors: dict[str | None, Node] = {}

    def document(self) -> Node:
        for event in self.events:
            if isinstance(event, yaml.NodeEvent):
                return self.node(event)
        return Node(0, 0, 1)  # an empty text

    def node(self, event: yaml.NodeEvent) -> Node:
        node = Node(_start(event).index, _end(event), _start(event).line + 1)
        if isinstance(event, yaml.AliasEvent):
            node.target = self.anchors[event.anchor]
            return node
        node.anchor = event.anchor
        if event.anchor:
            self.anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent) and event.style in ("|", ">"):
            node.end = self.end_of_block_scalar(node)
        elif isinstance(event, yaml.CollectionStartEvent):
            node.flow = bool(event.flow_style)
            (self.mapping if isinstance(event, yaml.MappingStartEvent) else self.sequence)(node)
        return node

    def children(self, holder: Node) -> Iterator[yaml.NodeEvent]:
        """Yield the first event of each item in a collection."""
        for event in self.events:
            if isinstance(event, yaml.CollectionEndEvent):
                if holder.flow:  # a block collection has no sign at its end
                    holder.end = _end(event)
                return
            assert isinstance(event, yaml.NodeEvent)  # noqa: S101 - a collection contains no other event
            yield event

    def mapping(self, made: Node) -> None:
        made.entries = []
        children = self.children(made)
        for event in children:
            mark = _start(event)
            made.column = made.column if made.entries else mark.column
            key = self.node(event)
            value = self.node(next(children))
            name = event.value if isinstance(event, yaml.ScalarEvent) else None
            made.entries.append(Entry(name, mark.index, mark.line + 1, value))
            made.end = max(key.end, value.end)

    def sequence(self, made: Node) -> None:
        for event in self.children(made):
            made.items.append(self.node(event))
            made.end = made.items[-1].end

    def end_of_block_scalar(self, made: Node) -> int:
        """Return where the scalar's last line ends; with `+`, the empty lines after it belong to it."""
        header = self.text[made.start : next_line(self.text, made.start + 1)]
        if "+" in header.partition("#")[0]:
            return made.end
        return made.start + len(self.text[made.start : made.end].rstrip())


def _start(event: yaml.Event) -> Any:
    """Return the mark of an event's beginning; libyaml and PyYAML use different classes for it."""
    return event.start_mark


def _end(event: yaml.Event) -> int:
    mark: Any = event.end_mark
    index: int = mark.index
    return index
