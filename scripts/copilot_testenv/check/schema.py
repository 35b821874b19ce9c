"""The keys that Copilot reads in each type of manifest, from keys.yml; its first lines explain its form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.check.document import Document, entries
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import manifest

Place = tuple[str, ...]
TOP_ONLY = ("name", "type", "environments")


@dataclass(frozen=True)
class Entry:
    """A key of a manifest with its place and value. `read` is what keys.yml says about a known key."""

    place: Place
    key: yaml.Node
    value: yaml.Node
    known: bool
    read: Any = None

    @property
    def name(self) -> str:
        return ".".join((*self.place, str(self.key.value)))


def documents(project: Project) -> Iterator[tuple[Document, dict[str, Any]]]:
    """Yield each manifest with the keys of its type. An unknown type is skipped: Copilot refuses it."""
    kinds = [(document, str(document.get("type"))) for document in project.services.values()]
    kinds += [(document, "Environment") for document in project.environments.values()]
    kinds += [(document, "Pipeline") for document in project.pipelines.values()]
    for document, kind in kinds:
        if (top := read_of(kind)) is not None:
            yield document, top


@cache
def read_of(kind: str) -> dict[str, Any] | None:
    """Return the keys that Copilot reads in a type of manifest; None for a type that it does not know."""
    found: dict[str, Any] | None = _types().get(kind)
    if found and "environments" in found:
        block = {key: below for key, below in found.items() if key not in TOP_ONLY}
        return {**found, "environments": {"*": block}}
    return found


def kinds() -> list[str]:
    """Return the types of services and jobs."""
    return [name for name in _types() if name not in {"Environment", "Pipeline"}]


@cache
def _types() -> dict[str, dict[str, Any]]:
    file = Path(__file__).with_name("keys.yml")
    found: dict[str, dict[str, Any]] = yaml.load(file.read_text(encoding="utf-8"), Loader=manifest.LOADER)[  # noqa: S506 - it is a safe one
        "types"
    ]
    return found


def below(read: Any) -> Any:
    """Return the known keys of a list's items, or of the mapping itself."""
    return (read[0] if read else None) if isinstance(read, list) else read


def written(document: Document, top: dict[str, Any]) -> list[Entry]:
    """Return each key in a place that Copilot reads, once, even if it is merged into several places."""
    by_node: dict[int, Entry] = {}
    for entry in _walk(document.root, top, (), set()):
        by_node.setdefault(id(entry.key), entry)
    return list(by_node.values())


def _walk(node: yaml.Node, read: Any, place: Place, seen: set[tuple[int, int]]) -> Iterator[Entry]:
    """Yield the keys below `node`; `seen` ends the loop of an alias that leads back to its parent."""
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
