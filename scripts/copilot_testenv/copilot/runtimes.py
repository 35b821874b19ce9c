"""Look up which Lambda runtimes AWS supports, in the dated list in runtimes.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

_FUNCTION = "AWS::Lambda::Function"


@cache
def _listed() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        Path(__file__).with_name("runtimes.json").read_text(encoding="utf-8")
    )
    return content


def target() -> str:
    """Return the runtime that patches raise Copilot's functions to."""
    return str(_listed()["target"]["runtime"])


def functions(template: Mapping[str, Any]) -> dict[str, str]:
    """Return the Lambda functions of a template, by logical id, with their runtimes."""
    resources = template.get("Resources")
    return {
        name: str(resource["Properties"]["Runtime"])
        for name, resource in (resources.items() if isinstance(resources, dict) else ())
        if isinstance(resource, dict)
        and resource.get("Type") == _FUNCTION
        and isinstance(resource.get("Properties"), dict)
        and "Runtime" in resource["Properties"]
    }


def is_refused(runtime: str, today: date) -> bool:
    """Return True if AWS makes no new function on a runtime on that day."""
    known = _listed()["runtimes"].get(runtime)
    return known is not None and today >= date.fromisoformat(known["create_refused"])


def why_outdated(runtime: str, today: date) -> str:
    """Return the reason why a runtime is outdated on that day; empty where it is supported or not listed."""
    known = _listed()["runtimes"].get(runtime)
    if known is None or today < date.fromisoformat(known["deprecated"]):
        return ""
    refused = date.fromisoformat(known["create_refused"])
    makes = f"has made no new function on it since {refused}"
    if refused > today:
        makes = f"makes no new function on it from {refused}"
    return f"AWS has not supported it since {known['deprecated']}, and {makes}"
