"""Choose the environment variables of a child process from an allow-list; all others are withheld.

The sandbox has such a module too, with other lists: the tasks and the sandbox may not import each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

# Every child gets these: they name folders, the language of messages and so on. A name that ends in `*` is a
# prefix.
BASE = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM", "NO_COLOR")
# A credential helper (of Git, of Docker, or a `credential_process`) finds the user's keyring by these.
KEYRING = (
    *("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"),
    *("GNUPGHOME", "PASSWORD_STORE_DIR"),
)
# Proxies and certificates, as curl, OpenSSL and Go read them.
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
# `git fetch` needs these for SSH, and for HTTPS as the user or CI has configured it; actions/checkout and
# GitLab set GIT_CONFIG_*. A credential helper is the user's own program; its settings are in HOME.
GIT = (
    *NETWORK,
    *KEYRING,
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"),
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_SSL_*", "GIT_CONFIG_*"),
    *("GIT_HTTP_PROXY", "GIT_PROXY_COMMAND", "GIT_ALLOW_PROTOCOL"),
)
DOCKER = (*KEYRING, "DOCKER_*", "BUILDX_*", "BUILDKIT_*", "SSH_AUTH_SOCK")
# All AWS_*, because a profile can get its credentials from a program (`credential_process`, aws-vault, SSO).
COPILOT = (*NETWORK, *DOCKER, "AWS_*", "CI", "COLOR")
# The sandbox's server reads the settings of the tasks itself, so it needs their variables too.
SANDBOX = (
    *NETWORK,
    *("PIP_*", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV", "CI", "COPILOT_APP", "COPILOT_SERVICE"),
    *("DEPLOY_*", "TEST_ENV", "TEST_DOMAIN", "TEST_HOSTED_ZONE", "PROTECTED_ENVS", "SANDBOX_*"),
    *("TRUSTED_CHANGES", "MANIFEST_VARIABLES", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "XDG_CACHE_HOME"),
)


def selected(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables with these names; a name that ends in `*` is a prefix."""
    exact = {name for name in names if not name.endswith("*")}
    prefixes = tuple(name[:-1] for name in names if name.endswith("*"))
    return {
        name: value
        for name, value in environ.items()
        if name in exact or (prefixes and name.startswith(prefixes))
    }


def inherited(*more: str) -> dict[str, str]:
    """Return the variables that a child inherits from this process: BASE, and the names in `more`."""
    return {**selected(os.environ, (*BASE, *more)), "PATH": path()}


def path(*before: str) -> str:
    """Return PATH with these folders in front, and without its relative folders.

    A child can run in a branch's folder, where a relative folder would lead to the branch's programs.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join((*before, *(folder for folder in folders if os.path.isabs(folder))))  # noqa: PTH117 - a text
