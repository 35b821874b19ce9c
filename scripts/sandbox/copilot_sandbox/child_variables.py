"""The variables that a child process gets: those of an allow-list, never the whole environment.

Only the standard library is used here: the `docker` of the sandbox starts without site-packages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Where programs, folders and messages are; each child gets these. A name that ends in `*` is a beginning.
BASE = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM", "NO_COLOR")
# The way to the network, as curl, OpenSSL and Go read it.
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
# How pip reaches an index; its other options are places to read and to write.
PIP = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST"),
    *("PIP_CERT", "PIP_PROXY", "PIP_CONSTRAINT", "PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT", "PIP_RETRIES"),
    *("PIP_ONLY_BINARY", "PIP_NO_BINARY", "PIP_PREFER_BINARY"),
)
BUILD = (*NETWORK, *PIP, "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR")
# What points Docker's client at a daemon; nothing of it reaches Copilot here.
DOCKER = ("DOCKER_*", "BUILDX_*", "BUILDKIT_*", "SSH_AUTH_SOCK")
# What the server needs, beside the base.
SERVER = (
    *NETWORK,
    *("PIP_*", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV", "SANDBOX_*", "XDG_CACHE_HOME"),
    *("PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"),
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")


def selected(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables of these names, or beginnings of names where one ends in `*`."""
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in environ.items()
        if name in exact or (beginnings and name.startswith(beginnings))
    }


def inherited(*more: str) -> dict[str, str]:
    """Return what a child gets of this process's variables: the base, and those that are named."""
    return {**selected(os.environ, (*BASE, *more)), "PATH": path()}


def path(*before: str) -> str:
    """PATH with these folders in front, without relative ones: a child's folder can be a branch's."""
    found = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join((*before, *(folder for folder in found if os.path.isabs(folder))))  # noqa: PTH117 - a text


def without_credentials(variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables whose values hold no name or password in a URL, and the others' names, sorted."""
    plain = {name: value for name, value in variables.items() if not has_credentials(value)}
    return plain, sorted(variables.keys() - plain.keys())


def has_credentials(value: str) -> bool:
    """Return True if a URL in the value carries a user or a password, or can be read in two ways."""
    for word in value.replace(",", " ").split():
        if "@" not in word:
            continue
        try:
            parts = urlsplit(word if _URL.fullmatch(word) else f"//{word}")
        except ValueError:
            return True
        if "@" in parts.netloc or not parts.scheme or parts.scheme != "file":
            return True
    return False
