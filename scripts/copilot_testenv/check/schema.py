"""What Copilot reads of a manifest, key by key: keys.yml, which says how to read itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.check.document import Document, entries
from copilot_testenv.check.project import Project

Place = tuple[str, ...]
TOP_ONLY = ("name", "type", "environments")


@dataclass(frozen=True)
class Entry:
    """A key where it stands, with its value and, if it is known, what Copilot reads there."""

    place: Place
    key: yaml.Node
    value: yaml.Node
    known: bool
    read: Any = None

    @property
    def name(self) -> str:
        return ".".join((*self.place, str(self.key.value)))


def documents(project: Project) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Yield each manifest with what Copilot reads of its type.

    A type that there is not is left to Copilot.
    """
    kinds = [(document, str(document.get("type"))) for document in project.services.values()]
    kinds += [(document, "Environment") for document in project.environments.values()]
    for document, kind in kinds:
        if (top := read_of(kind)) is not None:
            yield document, top


@cache
def read_of(kind: str) -> dict[str, Any] | None:
    """Return what Copilot reads of a type of manifest; None for a type that it does not have."""
    file = Path(__file__).with_name("keys.yml")
    found: dict[str, Any] | None = yaml.safe_load(file.read_text(encoding="utf-8"))["types"].get(kind)
    if found and "environments" in found:
        block = {key: below for key, below in found.items() if key not in TOP_ONLY}
        found["environments"] = {"*": block}
    return found


def below(read: Any) -> Any:
    """Return what is read of a list's items, or of the mapping itself."""
    return (read[0] if read else None) if isinstance(read, list) else read


def written(document: Document, top: dict[str, Any]) -> list[Entry]:
    """Return each key that stands where Copilot looks.

    Each is returned once, though what is merged is met at each place of it.
    """
    found: dict[int, Entry] = {}
    for entry in _walk(document.root, top, (), set()):
        found.setdefault(id(entry.key), entry)
    return list(found.values())


def _walk(node: yaml.Node, read: Any, place: Place, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    """Walk the tree; `seen` is needed because an alias may lead back."""
    inner = below(read)
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.MappingNode):
                yield from _walk(item, inner, place, seen)
    if not isinstance(node, yaml.MappingNode) or not isinstance(inner, dict):
        return
    if (id(node), id(inner)) in seen:
        return
    seen.add((id(node), id(inner)))
    for name, key, value in entries(node):
        if name in inner or "*" in inner:
            entry = Entry(place, key, value, known=True, read=inner.get(name, inner.get("*")))
            yield entry
            yield from _walk(value, entry.read, (*place, name), seen)
        else:
            yield Entry(place, key, value, known=False)
