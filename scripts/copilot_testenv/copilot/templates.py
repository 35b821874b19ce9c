"""Describe the result of rendering a service or an environment: a template, or Copilot's refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from copilot_testenv.copilot import cloudformation


@dataclass(frozen=True)
class Template:
    """A stack's template, with override patches applied, and its parameters. `addons` is a template too.

    `parsed` is the text's content where it was parsed before: parsing takes longer than reading JSON.
    """

    text: str
    parameters: Mapping[str, str]
    addons: str | None = None
    parsed: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def body(self) -> dict[str, Any]:
        """The template's content (see cloudformation.parse); empty where patches made it not a mapping."""
        content = cloudformation.parse(self.text) if self.parsed is None else self.parsed
        return content if isinstance(content, dict) else {}

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources whose properties are a mapping or missing; patches can break other resources."""
        resources = self.body.get("Resources")
        return {
            name: resource
            for name, resource in (resources.items() if isinstance(resources, dict) else ())
            if isinstance(resource, dict) and isinstance(resource.get("Properties"), dict | None)
        }


@dataclass(frozen=True)
class Refusal:
    """Copilot refuses to deploy this; `why` is its own message, on one line."""

    why: str
