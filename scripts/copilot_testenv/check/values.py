"""Find values that Copilot cannot read. Where a key accepts several forms, Copilot drops others silently."""

from __future__ import annotations

import difflib
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
# Text in YAML 1.2, but Copilot reads it as true or false. Source: decode.go of gopkg.in/yaml.v3
_SWITCH = re.compile(r"y|n|yes|no|on|off", re.IGNORECASE)
_SIMILAR = 0.4  # of a name that may be meant
_NAMED = {("variables",), ("secrets",)}
# Keys that have keys below them, and never a list.
_MAPPINGS = frozenset(
    [
        *(
            "variables",
            "secrets",
            "sidecars",
            "environments",
            "args",
            "labels",
            "tags",
            "depends_on",
            "volumes",
        ),
        *(
            "image",
            "build",
            "network",
            "vpc",
            "storage",
            "logging",
            "deployment",
            "observability",
            "http",
            "nlb",
        ),
        *("on", "subscribe", "publish", "source", "deployments", "pre_deployments", "post_deployments"),
    ]
)
_TEXTS = frozenset(
    [
        *(
            "success_codes",
            "rolling",
            "schedule",
            "version",
            "tracing",
            "dockerfile",
            "context",
            "target",
            "type",
        ),
        *(
            "location",
            "source_volume",
            "ssl_policy",
            "target_container",
            "hosted_zone",
            "provider",
            "repository",
        ),
        *("branch", "buildspec", "env_file", "path", "from_cfn", "secretsmanager"),
    ]
)
_NAMES = frozenset({"build", "dockerfile", "context", "location", "source_volume"})
_TAG = "tag:yaml.org,2002:"


def unread(project: Project) -> Iterator[Finding]:
    """Find values of the wrong type. Copilot drops some silently.

    Source addresses that are not a list, for example, leave the service open to every address.
    """
    for document, top in schema.documents(project):
        for entry in schema.written(document, top):
            is_list = isinstance(entry.value, yaml.SequenceNode)
            if entry.place[-1:] in _NAMED and is_list:
                what = f"Copilot cannot read this value of `{entry.name}`: it is a list"
                instead = "write one text, in quotes if it is JSON"
                yield Finding(document.path, line_of(entry.key), "unread-value", "error", what, instead)
            elif is_list and _is_no_list(entry):
                wanted = "keys" if entry.key.value in _MAPPINGS else "one text"
                what = f"Copilot cannot read this value of `{entry.name}`: it is a list"
                line = line_of(entry.value)
                yield Finding(document.path, line, "unread-value", "error", what, f"write {wanted} there")
            elif entry.place[-1:] == ("secrets",) and entry.value.tag == f"{_TAG}null":
                what = f"the secret `{entry.name}` has no name"
                instead = "write the name of the parameter in SSM"
                yield Finding(document.path, line_of(entry.key), "unread-value", "error", what, instead)
            elif entry.key.value in _NAMES and entry.value.tag == f"{_TAG}bool":
                what = f"Copilot cannot read this value of `{entry.name}`: it is true or false"
                line = line_of(entry.key)
                yield Finding(document.path, line, "unread-value", "error", what, "write a path or a name")
            if not _fits(entry.value, entry.read, fractions="rollback_alarms" in entry.place):
                what = f"Copilot cannot read this value of `{entry.name}`: it refuses it, or ignores it"
                instead = _instead(entry.value, entry.read)
                yield Finding(document.path, line_of(entry.key), "unread-value", "error", what, instead)


def overrides(project: Project) -> Iterator[Finding]:
    """Find items of `taskdef_overrides` without a value: Copilot leaves the property out."""
    for document in project.services.values():
        listed = document.get("taskdef_overrides")
        for number, item in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(item, dict) and item.get("path") and "value" not in item:
                what = f"the override of {item['path']} has no value, so Copilot leaves it out"
                line = document.line("taskdef_overrides", number)
                yield Finding(document.path, line, "unread-value", "error", what, "add its `value`")


def _is_no_list(entry: schema.Entry) -> bool:
    """Return True for a key for which Copilot reads no list."""
    known = entry.key.value in (_MAPPINGS | _TEXTS) and not isinstance(entry.read, list)
    return known and entry.place[-1:] not in _NAMED


def _fits(value: yaml.Node, read: Any, *, fractions: bool) -> bool:
    scalar = value.value if isinstance(value, yaml.ScalarNode) else None
    tag = value.tag.removeprefix(_TAG)
    if tag == "null" or (scalar is not None and "${" in scalar):
        return True  # there is no value, or only Copilot knows the value of the variable
    match read:
        case list():  # Copilot also reads a list from a text in JSON
            return isinstance(value, yaml.SequenceNode) or (scalar is not None and scalar.startswith("["))
        case "number":
            whole = tag == "int" or (tag == "float" and str(scalar).rstrip("0").endswith("."))
            return whole or (fractions and tag == "float")
        case "switch":
            return tag == "bool" or (scalar is not None and bool(_SWITCH.fullmatch(scalar)))
        case "duration":
            return tag == "str" and bool(_DURATION.fullmatch(str(scalar)))
    return True


def _instead(value: yaml.Node, read: Any) -> str:
    if isinstance(read, list):
        return f"write a list: `[{value.value}]`" if isinstance(value, yaml.ScalarNode) else "write a list"
    if read == "number" and value.tag == f"{_TAG}float":
        return "write a whole number"
    if read == "duration" and str(value.value).isdigit():
        return f"write its unit: `{value.value}s`"
    return {
        "number": "write a number, without quotes",
        "switch": "write true or false, without quotes",
        "duration": "write a duration, such as `90s` or `1m30s`",
    }[read]


def types(project: Project) -> Iterator[Finding]:
    """Find types of services that Copilot does not have: it does not see such a service."""
    for document in project.services.values():
        kind = document.get("type")
        if kind not in schema.kinds():
            near = difflib.get_close_matches(str(kind), schema.kinds(), 1, _SIMILAR)
            what = f"Copilot has no type of service {kind!r}"
            instead = f"write `type: {near[0]}`" if near else f"write one of {', '.join(schema.kinds())}"
            yield Finding(document.path, document.line("type"), "type", "error", what, instead)


RULES = (unread, overrides, types)
