"""Read the containers of a task from the task definition that Copilot renders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from copilot_testenv.copilot.templates import Template

_TASK_DEFINITION = "AWS::ECS::TaskDefinition"
COPILOTS = "COPILOT_"  # prefix of the variables that Copilot gives every container


@dataclass(frozen=True)
class Container:
    """One container. `image` is None where Copilot builds it when it deploys.

    `depends_on` maps the containers that it waits for to Copilot's condition: start, healthy, complete or
    success. `starts` is its place in the order of start, from 1: it is higher than that of every container
    that it waits for. `variables` and `secrets` are names only, because their values are not shown.
    """

    name: str
    image: str | None
    essential: bool
    starts: int
    depends_on: Mapping[str, str]
    ports: tuple[str, ...]
    variables: tuple[str, ...]
    secrets: tuple[str, ...]

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """A property that differs between environments: each one's value; None where the container is missing."""

    container: str
    what: str
    environments: Mapping[str, Any]


def containers(template: Template) -> tuple[Container, ...]:
    """Return the containers of a service's stack in their order of start; empty where it has no tasks."""
    named = [(_name(definition, template), definition) for definition in _definitions(template)]
    depends_on = {name: _depends_on(definition, template) for name, definition in named}
    order = _order(depends_on)
    rendered = [
        Container(
            name=name,
            image=_text(definition.get("Image"), template) or None,
            essential=str(definition.get("Essential", True)).lower() != "false",
            starts=order[name],
            depends_on=depends_on[name],
            ports=tuple(_ports(definition.get("PortMappings"), template)),
            variables=_names(definition.get("Environment"), template),
            secrets=_names(definition.get("Secrets"), template),
        )
        for name, definition in named
    ]
    return tuple(sorted(rendered, key=lambda container: (container.starts, container.name)))


def definitions(template: Template) -> dict[str, Mapping[str, Any]]:
    """Return the definition of each container in the task definition, by name."""
    return {_name(definition, template): definition for definition in _definitions(template)}


def differences(environments: Mapping[str, Sequence[Container]]) -> list[Difference]:
    """Return the differences between environments.

    In lists of names, the names that all share are left out.
    """
    found = []
    by_name = {environment: {each.name: each for each in held} for environment, held in environments.items()}
    for name in dict.fromkeys(each.name for held in environments.values() for each in held):
        there = {environment: held.get(name) for environment, held in by_name.items()}
        if None in there.values():
            found.append(Difference(name, "container", {key: bool(each) for key, each in there.items()}))
        for what in ("image", "essential", "depends_on", "ports", "variables", "secrets"):
            values: dict[str, Any] = {key: each and getattr(each, what) for key, each in there.items()}
            given = [getattr(each, what) for each in there.values() if each]
            if all(value == given[0] for value in given):
                continue
            if isinstance(given[0], tuple):
                shared = set(given[0]).intersection(*given)
                values = {
                    key: None if value is None else [each for each in value if each not in shared]
                    for key, value in values.items()
                }
            found.append(Difference(name, what, values))
    return found


def diagram(environments: Mapping[str, Sequence[Container]]) -> str:
    """Return the order of start as a Mermaid diagram.

    An arrow leads to the container that waits; a container with round corners may end.
    """
    lines = ["flowchart LR"]
    for number, (environment, held) in enumerate(environments.items()):
        ids = {container.name: f"e{number}c{place}" for place, container in enumerate(held)}
        lines.append(f'  subgraph e{number}["{_quoted(environment)}"]')
        for container in held:
            label = "<br/>".join(_quoted(part) for part in (container.name, *container.ports))
            shape = f'["{label}"]' if container.essential else f'("{label}")'
            lines.append(f"    {ids[container.name]}{shape}")
        for container in held:
            for other, condition in container.depends_on.items():
                if other in ids:
                    lines.append(f'    {ids[other]} -->|"{_quoted(condition)}"| {ids[container.name]}')
        lines.append("  end")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return text.replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace("\n", " ")


def _order(waiting: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """Return each container's place in the order of start: above the places of those that it waits for."""
    order: dict[str, int] = {}

    def place(name: str) -> int:
        if name not in order:
            order[name] = 1  # ends the recursion where a patch has made a circle, which ECS refuses
            order[name] = 1 + max((place(other) for other in waiting.get(name, ())), default=0)
        return order[name]

    for name in waiting:
        place(name)
    return order


def _definitions(template: Template) -> Iterator[Mapping[str, Any]]:
    for resource in template.resources.values():
        if resource.get("Type") == _TASK_DEFINITION:
            yield from _each((resource.get("Properties") or {}).get("ContainerDefinitions"))


def _name(container: Mapping[str, Any], template: Template) -> str:
    return _text(container.get("Name"), template)


def _depends_on(container: Mapping[str, Any], template: Template) -> dict[str, str]:
    return {
        _text(each.get("ContainerName"), template): _text(each.get("Condition"), template).lower()
        for each in _each(container.get("DependsOn"))
    }


def _ports(mappings: Any, template: Template) -> Iterator[str]:
    for each in _each(mappings):
        protocol = _text(each.get("Protocol"), template) or "tcp"
        yield f"{_text(each.get('ContainerPort'), template)}/{protocol}"


def _names(pairs: Any, template: Template) -> tuple[str, ...]:
    return tuple(sorted({_name(each, template) for each in _each(pairs)}))


def _each(items: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in a list, including those in both branches of an `Fn::If`."""
    for item in items if isinstance(items, Iterable) and not isinstance(items, str | dict) else [items]:
        if isinstance(item, dict) and "Fn::If" in item:
            branches = item["Fn::If"]
            yield from _each(branches[1:] if isinstance(branches, list) else [])
        elif isinstance(item, list):
            yield from _each(item)
        elif isinstance(item, dict) and item != {"Ref": "AWS::NoValue"}:
            yield item


def _text(value: Any, template: Template) -> str:  # noqa: PLR0911 - one for each form
    """Return a value of the template as text: parameters filled in, and `${…}` for values of the deploy."""

    def known(match: re.Match[str]) -> str:
        return _text({"Ref": match[1]}, template) if match[1] in template.parameters else match[0]

    match value:
        case None:
            return ""
        case str() | int() | float():
            return str(value)
        case {"Ref": str(name)}:
            return template.parameters.get(name, f"${{{name}}}")
        case {"Fn::Sub": str(text)} | {"Fn::Sub": [str(text), *_]}:
            return re.sub(r"\$\{([\w:.]+)\}", known, text)
        case {"Fn::Join": [str(between), [*parts]]}:
            return between.join(_text(part, template) for part in parts)
        case {"Fn::If": [_, one, other]}:
            return " or ".join(part for part in (_text(one, template), _text(other, template)) if part)
        case {"Fn::GetAtt": [*parts]}:
            return f"${{{'.'.join(map(str, parts))}}}"
        case _:
            return json.dumps(value, default=str)
