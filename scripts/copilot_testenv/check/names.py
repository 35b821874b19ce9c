"""Find names that ECS, CloudFormation or Copilot does not take: of containers, topics and variables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from copilot_testenv.branch_guard.branch_manifests import OWN_VARIABLES
from copilot_testenv.check import schema
from copilot_testenv.check.document import Document, line_of
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project

# Source: name in https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
_CONTAINER = re.compile(r"[A-Za-z0-9_-]{1,255}")
# A name of Copilot's that is not written as `${NAME}`. Copilot fills in no other form.
_UNFILLED = re.compile(rf"(?<!\$\{{)\b({'|'.join(OWN_VARIABLES)})\b")
_VARIABLE = re.compile(r"\$\{(COPILOT_\w+)\}")
# Where no shell and no program reads the value.
_FILLED = frozenset({"alias", "location", "from_cfn", "secretsmanager"})


def containers(project: Project) -> Iterator[Finding]:
    """Find sidecars whose name ECS refuses, or that have the service's own name."""
    for document in project.services.values():
        for holder in _holders(document):
            sidecars = document.get(*holder, "sidecars")
            for name in sidecars if isinstance(sidecars, dict) else ():
                line = document.line(*holder, "sidecars", str(name))
                if str(name) == document.get("name"):
                    what = f"the sidecar {name} has the name of the service's own container"
                    yield Finding(document.path, line, "name", "error", what, "give it another name")
                elif "${" not in str(name) and not _CONTAINER.fullmatch(str(name)):
                    what = f"ECS takes no container called {str(name)!r}: letters, digits, `-` and `_`"
                    instead = f"write `{re.sub(r'[^A-Za-z0-9_-]+', '-', str(name)).strip('-') or 'sidecar'}`"
                    yield Finding(document.path, line, "name", "error", what, instead)


def topics(project: Project) -> Iterator[Finding]:
    """Find topics that a service publishes twice: CloudFormation takes each resource once."""
    for document in project.services.values():
        for holder in _holders(document):
            listed = document.get(*holder, "publish", "topics")
            seen: set[object] = set()
            for number, topic in enumerate(listed if isinstance(listed, list) else ()):
                name = topic.get("name") if isinstance(topic, dict) else None
                if isinstance(name, str) and name in seen:
                    line = document.line(*holder, "publish", "topics", number, "name")
                    what = f"the topic {name} is published twice"
                    yield Finding(document.path, line, "topic", "error", what, "keep one of the two")
                seen.add(name)


def variables(project: Project) -> Iterator[Finding]:
    """Find names of Copilot's own variables that are misspelt, or in a form that Copilot does not fill in."""
    for document, top in schema.documents(project):
        lines = document.text.splitlines()
        for number, line in enumerate(lines, 1):
            for found in () if line.lstrip().startswith("#") else _VARIABLE.finditer(line):
                near = difflib.get_close_matches(found[1], OWN_VARIABLES, 1, 0.8)
                if near and near[0] != found[1]:
                    what = f"Copilot fills in no `${{{found[1]}}}`"
                    yield Finding(document.path, number, "variable", "error", what, f"write `${{{near[0]}}}`")
        for entry in schema.written(document, top):
            value = entry.value.value
            if not isinstance(value, str) or not (
                entry.place[-1:] == ("secrets",) or entry.key.value in _FILLED
            ):
                continue
            if unfilled := _UNFILLED.search(value):
                what = f"Copilot fills in no {unfilled[1]} in this form"
                yield Finding(
                    document.path,
                    line_of(entry.value),
                    "variable",
                    "error",
                    what,
                    f"write `${{{unfilled[1]}}}`",
                )


def _holders(document: Document) -> list[tuple[str, ...]]:
    """Return the keys of the base and of each environment's block."""
    blocks = document.get("environments")
    return [(), *(("environments", str(name)) for name in (blocks if isinstance(blocks, dict) else ()))]


RULES = (containers, topics, variables)
