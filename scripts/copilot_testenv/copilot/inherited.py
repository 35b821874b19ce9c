"""Find the image, variables and secrets that a manifest gives only in the blocks of other environments.

Copilot deploys a block to its own environment alone, so the test environment lacks
what stands in no base.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from copilot_testenv.core.protection import protector

_OWN = "${COPILOT_ENVIRONMENT_NAME}"
_SETTINGS = "DJANGO_SETTINGS_MODULE"


def variables(manifest: Mapping[str, Any], test_env: str) -> dict[str, Any]:
    """Return the variables of the other environments' blocks that the base lacks, with their values.

    A value of an unprotected environment counts before staging's. Production's are left out: they may lead to
    what belongs to it. Only the settings module is taken from there too.
    """
    found: dict[str, Any] = {}
    for name, block in sorted(_blocks(manifest, test_env), key=lambda each: _rank(each[0])):
        for variable, value in _mapping(block.get("variables")).items():
            if variable == _SETTINGS or not _is_production(name):
                found.setdefault(variable, value)
    return {variable: value for variable, value in found.items() if variable not in _given(manifest)}


def secrets(manifest: Mapping[str, Any], test_env: str, path: str) -> dict[str, Any]:
    """Return the secrets of the other environments' blocks that the base lacks.

    A secret that names its environment by a variable stays; any other one becomes `path` and its name, so
    that the test environment has one of its own.
    """
    found: dict[str, Any] = {}
    for _, block in sorted(_blocks(manifest, test_env), key=lambda each: _rank(each[0])):
        for variable, value in _mapping(block.get("secrets")).items():
            found.setdefault(variable, value if _OWN in str(value) else f"{path}{variable}")
    return {variable: value for variable, value in found.items() if variable not in _given(manifest)}


def image(manifest: Mapping[str, Any], test_env: str) -> dict[str, Any]:
    """Return the `image` of the other environments' blocks if the base builds none; else an empty one."""
    if _mapping(manifest.get("image")).get("build"):
        return {}
    blocks = sorted(_blocks(manifest, test_env), key=lambda each: _rank(each[0]))
    found = (_mapping(block.get("image")) for _, block in blocks)
    return next((each for each in found if each.get("build")), {})


def http_path(manifest: Mapping[str, Any], test_env: str) -> str:
    """Return the `http.path` of another environment's block, else `/`; empty if the base has one.

    Copilot has no default. Source: RoutingRule.validate in internal/pkg/manifest/validate.go of
    aws/copilot-cli 1.34.
    """
    if _mapping(manifest.get("http")).get("path"):
        return ""
    blocks = sorted(_blocks(manifest, test_env), key=lambda each: _rank(each[0]))
    found = (_mapping(block.get("http")).get("path") for _, block in blocks)
    return next((each for each in found if isinstance(each, str)), "/")


def start(manifest: Mapping[str, Any], test_env: str) -> dict[str, Any]:
    """Return the `entrypoint` and `command` that stand beside the `image` of another environment."""
    lent = image(manifest, test_env)
    blocks = (block for _, block in sorted(_blocks(manifest, test_env), key=lambda each: _rank(each[0])))
    beside = next((block for block in blocks if lent and _mapping(block.get("image")) == lent), {})
    return {key: beside[key] for key in ("entrypoint", "command") if beside.get(key) and key not in manifest}


def _blocks(manifest: Mapping[str, Any], test_env: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, block in _mapping(manifest.get("environments")).items():
        if str(name) != test_env:
            yield str(name), _mapping(block)


def _rank(name: str) -> int:
    return 2 if _is_production(name) else 1 if protector(name) else 0


def _is_production(name: str) -> bool:
    """Return True for a protected environment that is not staging."""
    return protector(name).strip("…") not in {"", "stag", "stage", "staging", "stg", "uat"}


def _given(manifest: Mapping[str, Any]) -> set[str]:
    return {*_mapping(manifest.get("variables")), *_mapping(manifest.get("secrets"))}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
