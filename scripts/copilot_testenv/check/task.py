"""The containers of a rendered service as the rules need them, and their lines in the manifest."""

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
    """A container of the task definition. `image` is empty where Copilot builds the image.

    `variables` does not contain Copilot's own variables. `depends_on` has its conditions in lower case.
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
        """Return the container's keys, relative to the base manifest or to an environment's block."""
        return () if self.main else ("sidecars", self.name)

    @property
    def depends_on_keys(self) -> Keys:
        """Return the keys of `depends_on`. The main container has it under `image`."""
        return (*self.keys, "image", "depends_on") if self.main else (*self.keys, "depends_on")

    @property
    def repository(self) -> str:
        """Return the last part of the image's name, without tag and digest."""
        return self.image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()


def containers(template: Template) -> list[Container]:
    """Return the task definition's containers; empty for App Runner and static sites, which have no tasks."""
    definitions = rendered.definitions(template)
    return [_container(each, definitions[each.name]) for each in rendered.containers(template)]


def properties(template: Template, logical_id: str) -> Mapping[str, Any]:
    """Return a resource's properties; empty if there is no such resource."""
    return template.resources.get(logical_id, {}).get("Properties") or {}


def where(document: Document, environment: str, *keys: str | int) -> int:
    """Return the line of these keys for an environment, or the line of the longest existing part of them."""
    for end in range(len(keys), 0, -1):
        place = document.nearest(environment, *keys[:end])
        if document.get(*place) is not None:
            return document.line(*place)
    return document.line("environments", environment)


def value(document: Document, environment: str, *keys: str | int) -> Any:
    """Return the value of these keys for an environment: from its own block, else from the base."""
    return document.get(*document.nearest(environment, *keys))


def _container(container: rendered.Container, definition: Mapping[str, Any]) -> Container:
    return Container(
        name=container.name,
        main=isinstance(definition.get("Name"), dict),  # the service's own name is a parameter
        image=container.image or "",
        essential=container.essential,
        command=_words(definition.get("Command")),
        entry_point=_words(definition.get("EntryPoint")),
        variables={
            name: value
            for name, value in pairs(definition.get("Environment"), "Value").items()
            if not name.startswith(rendered.COPILOTS)
        },
        secrets=pairs(definition.get("Secrets"), "ValueFrom"),
        depends_on=container.depends_on,
        has_healthcheck=bool(definition.get("HealthCheck")),
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in value) if isinstance(value, list) else ()


def pairs(items: Any, value: str) -> dict[str, Any]:
    """Return the values of a CloudFormation list of {"Name": …, `value`: …}, by name."""
    return {
        str(item.get("Name")): item.get(value)
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict)
    }
