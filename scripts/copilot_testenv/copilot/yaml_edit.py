"""Edit a manifest without changing any other byte.

The text is never generated from the parsed content. YAML's events give the position of each value, lines are
inserted or removed there, and the result is parsed again and must have exactly the wanted content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from copilot_testenv.copilot import manifest, yaml_positions
from copilot_testenv.copilot.yaml_positions import BREAK, Entry, Node, begins_line, next_line
from copilot_testenv.core.errors import Refused, SettingsError

Path = tuple[str, ...]  # the keys that lead to a value
Patch = Mapping[str, Any]  # nested mappings that are merged into a manifest

ROOM = 2  # keys that lead to an environment's block, which may be empty
_BY_HAND = "Write it by hand."


class Anything:
    """A value in a patch for `remove` that matches any value."""


ANYTHING = Anything()


def add(text: str, patch: Patch, where: str) -> str:
    """Return the text with the keys of `patch` inserted.

    `where` is the manifest's name for messages. Raises SettingsError where the text cannot be read, Refused
    where a key exists already, or cannot be inserted without changing something else.
    """
    before = manifest.parse(text, where)
    mark, text = _split_mark(text)
    seen: list[Node] = []
    # A mapping that an anchor shares between several places is edited once.
    new = {
        (id(node), key): (node, key, value, step)
        for node, key, value, step in _missing(yaml_positions.read(text, where), patch, 2, (), seen)
    }
    edits = [(*_insertion(text, *missing), missing[0].column) for missing in new.values()]
    # At the same position, the text for the deepest mapping comes first.
    edits.sort(key=lambda edit: (edit[0], -edit[2]))
    after = text
    for at, inserted, _ in reversed(edits):
        after = after[:at] + inserted + after[at:]
    _verify(after, _with(before, manifest.parse(dump(patch), where)), where, seen)
    return mark + after


def remove(text: str, patch: Patch, where: str, keep: int) -> tuple[str, list[Path]]:
    """Return the text without the keys of `patch`, and without the mappings that become empty.

    A mapping to which `keep` keys or fewer lead stays. A value that differs from the patch's stays too, and
    its keys are returned. Raises SettingsError and Refused as `add` does.
    """
    before = manifest.parse(text, where)
    mark, text = _split_mark(text)
    root = yaml_positions.read(text, where)
    gone: list[Path] = []
    kept: list[Path] = []
    wanted = _without(before, patch, keep, (), gone, kept)
    seen: list[Node] = []
    holders: dict[int, tuple[Node, set[int]]] = {}
    for path in gone:
        node, number = _find(root, path, seen)
        holders.setdefault(id(node), (node, set()))[1].add(number)
    spans = [span for node, numbers in holders.values() for span in _spans(text, node, numbers)]
    after = text
    for start, end in reversed(_joined(spans)):
        first = start
        if end == len(text) and not BREAK.search(text, max(end - 1, 0)):
            # The text ended without a line break, and must still end without one.
            first = next((match.start() for match in BREAK.finditer(text) if match.end() == start), start)
        after = after[:first] + after[end:]
    _verify(after, wanted, where, seen)
    return mark + after, kept


def dotted(path: Iterable[str]) -> str:
    return ".".join(path)


def _split_mark(text: str) -> tuple[str, str]:
    """Return the byte order mark, empty where there is none, and the text without it."""
    rest = text.removeprefix(manifest.BOM)
    return text[: len(text) - len(rest)], rest


# Adding.


def _missing(
    node: Node, patch: Patch, step: int, path: Path, seen: list[Node]
) -> Iterator[tuple[Node, str, Any, int]]:
    """Yield each mapping that lacks a key of the patch, the key, its value and the indent of nested lines."""
    for key, value in patch.items():
        entry, here = node.entry(key), (*path, key)
        if entry is None:
            if merge := node.merge(key):
                raise Refused(
                    f"{dotted(here)} comes through `<<` on line {merge.line}, and an added key would replace "
                    "it: write it out under its own key first."
                )
            yield node, key, value, step
            continue
        seen.append(entry.value)
        inner = entry.value.real
        if not isinstance(value, dict) or inner.entries is None or not (inner.entries or len(here) == ROOM):
            what = "exists already" if inner.entries or inner.end > inner.start else "exists already, empty"
            raise Refused(
                f"{dotted(here)} {what} (line {entry.line}): remove it first, so that --remove later finds "
                "exactly what --add wrote."
            )
        nested = step if inner.flow or node.flow else max(inner.column - node.column, 1)
        yield from _missing(inner, value, nested, here, seen)


def _insertion(text: str, node: Node, key: str, value: Any, step: int) -> tuple[int, str]:
    """Return the position at which the key is inserted into the mapping, and the text to insert."""
    assert node.entries is not None  # noqa: S101 - it is a mapping
    if node.flow:
        written = dump({key: value}, flow=True, step=step)[1:-1]
        if not node.entries:
            return text.index("{", node.start) + 1, written
        return node.entries[-1].value.end, f", {written}"
    _line_start(text, node.entries[0])
    at = next_line(text, node.end)
    ending = BREAK.search(text)
    newline = ending[0] if ending else "\n"
    lines = [" " * node.column + line for line in dump({key: value}, flow=False, step=step).split("\n")]
    body = newline.join(lines)
    return at, body + newline if begins_line(text, at) else newline + body


def dump(value: Any, *, flow: bool = False, step: int = 2) -> str:
    """Return YAML without a final line break; lists are on one line, and nothing is sorted or shortened."""
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
    """Write lists on one line, as manifests write their commands, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML calls it for each value
        return True


def _written(dumper: _Dumper, value: manifest.Written) -> yaml.Node:
    """Write the text without quotes: its tag is the one that a reader derives from it."""
    tag = dumper.resolve(yaml.ScalarNode, str(value), (True, False))  # type: ignore[no-untyped-call]
    return dumper.represent_scalar(tag, str(value))


_Dumper.add_representer(manifest.Written, _written)
_Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def _with(content: Any, patch: Patch) -> dict[str, Any]:
    """Return a manifest's content with a patch merged into it."""
    return {
        **content,
        **{
            key: _with(content[key], value) if isinstance(value, dict) and key in content else value
            for key, value in patch.items()
        },
    }


# Removing.


def _without(
    found: Any, patch: Patch, keep: int, path: Path, gone: list[Path], kept: list[Path]
) -> dict[str, Any]:
    """Return a manifest's content without a patch.

    Append the paths to remove to `gone`, only the highest ones, and the paths of differing values to `kept`.
    """
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


def _find(root: Node, path: Path, seen: list[Node]) -> tuple[Node, int]:
    """Return the mapping that holds the last key, and the index of that key in it. Raises Refused."""
    node = root
    for number, key in enumerate(path):
        entry = node.entry(key)
        if entry is None or node.entries is None:
            raise Refused(
                f"{dotted(path[: number + 1])} comes through `<<` or is not a plain key, so it cannot be "
                f"removed alone. {_BY_HAND}"
            )
        if number == len(path) - 1:
            return node, next(index for index, other in enumerate(node.entries) if other is entry)
        seen.append(entry.value)
        node = entry.value.real
    raise ValueError(path)  # the path is empty


def _spans(text: str, node: Node, numbers: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the ranges of the text that these entries of a mapping occupy."""
    assert node.entries is not None  # noqa: S101 - it is a mapping
    entries = node.entries
    if not node.flow:
        if len(numbers) == len(entries):
            raise Refused(
                "The environment's block would be empty, so Copilot would deploy the base manifest there: "
                "remove the block by hand, or add another key to it first."
            )
        for number in numbers:
            yield _line_start(text, entries[number]), next_line(text, entries[number].value.end)
        return
    for number in numbers:
        end = entries[number].value.end
        if not numbers.issuperset(range(number)):  # after an entry that stays: with the comma before it
            yield entries[number - 1].value.end, end
        elif number + 1 < len(entries):  # at the beginning: with the comma after it
            yield entries[number].start, entries[number + 1].start
        else:
            yield entries[number].start, end


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges, sorted; ranges that touch are joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


# Both.


def _line_start(text: str, entry: Entry) -> int:
    """Return where the line of a block mapping's key begins. Raises Refused where other text is before it."""
    start = next((at for at in range(entry.start, -1, -1) if begins_line(text, at)), 0)
    if text[start : entry.start].strip(" "):
        raise Refused(
            f"{entry.key} does not begin its line ({entry.line}), so it cannot be edited. {_BY_HAND}"
        )
    return start


def _verify(text: str, wanted: Mapping[str, Any], where: str, seen: list[Node]) -> None:
    """Raise Refused unless the edited text has exactly the wanted content."""
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
            f"an edit there would change another place too: write the part out in place of `*{name}`."
        )
    raise Refused(f"{where} cannot be edited without changing something else. {_BY_HAND}")
