"""Read the settings that a team shares in Git: `copilot-testenv.toml`, or a table of pyproject.toml.

No setting about trust is among them, because a checkout of a branch contains that branch's own file.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from copilot_testenv.core.errors import SettingsError

FILE = "copilot-testenv.toml"
TABLE = "copilot-testenv"  # [tool.copilot-testenv] of pyproject.toml
# Each key, and the name of the same setting in `.env`.
KEYS = {
    "application": "COPILOT_APP",
    "service": "COPILOT_SERVICE",
    "services": "COPILOT_SERVICES",
    "own_services": "COPILOT_OWN_SERVICES",
    "environment": "TEST_ENV",
    "protected": "PROTECTED_ENVS",
    "ttl": "DEPLOY_TTL",
    "hours": "OFFICE_HOURS",
    "timeout": "DEPLOY_TIMEOUT",
    "domain": "TEST_DOMAIN",
    "hosted_zone": "TEST_HOSTED_ZONE",
    "capacity": "TEST_CAPACITY",
    "deploy_with": "DEPLOY_WITH",
    "default_branch": "DEFAULT_BRANCH",
    "stage_megabytes": "SANDBOX_STAGE_MB",
    "stage_command": "SANDBOX_STAGE_COMMAND",
}
SEVERITIES = "severities"  # a table of check's rules
_LISTS = frozenset({"protected", "services", "own_services"})
_NEVER = {
    "target": "DEPLOY_TARGET",
    "trusted": "TRUSTED_CHANGES",
    "trusted_changes": "TRUSTED_CHANGES",
    "manifest_variables": "MANIFEST_VARIABLES",
}


def read(root: Path) -> dict[str, str]:
    """Return the committed settings, by their names in `.env`.

    Raises SettingsError where one is not valid.
    """
    where, table = _found(root)
    known = {key: value for key, value in table.items() if key != SEVERITIES}
    return {KEYS[key]: _text(where, key, value) for key, value in known.items() if _is_known(where, key)}


def severities(root: Path) -> dict[str, str]:
    """Return the severity that the team chose for each rule of `check`: error, warning or off.

    Raises SettingsError where one is not valid.
    """
    where, table = _found(root)
    chosen = table.get(SEVERITIES, {})
    if not isinstance(chosen, dict):
        raise SettingsError(f'{where}: `{SEVERITIES}` must be a table, such as {{ mail = "off" }}.')
    for rule, severity in chosen.items():
        if severity not in {"error", "warning", "off"}:
            raise SettingsError(
                f"{where}: the severity of `{rule}` is {severity!r}: write error, warning or off."
            )
    return chosen


def _found(root: Path) -> tuple[str, dict[str, Any]]:
    """Return the table of settings, empty where there is none, and how a message names it."""
    own, shared = _table(root / FILE), _table(root / "pyproject.toml")
    tool = (shared or {}).get("tool")
    in_project = tool.get(TABLE) if isinstance(tool, dict) else None
    if own is not None and in_project is not None:
        raise SettingsError(f"{FILE} and [tool.{TABLE}] of pyproject.toml both exist: keep one of them.")
    where = FILE if own is not None else f"[tool.{TABLE}] of pyproject.toml"
    table = own if own is not None else in_project
    if table is None:
        return where, {}
    if not isinstance(table, dict):
        raise SettingsError(f"{where} is not a table: write {where} and the keys below it.")
    return where, table


def _table(file: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.") from error


def _is_known(where: str, key: str) -> bool:
    """Return True for a known key. Raises SettingsError for any other, with the nearest known one."""
    if key in KEYS:
        return True
    if key in _NEVER:
        raise SettingsError(
            f"{where} has `{key}`, which is never read from there, because a branch has its own version of "
            f"the file. Set {_NEVER[key]} in the environment, or in .env."
        )
    near = difflib.get_close_matches(key, KEYS, 1)
    hint = f"write `{near[0]}` if that is meant" if near else f"the keys are {', '.join((*KEYS, SEVERITIES))}"
    raise SettingsError(f"{where} has an unknown key, `{key}`: {hint}.")


def _text(where: str, key: str, value: object) -> str:
    if key in _LISTS and isinstance(value, list) and all(isinstance(name, str) for name in value):
        return ",".join(value)
    if key == "stage_megabytes" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    wanted = "a list of names" if key in _LISTS else "a text in quotes"
    raise SettingsError(f"{where}: `{key}` is {value!r}: it must be {wanted}.")
