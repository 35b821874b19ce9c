"""Find keys that Copilot does not know, and repeated keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from copilot_testenv.check import dockerfile, schema
from copilot_testenv.check.document import Document, line_of
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project
from copilot_testenv.check.schema import Place
from copilot_testenv.copilot import addons, manifest

Keys = dict[str, Any]

# Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-anatomy.html
_SECTIONS = (
    *("Resources", "Outputs", "Parameters", "Conditions", "Mappings", "Metadata", "Transform", "Rules"),
    *("Hooks", "Description", "AWSTemplateFormatVersion"),
)
_MISSPELT = 0.8  # similarity from which a key counts as misspelt
_SIMILAR = 0.6  # similarity from which a key may be misspelt
_SHOWN = 8  # known keys that a message lists


def unknown(project: Project) -> Iterator[Finding]:
    """Find keys that Copilot does not know: it ignores them silently, so they have no effect."""
    for document, top in schema.documents(project):
        for entry in schema.written(document, top):
            name = str(entry.key.value)
            # x-…: a key that only holds anchors, as in Docker Compose
            if entry.known or (not entry.place and name.startswith("x-")):
                continue
            what, instead = (
                f"Copilot knows no key `{entry.name}` and ignores it",
                _belongs(name, entry.place, document, project.names) or _instead(name, entry.place, top),
            )
            yield Finding(document.path, line_of(entry.key), "unknown-key", "error", what, instead)


def repeated(project: Project) -> Iterator[Finding]:
    """Find repeated keys: Copilot refuses them where it reads them, and names only one line."""
    documents = (*project.services.values(), *project.environments.values(), *project.pipelines.values())
    trees = [(document.path, document.root) for document in documents]
    for path, root in (*trees, *((path, tree) for path, tree in addon_trees(project) if tree)):
        for name, first, second in _repeated(root):
            what = f"`{name}` is repeated here, first on line {first}"
            yield Finding(path, second, "repeated-key", "error", what, "keep one of the two")


def addon_trees(project: Project) -> Iterator[tuple[str, yaml.Node | None]]:
    """Yield the path and the text, as YAML, of each file of addons that can be read."""
    for file in sorted((project.root / "copilot").glob("*/addons/*.y*ml")):
        path = file.relative_to(project.root).as_posix()
        text = dockerfile.text_of(project.root, path) or ""
        try:
            yield path, yaml.compose(text, Loader=manifest.LOADER)
        except (yaml.YAMLError, RecursionError):
            continue  # Copilot reports it


def sections(project: Project) -> Iterator[Finding]:
    """Find sections of addons that CloudFormation does not have: Copilot leaves them out silently."""
    for path, root in addon_trees(project):
        for key, _ in root.value if isinstance(root, yaml.MappingNode) else ():
            name = str(key.value)
            if name not in _SECTIONS:
                near = _nearest(name, dict.fromkeys(_SECTIONS), _SIMILAR)
                instead = f"write `{near}`" if near else f"write one of {', '.join(_SECTIONS)}, or remove it"
                what = f"CloudFormation has no section `{name}`, and Copilot leaves it out"
                yield Finding(path, line_of(key), "unknown-key", "error", what, instead)


def rows(project: Project) -> Iterator[Finding]:
    """Find mappings of addons without the test environment's row, so that no stack of it can be made."""
    settings = project.settings
    folders = (settings.service, "environments") if project.has_test_profile else ()
    for file in [each for name in folders for each in addons.files(project.root, name)]:
        path = file.relative_to(project.root).as_posix()
        text = dockerfile.text_of(project.root, path) or ""
        for line, what, instead in addons.missing_rows(text, settings.test_env):
            yield Finding(path, line, "row", "error", what, instead)


def _belongs(name: str, place: Place, document: Document, environments: Sequence[str]) -> str:
    """Return where a misplaced block of an environment or a sidecar belongs; empty if it is not one."""
    if not place and name in environments:
        return "it belongs under `environments`"
    block = place if len(place) == 2 and place[0] == "environments" else ()  # noqa: PLR2004 - and its name
    if block == place and (isinstance(document.get("sidecars", name), dict) or name == "startup"):
        return f"it belongs under `{'.'.join((*block, 'sidecars'))}`"
    return ""


def meant(entry: schema.Entry, document: Document, environments: Sequence[str], top: Keys) -> str:
    """Return the key that an unknown one is a misspelling of; empty where that is not plain."""
    name = str(entry.key.value)
    if (not entry.place and name.startswith("x-")) or _belongs(name, entry.place, document, environments):
        return ""
    return _nearest(name, _at(top, entry.place), _MISSPELT) or ""


def _instead(name: str, place: Place, top: Keys) -> str:
    here = _at(top, place)
    if near := _nearest(name, here, _MISSPELT):
        return f"write `{near}`"
    in_block = place[:1] == ("environments",)
    if in_block and name in schema.TOP_ONLY:
        return "it belongs at the top of the manifest, for all environments"
    start, scope = (place[:2], top["environments"]["*"]) if in_block else ((), top)
    if elsewhere := _elsewhere(name, place, start, scope):
        return f"it belongs {elsewhere}"
    if near := _nearest(name, here, _SIMILAR):
        return f"write `{near}` if that is meant, else remove it"
    if near := _nearest(name, dict.fromkeys(_names(scope)), _MISSPELT):
        return f"write `{near}` {_elsewhere(near, place, start, scope)}"
    listed = ", ".join(f"`{key}`" for key in list(here)[:_SHOWN]) + (", …" if len(here) > _SHOWN else "")
    holder = "" if place else "; a holder of anchors may be called `x-…`"
    return f"remove it, or write what Copilot knows here ({listed}){holder}"


def _elsewhere(name: str, place: Place, start: Place, scope: Keys) -> str:
    """Return, in words, the nearest places below `start` where this key is known; empty if there is none."""
    far: dict[int, list[Place]] = {}
    for found in _places(name, scope):
        candidate = (*start, *found)
        shared = 0
        while shared < min(len(place), len(candidate)) and candidate[shared] in {place[shared], "*"}:
            shared += 1
        full = (*place[:shared], *(part if part != "*" else "<name>" for part in candidate[shared:]))
        far.setdefault(len(place) + len(candidate) - 2 * shared, []).append(full)
    nearest = far[min(far)] if far else []
    if () in nearest:
        return "at the top of the manifest"
    return "under " + " or ".join(f"`{'.'.join(full)}`" for full in nearest) if nearest else ""


def _names(known: Any) -> Iterator[str]:
    """Yield every key of a tree, except free names and keys in the environments' blocks."""
    inner = schema.below(known)
    if isinstance(inner, dict):
        for key, read in inner.items():
            if key != "*":
                yield key
            if key != "environments":
                yield from _names(read)


def _places(name: str, known: Any, place: Place = ()) -> Iterator[Place]:
    """Yield each place that has a key of this name, except in the environments' blocks."""
    inner = schema.below(known)
    if not isinstance(inner, dict):
        return
    if name in inner:
        yield place
    for key, read in inner.items():
        if (*place, key) != ("environments",):
            yield from _places(name, read, (*place, key))


def _nearest(name: str, known: Keys, least: float) -> str | None:
    """Return the known key that is most similar to this one, without regard to case."""
    folded = {key.casefold(): key for key in known if key != "*"}
    found = difflib.get_close_matches(name.casefold().replace("-", "_"), folded, 1, least)
    return folded[found[0]] if found else None


def _at(known: Keys, place: Place) -> Keys:
    for key in place:
        known = schema.below(known[key] if key in known else known["*"])
    return known


def _repeated(root: yaml.Node) -> Iterator[tuple[str, int, int]]:
    """Yield each duplicate key of any mapping below `root`, with the lines of the first one and of this one.

    An alias is the same node as its anchor, and can lead back to its parent, so each node is visited once.
    """
    to_visit, seen = [root], set()
    while to_visit:
        node = to_visit.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            to_visit += node.value
            continue
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), line_of(key)
            if name in lines:
                yield name, lines[name], line
            lines.setdefault(name, line)
            to_visit.append(value)


RULES = (unknown, repeated, sections, rows)
