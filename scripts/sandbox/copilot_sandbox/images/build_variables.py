"""The variables of a build's steps: of the user's only the settings of pip's index, without credentials.

The build's programs (pip, and the branch's build back ends that pip starts) get no home, token, agent or AWS
settings of the user. Only the standard library is used here.
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox import child_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

# The user's proxies in Copilot's processes, where HTTPS_PROXY points at the embedded AWS.
_USERS = {name: f"SANDBOX_USER_{name}" for name in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")}
# Set in Copilot's processes: the names, with commas, of variables that were withheld for their credentials.
WITHHELD = "SANDBOX_WITHHELD"
# pip's settings that a Dockerfile may set by ENV and ARG: index and way of installing, but no place to write.
_DOCKERFILE_NAMES = frozenset(
    [
        *child_variables.PIP,
        "PIP_NO_BUILD_ISOLATION",
        "PIP_NO_COMPILE",
        "PIP_NO_DEPS",
        "PIP_PRE",
        "PIP_PROGRESS_BAR",
        "PIP_QUIET",
        "PIP_REQUIRE_HASHES",
        "PIP_ROOT_USER_ACTION",
        "PIP_UPGRADE",
        "PIP_USE_PEP517",
        "PIP_VERBOSE",
    ]
)


def pip_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return pip's variables among those of ENV and ARG."""
    return {name: value for name, value in variables.items() if name in _DOCKERFILE_NAMES}


def forwarded() -> dict[str, str]:
    """Return the variables that Copilot's process passes to the builder, which it starts; no credentials."""
    variables = _pip_configuration() | child_variables.selected(os.environ, child_variables.PIP)
    variables |= {_USERS[name]: value for name, value in _proxies().items()}
    plain, names_withheld = child_variables.without_credentials(variables)
    names = sorted(name.removeprefix("SANDBOX_USER_") for name in names_withheld)
    return {**plain, WITHHELD: ",".join(names)}


def _proxies() -> dict[str, str]:
    """Return the user's proxies by the names in capitals, credentials included."""
    if WITHHELD in os.environ:
        return {name: os.environ[other] for name, other in _USERS.items() if os.environ.get(other)}
    found = {name: os.environ.get(name) or os.environ.get(name.lower(), "") for name in _USERS}
    return {name: value for name, value in found.items() if value}


def engine_proxies() -> dict[str, str]:
    """Return the proxies, without credentials, for a build of an engine: Podman passes them to the steps.

    Source: https://docs.podman.io/en/latest/markdown/podman-build.1.html#http-proxy
    """
    return child_variables.without_credentials(_proxies())[0]


def step_variables(home: Path, cache: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return a step's whole environment. `variables` are pip's from the Dockerfile; `home` is temporary.

    In Copilot's processes HTTPS_PROXY points at the embedded AWS, which serves no packages.
    """
    users = child_variables.selected(os.environ, child_variables.BUILD)
    if WITHHELD in os.environ:
        users = {name: value for name, value in users.items() if not name.lower().endswith("_proxy")}
        users |= _proxies()
    else:
        users = _pip_configuration() | users
    plain, _ = child_variables.without_credentials(users)
    return {
        **plain,
        **child_variables.mark(),
        "PATH": child_variables.path(),
        "HOME": str(home),
        "PIP_CACHE_DIR": str(cache),
        "PIP_USER": "0",  # the machine's `user = true` would install outside the environment
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        **variables,
    }


def withheld_note() -> str:
    """Return a sentence with the withheld variables, for a failed install; empty if there are none."""
    names = set(filter(None, os.environ.get(WITHHELD, "").split(",")))
    if WITHHELD not in os.environ:
        variables = _pip_configuration() | child_variables.selected(os.environ, child_variables.BUILD)
        names |= set(child_variables.without_credentials(variables)[1])
    if not names:
        return ""
    return (
        f"\n  (Withheld from the build, which runs the branch's code, because of the name or password in it: "
        f"{', '.join(sorted(names))}. Use an index or a proxy without credentials.)"
    )


def _pip_configuration() -> dict[str, str]:
    """Return the index settings of the user's pip.conf as variables, because a build has another home.

    Source: https://pip.pypa.io/en/stable/topics/configuration/
    """
    home = Path(os.environ.get("HOME") or "/nonexistent")
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    settings: dict[str, str] = {}
    for file in (
        home / ".pip/pip.conf",
        home / "Library/Application Support/pip/pip.conf",
        folder / "pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, ValueError, configparser.Error):  # pip itself reports the error
            continue
        for section in ("global", "install"):
            for key, value in parser.items(section) if parser.has_section(section) else ():
                name = "PIP_" + re.sub(r"[-_]", "_", key).upper()
                if name in child_variables.PIP and value.strip():
                    settings[name] = " ".join(value.split())
    return settings
