"""A JSON schema of Copilot's manifests for editors, from the same keys that `check` knows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from copilot_testenv.check import forms, schema

Schema = dict[str, Any]

_DRAFT = "http://json-schema.org/draft-07/schema#"  # the one that yaml-language-server reads
_VARIABLE = {"type": "string", "pattern": r"\$\{"}  # only Copilot knows its value
_NOTHING = {"type": "null"}
_NUMBER: list[Schema] = [{"type": "number"}, {"type": "string", "pattern": r"^\d+\.?$"}]
_SWITCH: list[Schema] = [{"type": "boolean"}, {"enum": ["yes", "no", "on", "off", "y", "n"]}]
# Source: https://pkg.go.dev/time#ParseDuration
_DURATION: list[Schema] = [
    {"type": "string", "pattern": r"^[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+)$"}
]
_LIST = {"type": "string", "pattern": r"^\["}  # Copilot also reads a list from a text in JSON
_SCALARS = {"number": _NUMBER, "switch": _SWITCH, "duration": _DURATION}


def of_manifests() -> Schema:
    """Return the schema of a manifest of any type: of a service, a job, an environment or a pipeline."""
    shared: dict[str, str] = {}
    types = [*schema.kinds(), "Environment"]
    branches: list[Schema] = []
    for kind in (*types, "Pipeline"):
        found = _Writer(shared, environment=kind not in schema.kinds()).value((), schema.read_of(kind))
        is_it: Schema = {"properties": {"type": {"const": kind}}, "required": ["type"]}
        branches.append({"if": {"required": ["source"]} if kind == "Pipeline" else is_it, "then": found})
    return {
        "$schema": _DRAFT,
        "title": "A manifest of AWS Copilot 1.34.1",
        "type": "object",
        "properties": {"type": {"enum": types}},
        "anyOf": [{"required": ["type"]}, {"required": ["source"]}],  # a pipeline has no type
        "allOf": branches,
        "definitions": {name: json.loads(text) for text, name in shared.items()},
    }


@dataclass(frozen=True)
class _Writer:
    """Writes the schema of one type's keys. `shared` has the names of mappings that are written once."""

    shared: dict[str, str]
    environment: bool

    def value(self, place: schema.Place, read: Any) -> Schema:
        """Return the schema of the value at a key; keys.yml says what `read` may be."""
        if isinstance(read, list):
            items = self.value(place, read[0]) if read and read[0] else {}
            return {"anyOf": [{"type": "array", "items": items}, _LIST, _VARIABLE, _NOTHING]}
        if isinstance(read, dict):
            return self._mapping(place, read)
        if read in _SCALARS:
            return {"anyOf": [*_SCALARS[read], _VARIABLE, _NOTHING]}
        form = forms.of(place, environment=self.environment)
        return {"anyOf": [{"enum": list(form.known)}, {}]} if form and form.known else {}  # for completion

    def _mapping(self, place: schema.Place, read: dict[str, Any]) -> Schema:
        """Return the schema of a mapping, or of a list of them; Copilot may take a text there too."""
        known = {key: self.value((*place, key), below) for key, below in read.items() if key != "*"}
        others: Schema | bool = self.value((*place, "*"), read["*"]) if "*" in read else False
        mapping: Schema = {"properties": known, "additionalProperties": others}
        if not place:
            mapping["patternProperties"] = {"^x-": {}}  # a holder of anchors
        text = json.dumps({**mapping, "items": mapping}, sort_keys=True)
        return {"$ref": f"#/definitions/{self.shared.setdefault(text, f'keys-{len(self.shared)}')}"}
