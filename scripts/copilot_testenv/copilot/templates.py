"""What Copilot makes of a service or an environment: a template, or the refusal to make one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from copilot_testenv.copilot import cloudformation


@dataclass(frozen=True)
class Template:
    """A stack's template, override patches applied, and its parameters. `addons` is a template too."""

    text: str
    parameters: Mapping[str, str]
    addons: str | None = None

    @cached_property
    def body(self) -> dict[str, Any]:
        """The template's content; `!Ref x` and `!Sub x` are {"Ref": x} and {"Fn::Sub": x}.

        It is empty where patches have made something else of it.
        """
        found = cloudformation.parse(self.text)
        return found if isinstance(found, dict) else {}

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The resources whose properties are a mapping or none; patches can make something else of one."""
        found = self.body.get("Resources")
        return {
            name: resource
            for name, resource in (found.items() if isinstance(found, dict) else ())
            if isinstance(resource, dict) and isinstance(resource.get("Properties"), dict | None)
        }


@dataclass(frozen=True)
class Refusal:
    """Copilot will not deploy this; `why` are its own words, on one line."""

    why: str
