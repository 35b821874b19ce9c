"""The blocks under `environments:` of a service's manifest, against the environments that there are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from scripts.check.document import Document
from scripts.check.finding import Finding
from scripts.check.project import Project


def missing(project: Project) -> Iterator[Finding]:
    """An environment without a block silently gets the base.

    A manifest that overrides nothing means its base, except that of the service which is deployed for tests.
    """
    test, main = project.settings.test_env, project.settings.base
    for service, document in project.services.items():
        blocks = _blocks(document)
        if not blocks and service != main:
            continue
        for name in sorted({*project.names, test} if blocks else {test}):
            if not isinstance(blocks.get(name), dict):
                yield _finding(
                    document,
                    name,
                    "missing-block",
                    f"{name} has no block under `environments`, so Copilot deploys the base there",
                    f"write `{name}:` with what differs, or `{name}: {{}}` where the base is meant",
                    error=name == test,
                )


def stray(project: Project) -> Iterator[Finding]:
    """A block that no environment of the workspace reads: a slip of the pen, or a rest."""
    for document in project.services.values():
        blocks = _blocks(document)
        without = [name for name in project.names if name not in blocks]
        for name in blocks:
            if not isinstance(name, str) or name in project.names or name.startswith("x-"):
                continue
            near = difflib.get_close_matches(name, without, 1)
            yield _finding(
                document,
                name,
                "stray-block",
                f"there is no environment {name} in copilot/environments, so nothing reads this block",
                f"write `{near[0]}`" if near else "remove it, or add the environment's manifest",
                error=bool(near),
            )


def _blocks(document: Document) -> dict[object, object]:
    found = document.get("environments")
    return found if isinstance(found, dict) else {}


def _finding(document: Document, name: str, rule: str, what: str, instead: str, *, error: bool) -> Finding:
    line = document.line("environments", name)
    return Finding(document.path, line, rule, "error" if error else "warning", what, instead)


RULES = (missing, stray)
