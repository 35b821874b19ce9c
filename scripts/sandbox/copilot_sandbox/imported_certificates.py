"""Finds the certificates that environments import, and the host names for which Copilot looks in them.

A workspace names a certificate of somebody's AWS account. Here a stand-in takes its name: Copilot reads from
it that it covers the aliases of the services.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ARN = "arn:aws:acm:"


def of_workspace(root: Path) -> Mapping[str, list[str]]:
    """Return the ARN of each imported certificate, with the host names of all services and branches.

    Manifests that cannot be read are skipped, because Copilot reports them itself.
    """
    named = sorted({name for file in root.glob("copilot/*/manifest.yml") for name in _aliases(_read(file))})
    files = root.glob("copilot/environments/*/manifest.yml")
    arns = {arn for file in files for arn in _imported(_read(file))}
    hosts = [*named, "*.localhost"]
    return dict.fromkeys(sorted(arns), hosts)


def _imported(manifest: Mapping[str, Any]) -> Iterator[str]:
    http = _mapping(manifest.get("http"))
    for holder in (_mapping(http.get("public")), _mapping(http.get("private"))):
        listed = holder.get("certificates")
        for arn in listed if isinstance(listed, list) else ():
            if isinstance(arn, str) and arn.startswith(_ARN):
                yield arn


def _aliases(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the aliases of the base and of each environment's block, in each form that Copilot knows.

    Source: https://aws.github.io/copilot-cli/docs/manifest/lb-web-service/#http-alias
    """
    for block in (manifest, *_mapping(manifest.get("environments")).values()):
        http = _mapping(_mapping(block).get("http"))
        more = http.get("additional_rules")
        for rule in (http, *(more if isinstance(more, list) else ())):
            alias = _mapping(rule).get("alias")
            for each in alias if isinstance(alias, list) else [alias]:
                name = _mapping(each).get("name", each)
                if isinstance(name, str) and name:
                    yield name


def _read(file: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
        return _mapping(yaml.load(file.read_text(encoding="utf-8"), Loader=_SAFE))  # noqa: S506 - both are safe
    return {}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
