"""The variables of a build's steps: nothing of the user's but pip's way to its index, without credentials.

What a build runs (pip, and the build back ends of the branch that pip starts) sees no home, token, agent or
AWS of the user's. Only the standard library is used here.
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

USERS_PROXY = "SANDBOX_USER_HTTPS_PROXY"
# Set in Copilot's processes: the names, with commas, of what was not handed on because of its credentials.
WITHHELD = "SANDBOX_WITHHELD"
# What ENV and ARG of a Dockerfile may say to pip: its index and how it installs, and no place to write to.
_OF_DOCKERFILES = frozenset(
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


def of_dockerfile(variables: Mapping[str, str]) -> dict[str, str]:
    """Return pip's variables out of those of ENV and ARG."""
    return {name: value for name, value in variables.items() if name in _OF_DOCKERFILES}


def handed_on() -> dict[str, str]:
    """Return what a process of Copilot's hands on to the builder, which it starts: no credentials either."""
    found = _of_configuration() | child_variables.selected(os.environ, child_variables.PIP)
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if proxy:
        found[USERS_PROXY] = proxy
    plain, withheld = child_variables.without_credentials(found)
    names = sorted("HTTPS_PROXY" if name == USERS_PROXY else name for name in withheld)
    return {**plain, WITHHELD: ",".join(names)}


def of_step(home: Path, cache: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a step; `variables` are pip's of the Dockerfile, `home` is thrown away.

    A process of Copilot's has HTTPS_PROXY pointing at the embedded AWS, which serves no packages.
    """
    found = child_variables.selected(os.environ, child_variables.BUILD)
    if WITHHELD in os.environ:
        found = {name: value for name, value in found.items() if not name.lower().endswith("_proxy")}
        if proxy := os.environ.get(USERS_PROXY):
            found["HTTPS_PROXY"] = proxy
    else:
        found = _of_configuration() | found
    plain, _ = child_variables.without_credentials(found)
    return {
        **plain,
        "PATH": child_variables.path(),
        "HOME": str(home),
        "PIP_CACHE_DIR": str(cache),
        "PIP_USER": "0",  # a `user = true` of the machine's would send the packages past the environment
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        **variables,
    }


def withheld() -> str:
    """Return a sentence on what was not handed on, for an install that failed; empty where all was."""
    names = set(filter(None, os.environ.get(WITHHELD, "").split(",")))
    if WITHHELD not in os.environ:
        found = _of_configuration() | child_variables.selected(os.environ, child_variables.BUILD)
        names |= set(child_variables.without_credentials(found)[1])
    if not names:
        return ""
    return (
        f"\n  (Not handed to the build, whose code is the branch's, because of the name or password in it: "
        f"{', '.join(sorted(names))}. Name an index or a proxy that needs none.)"
    )


def _of_configuration() -> dict[str, str]:
    """Return what the user's own pip.conf says of the index, as variables: a build has another home.

    Source: https://pip.pypa.io/en/stable/topics/configuration/
    """
    home = Path(os.environ.get("HOME") or "/nonexistent")
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    found: dict[str, str] = {}
    for file in (
        home / ".pip/pip.conf",
        home / "Library/Application Support/pip/pip.conf",
        folder / "pip/pip.conf",
        Path(os.environ.get("PIP_CONFIG_FILE") or os.devnull),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (OSError, ValueError, configparser.Error):  # pip says what is wrong with it
            continue
        for section in ("global", "install"):
            for key, value in parser.items(section) if parser.has_section(section) else ():
                name = "PIP_" + re.sub(r"[-_]", "_", key).upper()
                if name in child_variables.PIP and value.strip():
                    found[name] = " ".join(value.split())
    return found
