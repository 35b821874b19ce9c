"""The variables that a child process gets: those of an allow-list, never the whole environment.

Only the standard library is used here, because the sandbox's `docker` starts without site-packages. The tasks
have such a module too, with other lists: the tasks and the sandbox may not import each other.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Places of programs, folders and messages; each child gets these. A name ending in `*` is a prefix.
BASE = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM", "NO_COLOR")
# Proxies and certificates, as curl, OpenSSL and Go read them.
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
# The way to a package index; pip's other options name places to read and write.
PIP = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST"),
    *("PIP_CERT", "PIP_PROXY", "PIP_CONSTRAINT", "PIP_DEFAULT_TIMEOUT", "PIP_TIMEOUT", "PIP_RETRIES"),
    *("PIP_ONLY_BINARY", "PIP_NO_BINARY", "PIP_PREFER_BINARY"),
)
BUILD = (*NETWORK, *PIP, "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR")
# Settings that point Docker's client at a daemon. Here Copilot gets none of them.
DOCKER = ("DOCKER_*", "BUILDX_*", "BUILDKIT_*", "SSH_AUTH_SOCK")
# The server's variables besides the base.
SERVER = (
    *NETWORK,
    *("PIP_*", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV", "SANDBOX_*", "XDG_CACHE_HOME"),
    *("PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"),
)
# In each process of a sandbox: its folder. The sandbox ends what has this mark when it is stopped.
OWNER = "SANDBOX_OWNER"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")


def selected(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables with these names; a name ending in `*` is a prefix."""
    exact = {name for name in names if not name.endswith("*")}
    beginnings = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in environ.items()
        if name in exact or (beginnings and name.startswith(beginnings))
    }


def inherited(*more: str) -> dict[str, str]:
    """Return this process's variables for a child: the base and the named ones."""
    return {**selected(os.environ, (*BASE, *more)), "PATH": path()}


def path(*before: str) -> str:
    """Return PATH with `before` first and without relative folders: a child may run in a branch's folder."""
    entries = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join((*before, *(folder for folder in entries if os.path.isabs(folder))))  # noqa: PTH117 - a text


def mark() -> dict[str, str]:
    """Return the mark of this process's sandbox, for a child; empty outside of a sandbox."""
    return {OWNER: os.environ[OWNER]} if OWNER in os.environ else {}


def without_credentials(variables: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables without credentials in a URL, and the sorted names of the others."""
    plain = {name: value for name, value in variables.items() if not has_credentials(value)}
    return plain, sorted(variables.keys() - plain.keys())


def has_credentials(value: str) -> bool:
    """Return True if a URL in the value has a user or a password, or is ambiguous."""
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
