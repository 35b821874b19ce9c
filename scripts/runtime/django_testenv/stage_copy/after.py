"""Change the new database before it takes the target's place: STAGE_COPY["after"].

Steps run in their order, once, and all or nothing: if one fails, the target stays as it is. A function of the
project gets a Deployment; meanwhile Django's default connection leads to the new database, in a transaction.
Its tables are those of staging: the branch's migrations run later.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import project_code
from .known_names import require_known
from .problems import CopyError, Failed, Misconfigured

if TYPE_CHECKING:
    from .database import Database
    from .model import Progress

_SETTING = 'STAGE_COPY["after"]'


_ARGUMENTS = {"django_site": ("domain", "name"), "test_users": ("password", "users"), "tokens_off": ()}


@dataclass(frozen=True)
class Deployment:
    """The deployment that a database is copied for; a text is empty where it is not known."""

    branch: str
    commit: str
    host: str  # without a scheme
    environment: str  # of Copilot
    database: str  # the name that it will have


@dataclass(frozen=True)
class Step:
    """One step: a function of the project, or one that is built in, with its arguments."""

    name: str
    call: Callable[[Deployment], object] | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may have a password


def read(setting: Any) -> tuple[Step, ...]:
    """Parse the setting. Raise Misconfigured."""
    if isinstance(setting, (str, Mapping)) or not isinstance(setting, (list, tuple)):
        raise Misconfigured(f'{_SETTING} is not a list: write ["django_site", "shop.copying.prepare"]')
    return tuple(map(_step, setting))


def _step(entry: Any) -> Step:
    if callable(entry):
        return Step(f"{getattr(entry, '__module__', '')}.{getattr(entry, '__qualname__', 'call')}", entry)
    if isinstance(entry, Mapping) and len(entry) == 1:
        name, arguments = next(iter(entry.items()))
    else:
        name, arguments = entry, {}
    if isinstance(name, str) and name in _ARGUMENTS:
        _require_arguments(f'{_SETTING}: "{name}"', str(name), arguments)
        return Step(str(name), None, arguments)
    if not isinstance(entry, str) or not entry.rpartition(".")[0]:
        known = ", ".join(f'"{each}"' for each in _ARGUMENTS)
        raise Misconfigured(
            f'{_SETTING} has an entry that is no step: it may be {known} or "module.function"'
        )
    return Step(entry, project_code.function(entry, _SETTING))


def _require_arguments(where: str, name: str, arguments: Any) -> None:
    """Raise Misconfigured if a built-in step does not take these arguments. No password is shown."""
    if not isinstance(arguments, Mapping):
        raise Misconfigured(f"{where} is not followed by a dictionary")
    for key in arguments:
        require_known(str(key), _ARGUMENTS[name], where)
    if name == "test_users":
        if not arguments.get("password") or not isinstance(arguments["password"], str):
            raise Misconfigured(f'{where} has no "password": set it to a variable of the environment')
        users = arguments.get("users", ["tester"])
        if not isinstance(users, (list, tuple)) or not all(
            isinstance(user, str) or (isinstance(user, Mapping) and user.get("username")) for user in users
        ):
            raise Misconfigured(
                f'{where}: write "users": ["tester", {{"username": "boss", "superuser": True}}]'
            )


def require(steps: tuple[Step, ...], deployment: Deployment) -> None:
    """Raise Misconfigured if a step lacks what it needs, before anything is copied."""
    for step in steps:
        if step.name == "django_site" and not (step.arguments.get("domain") or deployment.host):
            raise Misconfigured(
                f'{_SETTING}: "django_site" knows no host: set DEPLOYMENT_HOST in the environment of the '
                'container that copies, or write {"django_site": {"domain": "..."}}'
            )


def run(steps: tuple[Step, ...], deployment: Deployment, target: Database, progress: Progress) -> None:
    """Run the steps in database `target`, which nobody uses yet. Raise Failed, or a step's own CopyError."""
    from . import after_steps  # noqa: PLC0415  it imports psycopg, which reading the settings does without

    for step in steps:
        progress.phase(f"after the copy: {step.name}")
        failure = ""
        try:
            if step.call:
                with _default_connection(target.name):
                    step.call(deployment)
            else:
                with closing(target.connect()) as connection, connection.transaction():
                    after_steps.BUILT_IN[step.name](connection, deployment, step.arguments, progress.say)
        except CopyError:
            raise
        except Exception as error:  # noqa: BLE001  whatever the project's function raises
            failure = f"it raised {type(error).__name__}{project_code.place(error)}"
        if failure:  # not raised above: the error would keep rows of the database as its context
            raise Failed(f"{_SETTING}: {step.name} failed, and the target is as it was: {failure}")


@contextlib.contextmanager
def _default_connection(name: str) -> Iterator[None]:
    """Let Django's default connection lead to database `name`, in a transaction, while the block runs."""
    from django.db import connections, transaction  # noqa: PLC0415  the settings are read by now

    connection = connections["default"]
    before = connection.settings_dict["NAME"]
    _close(connection)
    connection.settings_dict["NAME"] = name
    try:
        with transaction.atomic(using="default"):
            yield
    finally:
        _close(connection)
        connection.settings_dict["NAME"] = before


def _close(connection: Any) -> None:
    connection.close()
    if hasattr(connection, "close_pool"):  # Django 5.1 and later
        connection.close_pool()
