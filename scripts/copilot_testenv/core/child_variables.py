"""The variables that a child process gets: those of an allow-list, never the whole environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

# Where programs, folders and messages are; each child gets these. A name that ends in `*` is a beginning.
BASE = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TERM", "NO_COLOR")
# Where a helper for credentials (Git's, Docker's, `credential_process`) finds the user's keyring.
KEYRING = (
    *("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"),
    *("GNUPGHOME", "PASSWORD_STORE_DIR"),
)
# The way to the network, as curl, OpenSSL and Go read it.
NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"),
)
# `git fetch` by SSH, or by HTTPS with what a person or CI has set up; actions/checkout and GitLab set
# GIT_CONFIG_*. A credential helper is a program of the user's own, with its own variables in HOME.
GIT = (
    *NETWORK,
    *KEYRING,
    *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE", "DISPLAY", "WAYLAND_DISPLAY"),
    *("GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS", "GIT_SSL_*", "GIT_CONFIG_*"),
    *("GIT_HTTP_PROXY", "GIT_PROXY_COMMAND", "GIT_ALLOW_PROTOCOL"),
)
DOCKER = (*KEYRING, "DOCKER_*", "BUILDX_*", "BUILDKIT_*", "SSH_AUTH_SOCK")
# A profile can get its credentials from a program (`credential_process`, aws-vault, SSO): all AWS_*.
COPILOT = (*NETWORK, *DOCKER, "AWS_*", "CI", "COLOR")
# What the sandbox's server needs: the tasks' own settings are read by it anew.
SANDBOX = (
    *NETWORK,
    *("PIP_*", "NODE_EXTRA_CA_CERTS", "VIRTUAL_ENV", "CI", "COPILOT_APP", "COPILOT_SERVICE"),
    *("DEPLOY_*", "TEST_ENV", "TEST_DOMAIN", "PROTECTED_ENVS", "SANDBOX_*", "TRUSTED_CHANGES"),
    *("MANIFEST_VARIABLES", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "XDG_CACHE_HOME"),
)


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
    """Return PATH with these folders in front, without relative ones: a child's folder can be a branch's."""
    found = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join((*before, *(folder for folder in found if os.path.isabs(folder))))  # noqa: PTH117 - a text
