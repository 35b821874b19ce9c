"""Compare the blocks under `environments:` of a service's manifest with the workspace's environments."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from copilot_testenv.check.document import Document
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project


def missing(project: Project) -> Iterator[Finding]:
    """Find environments without a block: Copilot silently deploys the base there.

    A manifest without any block means its base. Only the service that is deployed for tests must have one.
    The others of the setting `services` are sidecars there. `stray` names a block whose name is a slip.
    """
    test, main = project.settings.test_env, project.settings.base
    for service, document in project.services.items():
        blocks = _blocks(document)
        if not blocks and service != main:
            continue
        without = {name for name in {*project.names, test} if not isinstance(blocks.get(name), dict)}
        without -= {near for _, near in _strays(project, blocks)}
        if test in without and service not in project.settings.companions:  # a sidecar there
            yield _missing(document, [test], error=True)
        if blocks and without - {test}:
            yield _missing(document, sorted(without - {test}), error=False)


def stray(project: Project) -> Iterator[Finding]:
    """Find blocks that no environment of the workspace reads: a misspelt name, or a deleted environment."""
    for document in project.services.values():
        for name, near in _strays(project, _blocks(document)):
            yield _finding(
                document,
                name,
                "stray-block",
                f"there is no environment {name} in copilot/environments, so nothing reads this block",
                f"write `{near}`" if near else "remove it, or add the environment's manifest",
                error=bool(near),
            )


def _strays(project: Project, blocks: Mapping[object, object]) -> Iterator[tuple[str, str]]:
    """Yield the blocks that no environment reads, with the environment that is meant; empty where none is."""
    without = [name for name in project.names if name not in blocks]
    for name in blocks:
        if isinstance(name, str) and name not in project.names and not name.startswith("x-"):
            yield name, next(iter(difflib.get_close_matches(name, without, 1)), "")


def _blocks(document: Document) -> dict[object, object]:
    found = document.get("environments")
    return found if isinstance(found, dict) else {}


def _missing(document: Document, names: list[str], *, error: bool) -> Finding:
    have = f"{' and '.join(names)} {'has' if len(names) == 1 else 'have'}"
    what = f"{have} no block under `environments`, so Copilot deploys the base there"
    instead = f"write `{names[0]}:` with what differs, or `{names[0]}: {{}}` where the base is meant"
    return _finding(document, names[0], "missing-block", what, instead, error=error)


def _finding(document: Document, name: str, rule: str, what: str, instead: str, *, error: bool) -> Finding:
    line = document.line("environments", name)
    return Finding(document.path, line, rule, "error" if error else "warning", what, instead)


RULES = (missing, stray)
