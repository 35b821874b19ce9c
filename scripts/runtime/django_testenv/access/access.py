"""Decide whether this process is in a test environment, and who may see it.

It reads the setting TEST_ACCESS, a dictionary, and the password in the variable BASIC_AUTH: docs/access.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

MIDDLEWARE = "django_testenv.access.middleware.AccessMiddleware"
HEALTHZ = "django_testenv.access.healthz.Healthz"
HEALTHZ_PATH = "/healthz"
# Copilot sets this variable in every container, also in sidecars:
# https://aws.github.io/copilot-cli/docs/developing/environment-variables/
ENVIRONMENT = "COPILOT_ENVIRONMENT_NAME"
_PASSWORD = "BASIC_AUTH"  # noqa: S105 - the name of the variable
PRODUCTION = frozenset({"production", "prod", "live"})
_LISTS = ("environments", "open_paths", "mail_backends")
_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_SENDS_NOTHING = {
    f"django.core.mail.backends.{kind}.EmailBackend" for kind in ("console", "dummy", "filebased", "locmem")
}
# Addresses of a sidecar: the containers of a task share one network.
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Access:
    """The access to a test environment. `credentials` is `user:password`; None without a password."""

    credentials: bytes | None = field(repr=False)
    open_paths: tuple[str, ...]

    def needed(self, path: str) -> bytes | None:
        """Return the `user:password` that a request for this path must have; None if it needs none."""
        for each in self.open_paths:
            if path.startswith(each[:-1]) if each.endswith("*") else path == each:
                return None
        return self.credentials


def read() -> Access | None:
    """Return who may see this test environment; None in other environments. Raise ImproperlyConfigured.

    Copilot's name of the environment decides, not a variable of the manifest: a forgotten variable would
    leave a test environment open, and a variable for all environments would close production.
    """
    wanted = _wanted()
    if os.environ.get(ENVIRONMENT) not in wanted["environments"]:
        return None
    return Access(_credentials(os.environ.get(_PASSWORD)), wanted["open_paths"])


def require_closed() -> None:
    """Raise ImproperlyConfigured if a test environment's settings leave it open, or let mail out."""
    if read() is None:
        return
    if next(iter(settings.MIDDLEWARE), None) != MIDDLEWARE:
        raise ImproperlyConfigured(
            f"{MIDDLEWARE} must be the first of MIDDLEWARE: middleware before it, such as WhiteNoise, "
            "answers strangers too."
        )
    backend = settings.EMAIL_BACKEND
    sends_nothing = backend in _SENDS_NOTHING or backend in _wanted()["mail_backends"]
    if not sends_nothing and not (backend == _SMTP and settings.EMAIL_HOST in _LOOPBACK):
        to = f"sends to {settings.EMAIL_HOST}" if backend == _SMTP else "may send it anywhere"
        raise ImproperlyConfigured(
            f"Mail would leave this test environment: {backend} {to}. Set EMAIL_BACKEND to Django's console "
            "backend or EMAIL_HOST to a sidecar on localhost, or name a backend that sends nothing in "
            'TEST_ACCESS["mail_backends"].'
        )


def _wanted() -> dict[str, tuple[str, ...]]:
    """Return TEST_ACCESS with defaults. It is checked everywhere, so that errors appear on a laptop first."""
    given: Any = getattr(settings, "TEST_ACCESS", {})
    if not isinstance(given, dict) or (unknown := given.keys() - set(_LISTS)):
        what = (
            f"does not know {', '.join(sorted(map(repr, unknown)))}"
            if isinstance(given, dict)
            else "is not a dictionary"
        )
        raise ImproperlyConfigured(f"TEST_ACCESS {what}: its keys are {', '.join(_LISTS)}.")
    found = {"environments": ("test",), "open_paths": (), "mail_backends": (), **given}
    for key, value in found.items():
        if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) and each for each in value):
            raise ImproperlyConfigured(f'TEST_ACCESS["{key}"] must be a list of strings.')
    for name in found["environments"]:
        if name.lower() in PRODUCTION:
            raise ImproperlyConfigured(
                f'TEST_ACCESS["environments"] names {name!r}, which is not a test environment.'
            )
    for path in found["open_paths"]:
        star = path.find("*")
        if not path.startswith("/") or path == "/*" or star not in (-1, len(path) - 1):
            raise ImproperlyConfigured(
                f'TEST_ACCESS["open_paths"] has {path!r}: write a path, as /healthz, or the beginning of '
                "some paths, as /hooks/*, but not of all."
            )
    return {key: tuple(value) for key, value in found.items()}


def _credentials(value: str | None) -> bytes | None:
    """Return `user:password` as bytes, as a browser sends it. The error does not show a wrong value."""
    if value is None:
        return None
    user, _, password = value.partition(":")
    if not user or not password or not value.isprintable():
        raise ImproperlyConfigured(
            f"{_PASSWORD} is set and not of the form user:password, on one line: nobody could log in."
        )
    return os.fsencode(value)
