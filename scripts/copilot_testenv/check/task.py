"""The containers of a rendered service with all that rules look at, and where the manifest speaks of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copilot_testenv.check.document import Document
from copilot_testenv.copilot import task_definition as rendered
from copilot_testenv.copilot.templates import Template

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Container:
    """A container as the task definition has it. `image` is empty where Copilot builds it.

    `variables` are without Copilot's own; `depends_on` has conditions in lower case.
    """

    name: str
    main: bool
    image: str
    essential: bool
    command: tuple[str, ...]
    entry_point: tuple[str, ...]
    variables: Mapping[str, Any]
    secrets: Mapping[str, Any]
    depends_on: Mapping[str, str]
    has_healthcheck: bool

    @property
    def keys(self) -> Keys:
        """Where it stands, in the base manifest or below an environment's block."""
        return () if self.main else ("sidecars", self.name)

    @property
    def depends_on_keys(self) -> Keys:
        """The main container's stands under `image`."""
        return (*self.keys, "image", "depends_on") if self.main else (*self.keys, "depends_on")

    @property
    def repository(self) -> str:
        """The last part of the image's name, without tag and digest."""
        return self.image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()


def containers(template: Template) -> list[Container]:
    """Return those of the task definition; none where the service has none (App Runner, a static site)."""
    defined = rendered.definitions(template)
    return [_container(each, defined[each.name]) for each in rendered.containers(template)]


def properties(template: Template, logical_id: str) -> Mapping[str, Any]:
    """Return a resource's properties; empty where there is no such resource."""
    return template.resources.get(logical_id, {}).get("Properties") or {}


def where(document: Document, environment: str, *keys: str | int) -> int:
    """Return the line of what stands under these keys for an environment, else of the last that is there."""
    for end in range(len(keys), 0, -1):
        found = document.nearest(environment, *keys[:end])
        if document.get(*found) is not None:
            return document.line(*found)
    return document.line("environments", environment)


def value(document: Document, environment: str, *keys: str | int) -> Any:
    """Return what stands under these keys for an environment: in its own block, else in the base."""
    return document.get(*document.nearest(environment, *keys))


def _container(shown: rendered.Container, found: Mapping[str, Any]) -> Container:
    return Container(
        name=shown.name,
        main=isinstance(found.get("Name"), dict),  # the service's own name is a parameter
        image=shown.image or "",
        essential=shown.essential,
        command=_words(found.get("Command")),
        entry_point=_words(found.get("EntryPoint")),
        variables={
            name: value
            for name, value in pairs(found.get("Environment"), "Value").items()
            if not name.startswith(rendered.COPILOTS)
        },
        secrets=pairs(found.get("Secrets"), "ValueFrom"),
        depends_on=shown.depends_on,
        has_healthcheck=bool(found.get("HealthCheck")),
    )


def _words(found: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in found) if isinstance(found, list) else ()


def pairs(found: Any, value: str) -> dict[str, Any]:
    """Return a list of names with values, as CloudFormation has it, by name."""
    return {
        str(each.get("Name")): each.get(value)
        for each in (found if isinstance(found, list) else ())
        if isinstance(each, dict)
    }
