"""Correct in the manifests what has one right answer (`check --fix`); no other byte changes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from copilot_testenv.check import containers, keys, limits, schema, throwaway
from copilot_testenv.check.document import Document
from copilot_testenv.check.document import of_text as read_text
from copilot_testenv.check.project import Project
from copilot_testenv.copilot import manifest, yaml_edit
from copilot_testenv.copilot.patches import Change
from copilot_testenv.core.errors import Refused

_DEPTH = 6  # of misspelt keys below each other
_SURE = 0.8  # similarity from which a word is taken for a misspelt one


@dataclass(frozen=True, order=True)
class _Word:
    """A word of a manifest that is to be another; `begin` and `end` are its place in the text."""

    begin: int
    end: int
    new: str


def words(project: Project) -> Iterator[Change]:
    """Yield a change for each manifest with misspelt keys, types or words of a list."""
    kinds = ((project.services, ""), (project.environments, "Environment"), (project.pipelines, "Pipeline"))
    for document, kind in ((each, kind) for documents, kind in kinds for each in documents.values()):
        yield from _change(project, document, _corrected(document, kind, project))


def _corrected(document: Document, kind: str, project: Project) -> str:
    """Return the manifest's text with its words corrected; `kind` is its type where that is no service's."""
    for _ in range(_DEPTH):  # below a misspelt key no key is known
        found = {*_type(document), *_keys(document, kind, project), *_values(document, kind)}
        text = document.text
        for word in sorted(found, reverse=True):
            text = text[: word.begin] + word.new + text[word.end :]
        if not found:
            break
        document = read_text(text, document.path)
    return document.text


def additions(project: Project) -> Iterator[Change]:
    """Yield a change for each manifest that lacks `essential: false`, `rolling: recreate` or variables.

    Those are what a startup sidecar has to repeat of the service. The project must be rendered.
    """
    wanted = [
        *(
            (found, _nested((*place, "essential"), value=False))
            for found, place in containers.ending(project)
        ),
        *(
            (found, _nested(("environments", name, "deployment", "rolling"), value="recreate"))
            for found, name in throwaway.overlapping(project)
        ),
        *((found, _nested(place, value=given)) for found, place, given in containers.repeats(project)),
    ]
    for document in project.services.values():
        patches = [patch for found, patch in wanted if found is document]
        text = document.text
        for patch in patches:
            with suppress(Refused):  # it comes through an anchor, for example: the finding stays
                text = yaml_edit.add(text, patch, document.path)
        yield from _change(project, document, text)


def _change(project: Project, document: Document, after: str) -> Iterator[Change]:
    """Yield the change of a manifest's text; nothing where it stays as it is, or has odd breaks of lines."""
    file = project.root / document.path
    before = file.read_bytes().decode()
    ending = "\r\n" if "\r\n" in before else "\n"
    mark = manifest.BOM if before.startswith(manifest.BOM) else ""
    if after != document.text and before == mark + document.text.replace("\n", ending):
        yield Change(file, before, mark + after.replace("\n", ending))


def _nested(place: Sequence[str | int], *, value: object) -> yaml_edit.Patch:
    *holders, last = map(str, place)
    patch: dict[str, Any] = {last: value}
    for key in reversed(holders):
        patch = {key: patch}
    return patch


def _type(document: Document) -> Iterator[_Word]:
    kind, node = document.get("type"), document.node("type")
    if node is not None and kind not in schema.kinds() and (near := _near(str(kind), schema.kinds())):
        yield _word(node, near)


def _keys(document: Document, kind: str, project: Project) -> Iterator[_Word]:
    top = schema.read_of(kind or str(document.get("type")))
    written = schema.written(document, top) if top else []
    names = {entry.name for entry in written}
    for entry in written:
        near = "" if entry.known or not top else keys.meant(entry, document, project.names, top)
        if near and ".".join((*entry.place, near)) not in names:
            yield _word(entry.key, near)


def _values(document: Document, kind: str) -> Iterator[_Word]:
    kind = kind or str(document.get("type"))
    for entry in schema.written(document, schema.read_of(kind) or {}):
        for node, form in limits.misfits(entry, kind) if entry.known else ():
            if near := _near(str(node.value), form.known):
                yield _word(node, near)


def _near(text: str, known: list[str] | tuple[str, ...]) -> str:
    """Return the known word that a text is a misspelling of; empty where two are as near."""
    folded = {word.casefold(): word for word in known}
    found = difflib.get_close_matches(text.casefold(), folded, 2, _SURE)
    ratios = [difflib.SequenceMatcher(None, text.casefold(), word).ratio() for word in found]
    return folded[found[0]] if found and len(set(ratios)) == len(ratios) else ""


def _word(node: yaml.Node, new: str) -> _Word:
    quotes = int(getattr(node, "style", None) in {"'", '"'})
    return _Word(node.start_mark.index + quotes, node.end_mark.index - quotes, new)


def shown(changes: list[Change], root: Path) -> Iterator[str]:
    """Yield the lines of the difference."""
    for change in changes:
        name = change.path.relative_to(root).as_posix()
        yield from difflib.unified_diff(
            change.before.splitlines(), change.after.splitlines(), name, name, lineterm=""
        )
