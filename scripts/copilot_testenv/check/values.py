"""Values that Copilot does not read: where it takes several forms, it drops what fits none without a word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from copilot_testenv.check import schema
from copilot_testenv.check.document import line_of
from copilot_testenv.check.finding import Finding
from copilot_testenv.check.project import Project

# Source: https://pkg.go.dev/time#ParseDuration
_DURATION = re.compile(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+)")
# What is text to YAML 1.2 and read as true or false nevertheless. Source: decode.go of gopkg.in/yaml.v3
_SWITCH = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
_TAG = "tag:yaml.org,2002:"


def unread(project: Project) -> Iterator[Finding]:
    """Find source addresses that are no list.

    They leave the service open to all, without a word of Copilot's.
    """
    for document, top in schema.documents(project):
        for entry in schema.written(document, top):
            if not _fits(entry.value, entry.read):
                what = f"Copilot does not read such a value for `{entry.name}`: it refuses it, or ignores it"
                instead = _instead(entry.value, entry.read)
                yield Finding(document.path, line_of(entry.key), "unread-value", "error", what, instead)


def _fits(value: yaml.Node, read: Any) -> bool:
    scalar = value.value if isinstance(value, yaml.ScalarNode) else None
    tag = value.tag.removeprefix(_TAG)
    if tag == "null" or (scalar is not None and "${" in scalar):
        return True  # nothing was wanted, or only Copilot knows what will stand there
    match read:
        case list():  # Copilot makes a list of a text that is one in JSON
            return isinstance(value, yaml.SequenceNode) or (scalar is not None and scalar.startswith("["))
        case "number":
            return tag in {"int", "float"}
        case "switch":
            return tag == "bool" or (scalar is not None and bool(_SWITCH.fullmatch(scalar)))
        case "duration":
            return tag == "str" and bool(_DURATION.fullmatch(str(scalar)))
    return True


def _instead(value: yaml.Node, read: Any) -> str:
    if isinstance(read, list):
        return f"write a list: `[{value.value}]`" if isinstance(value, yaml.ScalarNode) else "write a list"
    if read == "duration" and str(value.value).isdigit():
        return f"write its unit: `{value.value}s`"
    return {
        "number": "write a number, without quotes",
        "switch": "write true or false, without quotes",
        "duration": "write a duration, such as `90s` or `1m30s`",
    }[read]


RULES = (unread,)
