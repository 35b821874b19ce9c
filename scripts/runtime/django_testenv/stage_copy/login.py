"""Make a user for a tester in the default database; the password comes as a hash only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING

from . import after_steps, guards
from .after import Deployment
from .problems import Misconfigured

if TYPE_CHECKING:
    from .database import Connection, Database

VARIABLE = "TEST_USER_HASH"  # `invoke exec --login` sets it, in the form of Django's PBKDF2PasswordHasher
_HASH = r"pbkdf2_sha256\$\d{5,7}\$[A-Za-z0-9]{8,64}\$[A-Za-z0-9+/=]{40,60}"
_NAME = r"[\w.@+-]{1,150}"  # what Django's own validator takes for a name


def make(
    name: str,
    target: Database,
    server: Connection,
    deployment: Deployment,
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> None:
    """Make user `name` with the password of the hash, or give it to the one that is there; it may do all.

    Raise Refused if the database is not marked as disposable, Misconfigured if the name or the hash is none.
    """
    from django.contrib.auth import get_user_model  # noqa: PLC0415  the apps are loaded by now
    from django.contrib.auth.hashers import identify_hasher  # noqa: PLC0415
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415

    hashed = environ.get(VARIABLE, "")
    if not re.fullmatch(_NAME, name):
        raise Misconfigured("--test-user: a name has letters, digits and . @ + - _, 150 at most")
    if not re.fullmatch(_HASH, hashed):
        raise Misconfigured(f"--test-user: {VARIABLE} holds no hash: `invoke exec --login NAME` sets it")
    try:
        identify_hasher(hashed)
        get_user_model()
    except ImproperlyConfigured as error:
        raise Misconfigured(f"--test-user: the project has no users: {error}") from None
    except ValueError:
        why = "PASSWORD_HASHERS of the settings has no PBKDF2PasswordHasher"
        raise Misconfigured(f"--test-user: {why}") from None
    guards.require_mark(server, target.name)
    users = {"hash": hashed, "users": [{"username": name, "superuser": True}]}
    with closing(target.connect()) as connection, connection.transaction():
        after_steps.BUILT_IN["test_users"](connection, deployment, users, say)
