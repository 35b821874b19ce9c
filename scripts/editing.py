"""Edits of a manifest that leave every other byte as it stands.

The text is never written anew from what was read. YAML's events say where each thing stands, lines are put in
or taken out there, and the result is read again and must mean exactly what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from scripts import manifest
from scripts.errors import Refused, SettingsError

Path = tuple[str, ...]  # the keys that lead to a value
Patch = Mapping[str, Any]  # nested mappings, as they are laid over a manifest

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what ends a line in YAML
_MOST_VALUES = 100_000  # with every alias written out; a manifest has a few hundred
_BY_HAND = "Write it by hand."
ROOM = 2  # keys that lead to an environment's block, which may stand empty


class Anything:
    """In a patch for `remove`: whatever stands there."""


ANYTHING = Anything()


@dataclass
class _Node:
    """A value, from its first character to the end of what it says; an alias is a node of its own."""

    start: int
    end: int
    line: int
    column: int = 0  # of a block mapping's keys
    flow: bool = False
    entries: list[_Entry] | None = None  # a mapping's
    items: list[_Node] = field(default_factory=list)  # a sequence's
    anchor: str | None = None
    target: _Node | None = None  # an alias's

    @property
    def real(self) -> _Node:
        return self.target or self


@dataclass
class _Entry:
    key: str | None  # None: a key that is no text
    start: int
    line: int
    value: _Node


def add(text: str, patch: Patch, where: str) -> str:
    """The text with what `patch` holds, put in where it does not stand yet.

    `where` is the manifest's name for messages. Raises SettingsError where it cannot be read, Refused where
    something of it stands there already, or cannot be put in without changing something else.
    """
    before = manifest.parse(text, where)
    mark, text = _parted(text)
    seen: list[_Node] = []
    # A mapping that several places share through an anchor is edited once.
    new = {
        (id(node), key): (node, key, value, step)
        for node, key, value, step in _missing(_read(text, where), patch, 2, (), seen)
    }
    edits = [(*_insertion(text, *each), each[0].column) for each in new.values()]
    # At one place, what belongs to the deepest mapping comes first.
    edits.sort(key=lambda edit: (edit[0], -edit[2]))
    after = text
    for at, inserted, _ in reversed(edits):
        after = after[:at] + inserted + after[at:]
    _verify(after, _with(before, patch), where, seen)
    return mark + after


def remove(text: str, patch: Patch, where: str, keep: int) -> tuple[str, list[Path]]:
    """The text without what `patch` holds, and without the mappings that this leaves empty.

    Mappings below which `keep` keys or fewer lead stay. A value that differs from the patch's stays too, and
    its keys are returned. Raises SettingsError and Refused as `add` does.
    """
    before = manifest.parse(text, where)
    mark, text = _parted(text)
    root = _read(text, where)
    gone: list[Path] = []
    kept: list[Path] = []
    wanted = _without(before, patch, keep, (), gone, kept)
    seen: list[_Node] = []
    holders: dict[int, tuple[_Node, set[int]]] = {}
    for path in gone:
        node, number = _find(root, path, seen)
        holders.setdefault(id(node), (node, set()))[1].add(number)
    spans = [span for node, numbers in holders.values() for span in _spans(text, node, numbers)]
    after = text
    for start, end in reversed(_joined(spans)):
        first = start
        if end == len(text) and not _BREAK.search(text, max(end - 1, 0)):
            # It ended without a line break, and goes on doing so.
            first = next((each.start() for each in _BREAK.finditer(text) if each.end() == start), start)
        after = after[:first] + after[end:]
    _verify(after, wanted, where, seen)
    return mark + after, kept


def dotted(path: Iterable[str]) -> str:
    return ".".join(path)


# Reading: where things stand.


def _parted(text: str) -> tuple[str, str]:
    """A byte order mark, and the text without it."""
    rest = text.removeprefix(manifest.BOM)
    return text[: len(text) - len(rest)], rest


def _read(text: str, where: str) -> _Node:
    try:
        root = _document(text, manifest.events(text))
        _measure(root)
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"The manifest {where} cannot be read: {' '.join(str(error).split())}.") from error
    return root


def _document(text: str, events: Iterator[Any]) -> _Node:
    anchors: dict[str, _Node] = {}

    def node(event: Any) -> _Node:
        start, end = event.start_mark, event.end_mark
        made = _Node(start.index, end.index, start.line + 1, anchor=event.anchor)
        if isinstance(event, yaml.AliasEvent):
            made.anchor, made.target = None, anchors[event.anchor]
            return made
        if event.anchor:
            anchors[event.anchor] = made
        if isinstance(event, yaml.ScalarEvent):
            if event.style in ("|", ">"):
                made.end = _end_of_block_scalar(text, start.index, end.index)
            return made
        made.flow = bool(event.flow_style)
        ending = yaml.MappingEndEvent if isinstance(event, yaml.MappingStartEvent) else yaml.SequenceEndEvent
        if ending is yaml.MappingEndEvent:
            made.entries = []
        for event in events:  # noqa: PLR1704 - the next one
            if isinstance(event, ending):
                if made.flow:
                    made.end = event.end_mark.index
                break
            mark = event.start_mark
            key = node(event)
            if made.entries is None:
                made.items.append(key)
                made.end = key.end
                continue
            if not made.entries:
                made.column = mark.column
            name = event.value if isinstance(event, yaml.ScalarEvent) else None
            value = node(next(events))
            made.entries.append(_Entry(name, mark.index, mark.line + 1, value))
            made.end = max(key.end, value.end)
        return made

    first = next(
        event for event in events if not isinstance(event, yaml.StreamStartEvent | yaml.DocumentStartEvent)
    )
    return node(first)


def _end_of_block_scalar(text: str, start: int, end: int) -> int:
    """Where its last line ends; with `+` the empty lines after it are part of it."""
    header = text[start : next((each.start() for each in _BREAK.finditer(text, start)), end)]
    return end if "+" in header.split("#")[0] else start + len(text[start:end].rstrip())


def _measure(root: _Node) -> None:
    """Raises SettingsError where a manifest's aliases make it huge, as those of a bomb do."""
    sizes: dict[int, int] = {}

    def size(node: _Node) -> int:
        real = node.real
        if id(real) not in sizes:
            sizes[id(real)] = _MOST_VALUES  # one that holds itself never ends
            inner = [entry.value for entry in real.entries or ()] + real.items
            sizes[id(real)] = 1 + sum(size(each) for each in inner)
        return sizes[id(real)]

    if size(root) > _MOST_VALUES:
        raise SettingsError(
            f"The manifest has more than {_MOST_VALUES} values when its aliases (`*name`) are written out, "
            "which no service needs: use fewer."
        )


def _child(node: _Node, key: str) -> _Entry | None:
    return next((entry for entry in node.entries or () if entry.key == key), None)


def _merged(node: _Node, key: str) -> _Entry | None:
    """The merge `<<` of a mapping that brings the key."""
    for entry in node.entries or ():
        if entry.key == "<<":
            for holder in entry.value.real.items or [entry.value]:
                if _child(holder.real, key) or _merged(holder.real, key):
                    return entry
    return None


# Adding.


def _missing(
    node: _Node, patch: Patch, step: int, path: Path, seen: list[_Node]
) -> Iterator[tuple[_Node, str, Any, int]]:
    """Each mapping that lacks a key of the patch, the key, its value, and how far nested lines go in."""
    for key, value in patch.items():
        entry, here = _child(node, key), (*path, key)
        if entry is None:
            if merge := _merged(node, key):
                raise Refused(
                    f"{dotted(here)} comes through `<<` on line {merge.line}, and what is added beside it "
                    "would take its place: write it out under its own key first."
                )
            yield node, key, value, step
            continue
        seen.append(entry.value)
        inner = entry.value.real
        if not isinstance(value, dict) or inner.entries is None or not (inner.entries or len(here) == ROOM):
            what = "stands already" if inner.entries or inner.end > inner.start else "stands there empty"
            raise Refused(
                f"{dotted(here)} {what} (line {entry.line}): take it out first, so that --remove can tell "
                "what --add wrote."
            )
        nested = step if inner.flow or node.flow else max(inner.column - node.column, 1)
        yield from _missing(inner, value, nested, here, seen)


def _insertion(text: str, node: _Node, key: str, value: Any, step: int) -> tuple[int, str]:
    """Where the key is put into the mapping, and as what."""
    assert node.entries is not None  # noqa: S101 - it is a mapping
    if node.flow:
        written = _dump({key: value}, flow=True, step=step)[1:-1]
        if not node.entries:
            return text.index("{", node.start) + 1, written
        return node.entries[-1].value.end, f", {written}"
    _line_start(text, node.entries[0])
    at = node.end
    if not _ends_line(text, at):
        found = _BREAK.search(text, at)
        at = found.end() if found else len(text)
    ending = _BREAK.search(text)
    newline = ending[0] if ending else "\n"
    lines = [" " * node.column + line for line in _dump({key: value}, flow=False, step=step).split("\n")]
    body = newline.join(lines)
    return at, body + newline if _ends_line(text, at) else newline + body


def _dump(value: Any, *, flow: bool, step: int) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=flow,
        sort_keys=False,
        allow_unicode=True,
        width=100_000,
        indent=step,
    ).rstrip("\n")


class _Dumper(yaml.SafeDumper):
    """Writes lists in one line, as manifests have their commands, and everything out."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML asks of each value
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.Node:  # noqa: ARG002, FBT001 - as PyYAML calls it
        return super().represent_sequence(tag, sequence, flow_style=True)


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data))


def _with(found: Any, patch: Patch) -> dict[str, Any]:
    """What a manifest says with a patch laid over it."""
    return {
        **found,
        **{
            key: _with(found[key], value) if isinstance(value, dict) and key in found else value
            for key, value in patch.items()
        },
    }


# Removing.


def _without(
    found: Any, patch: Patch, keep: int, path: Path, gone: list[Path], kept: list[Path]
) -> dict[str, Any]:
    """What a manifest says without a patch; adds the keys to take out to `gone`, the highest ones only."""
    after = dict(found)
    for key, value in patch.items():
        here = (*path, key)
        if key not in found:
            continue
        if isinstance(value, dict) and isinstance(found[key], dict):
            below: list[Path] = []
            after[key] = _without(found[key], value, keep, here, below, kept)
            if below and not after[key] and len(here) > keep:
                del after[key]
                below = [here]
            gone += below
        elif value is ANYTHING or found[key] == value:
            del after[key]
            gone.append(here)
        else:
            kept.append(here)
    return after


def _find(root: _Node, path: Path, seen: list[_Node]) -> tuple[_Node, int]:
    """The mapping that holds the last key, and which of its entries that is. Raises Refused."""
    node = root
    for number, key in enumerate(path):
        entry = _child(node, key)
        if entry is None or node.entries is None:
            raise Refused(
                f"{dotted(path[: number + 1])} comes through `<<` or is no plain key, so it cannot be taken "
                f"out alone. {_BY_HAND}"
            )
        if number == len(path) - 1:
            return node, node.entries.index(entry)
        seen.append(entry.value)
        node = entry.value.real
    raise ValueError(path)  # an empty one


def _spans(text: str, node: _Node, numbers: set[int]) -> Iterator[tuple[int, int]]:
    """The pieces of the text that these entries of a mapping take."""
    assert node.entries is not None  # noqa: S101 - it is a mapping
    entries = node.entries
    if not node.flow:
        if len(numbers) == len(entries):
            raise Refused(
                "Nothing else stands in that environment's block, and Copilot would deploy the base manifest "
                "there without it: take the block out by hand, or give it something of its own first."
            )
        for number in numbers:
            entry = entries[number]
            end = entry.value.end
            found = None if _ends_line(text, end) else _BREAK.search(text, end)
            yield _line_start(text, entry), end if _ends_line(text, end) else found.end() if found else len(text)
        return
    for number in sorted(numbers):
        following = entries[number + 1].start if number + 1 < len(entries) else entries[number].value.end
        # Behind what stays goes the comma before it; at the beginning, the one behind it.
        stays_before = any(each not in numbers for each in range(number))
        if stays_before:
            yield entries[number - 1].value.end, entries[number].value.end
        else:
            yield entries[number].start, following


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same pieces, where those that touch are one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


# Both.


def _ends_line(text: str, at: int) -> bool:
    """Whether a line begins at this place."""
    return at == 0 or _BREAK.fullmatch(text[at - 1]) is not None


def _line_start(text: str, entry: _Entry) -> int:
    """Where the line of a block mapping's key begins. Raises Refused where something stands before the key."""
    start = next((at for at in range(entry.start, -1, -1) if _ends_line(text, at)), 0)
    if text[start : entry.start].strip(" "):
        raise Refused(f"{entry.key} does not begin its line ({entry.line}), so it cannot be edited. {_BY_HAND}")
    return start


def _verify(text: str, wanted: Mapping[str, Any], where: str, seen: list[_Node]) -> None:
    """Raises Refused unless the edited text means exactly what was wanted."""
    try:
        if manifest.parse(text, where) == wanted:
            return
    except (SettingsError, RecursionError):
        pass
    shared = next((node for node in seen if node.target or node.anchor), None)
    if shared:
        name = shared.real.anchor
        raise Refused(
            f"{where} shares lines between places through the anchor `&{name}` (line {shared.real.line}), so "
            f"an edit there would change another place too: write the part out where `*{name}` stands."
        )
    raise Refused(f"{where} cannot be edited without changing more than was asked. {_BY_HAND}")
