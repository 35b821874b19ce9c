"""Change a project's settings for its test environment by one call at their end.

if os.environ.get("COPILOT_ENVIRONMENT_NAME") == "test":
    from django_testenv import settings as test_environment

    test_environment.apply(globals())
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union

import django
from django.core.exceptions import ImproperlyConfigured

from django_testenv import libraries
from django_testenv.access import access
from django_testenv.media import places
from django_testenv.stage_copy import database_url
from django_testenv.stage_copy.secret import Hidden, shown

_APPS = ("django_testenv.access", "django_testenv.stage_copy")
_WHITENOISE = "whitenoise.middleware.WhiteNoiseMiddleware"
_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_FROM_ENVIRONMENT = ("SECRET_KEY", "DEBUG", "ALLOWED_HOSTS")
_TRUE = ("1", "true", "yes", "on")
_LARGEST_PORT = 65535
# Other schemes for Postgres in dj-database-url and django-environ, with the engines that they choose.
_SCHEMES = {"postgis": "django.contrib.gis.db.backends.postgis", "psql": "", "pgsql": ""}
# Keys of a DATABASES entry that name the database; the other keys say how the project uses it.
_ADDRESS = frozenset({"NAME", "USER", "PASSWORD", "HOST", "PORT"})
# Options of libpq for the connection: the options for another server may be wrong for this one.
_CONNECTION = re.compile(
    "host|hostaddr|port|dbname|user|password|service|passfile|requirepeer|require_auth|channel_binding|"
    "target_session_attrs|load_balance_hosts|connect_timeout|(ssl|gss|krb).*"
)
_MASKS: Mapping[str, Any] = {
    "auth_user.username": "username",  # many are names or addresses
    "auth_user.first_name": "name",
    "auth_user.last_name": "name",
    "auth_user.email": "email",
    "auth_user.password": {"value": "!"},  # no password matches: testers create users of their own
}
_Names = Union[list[Any], tuple[Any, ...]]


def apply(
    settings: dict[str, Any],
    *,
    environment: str = "test",
    from_environment: Sequence[str] = (),
    whitenoise: bool = False,
) -> None:
    """Change `settings`, the globals() of a settings module, for the test environment `environment`.

    `from_environment` names the settings among SECRET_KEY, DEBUG and ALLOWED_HOSTS that come from environment
    variables of the same names, if these are set. With `whitenoise` the project serves its own static files.

    Raise ImproperlyConfigured, before any change, if this process is not in that environment or a variable
    cannot be read.
    """
    _require_environment(environment)
    changed: dict[str, Any] = {}
    changed.update(_values(from_environment))
    changed.update(_mail())
    changed["DATABASES"] = _databases(settings.get("DATABASES") or {})
    changed["INSTALLED_APPS"] = _apps(settings.get("INSTALLED_APPS") or [])
    changed["MIDDLEWARE"] = _middleware(settings.get("MIDDLEWARE") or [], whitenoise=whitenoise)
    changed.update(_served(changed.get("ALLOWED_HOSTS", settings.get("ALLOWED_HOSTS"))))
    changed["TEST_ACCESS"] = _access(settings.get("TEST_ACCESS", {}), environment)
    changed["STAGE_COPY"] = _stage_copy(settings.get("STAGE_COPY", {}), settings)
    if not settings.get("STATIC_ROOT"):
        changed["STATIC_ROOT"] = os.environ.get("STATIC_ROOT") or "staticfiles"
    if places.is_wanted():
        changed.update(_media(settings, changed))
    settings.update(changed)


def _media(settings: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with which staging's files are read, and the branch's own place is changed.

    Django 4.2 has STORAGES, and until 5.1 the older settings too, which exclude it.
    """
    middleware = [each for each in changed["MIDDLEWARE"] if each != places.MIDDLEWARE]
    first = middleware.index(access.HEALTHZ) + 1
    media: dict[str, Any] = {
        "INSTALLED_APPS": _joined(
            changed["INSTALLED_APPS"],
            [*(app for app in changed["INSTALLED_APPS"] if app != places.APP), places.APP],
        ),
        "MIDDLEWARE": _joined(
            changed["MIDDLEWARE"], [*middleware[:first], places.MIDDLEWARE, *middleware[first:]]
        ),
    }
    older = {"DEFAULT_FILE_STORAGE", "STATICFILES_STORAGE"} & set(settings)
    if "STORAGES" not in settings and (django.VERSION < (4, 2) or (older and django.VERSION < (5, 1))):
        backend = settings.get("DEFAULT_FILE_STORAGE") or places.FILE_SYSTEM
        if backend != places.STORAGE:
            media["TEST_MEDIA"] = {"backend": backend}
        return {**media, "DEFAULT_FILE_STORAGE": places.STORAGE}
    named = {
        "default": {"BACKEND": places.FILE_SYSTEM},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        **settings.get("STORAGES", {}),
    }
    return {**media, "STORAGES": {alias: _storage(alias, entry) for alias, entry in named.items()}}


def _storage(alias: str, entry: Any) -> Any:
    """Return an entry of STORAGES that makes the same storage, with staging's files behind it."""
    if alias == "staticfiles" or not isinstance(entry, Mapping) or entry.get("BACKEND") == places.STORAGE:
        return entry
    options = {"backend": entry.get("BACKEND"), "options": dict(entry.get("OPTIONS") or {})}
    return {"BACKEND": places.STORAGE, "OPTIONS": options}


def _require_environment(environment: str) -> None:
    if environment.lower() in access.PRODUCTION:
        raise ImproperlyConfigured(
            f"{environment!r} is not a test environment: name the one that branches are deployed to."
        )
    name = os.environ.get(access.ENVIRONMENT)
    if not environment or name != environment:
        raise ImproperlyConfigured(
            f"These settings are for the test environment {environment!r}, and {access.ENVIRONMENT} is "
            f'{name!r}: call apply() only if os.environ.get("{access.ENVIRONMENT}") == {environment!r}.'
        )


def _values(names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of these names from the variables that are set."""
    values: dict[str, Any] = {}
    for name in [names] if isinstance(names, str) else names:
        if name not in _FROM_ENVIRONMENT:
            raise ImproperlyConfigured(
                f"from_environment has {name!r}: it may name {', '.join(_FROM_ENVIRONMENT)}."
            )
        value = os.environ.get(name)
        if not value:
            continue
        if name == "SECRET_KEY":
            values[name] = Hidden(value)
        elif name == "DEBUG":
            values[name] = value.strip().lower() in _TRUE
        else:
            values[name] = [host.strip() for host in value.split(",") if host.strip()]
    return values


def _mail() -> dict[str, Any]:
    """Return the settings that send mail to a sidecar, or to the backend that EMAIL_BACKEND names.

    EMAIL_HOST is only used for a sidecar: in other cases it may be the mail server of another environment.
    """
    if os.environ.get("EMAIL_HOST") != "localhost":
        backend = os.environ.get("EMAIL_BACKEND")
        return {"EMAIL_BACKEND": backend} if backend else {}
    port = os.environ.get("EMAIL_PORT") or "25"
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) <= _LARGEST_PORT:
        raise ImproperlyConfigured(f"EMAIL_PORT is {shown(port)}: it must be the number of a port.")
    return {
        "EMAIL_BACKEND": _SMTP,
        "EMAIL_HOST": "localhost",
        "EMAIL_PORT": int(port),
        "EMAIL_USE_TLS": False,
        "EMAIL_USE_SSL": False,
        "EMAIL_HOST_USER": "",
        "EMAIL_HOST_PASSWORD": "",
    }


def _served(hosts: Any) -> dict[str, Any]:
    """Return the settings with which the environment's load balancer can serve the project.

    A redirect to https is the load balancer's own where it has a certificate; where it has none, nobody
    answers https. Nobody answers below `www.` either. Its name is one of ALLOWED_HOSTS; in the sandbox that
    is localhost, and each branch has a name below it. Copilot sets COPILOT_LB_DNS in every container of a
    service behind a load balancer.
    """
    served: dict[str, Any] = {"SECURE_SSL_REDIRECT": False, "PREPEND_WWW": False}
    name = os.environ.get("COPILOT_LB_DNS", "").partition(":")[0].lower()
    if name and isinstance(hosts, (list, tuple)) and "*" not in hosts:
        names = [".localhost", "127.0.0.1"] if name == "localhost" else [name]
        served["ALLOWED_HOSTS"] = _joined(hosts, [*hosts, *(each for each in names if each not in hosts)])
    return served


def _databases(present: Mapping[str, Any]) -> dict[str, Any]:
    databases = {alias: dict(entry) for alias, entry in present.items()}
    for alias, variable in (("default", "DATABASE_URL"), ("stage", "STAGE_DATABASE_URL")):
        if os.environ.get(variable):
            libraries.lend_psycopg()
            databases[alias] = _database(databases.get(alias, {}), variable)
    suffix = os.environ.get("DATABASE_SUFFIX", "")
    if suffix and not re.fullmatch("_[A-Za-z0-9_]+", suffix):
        raise ImproperlyConfigured(
            f"DATABASE_SUFFIX is {shown(suffix)}: it must begin with _ and hold nothing but letters, digits "
            "and _."
        )
    default = databases.get("default")
    # Settings that append the suffix themselves have done so, unless the name came from DATABASE_URL above.
    if suffix and default and (os.environ.get("DATABASE_URL") or not _ends_with(default.get("NAME"), suffix)):
        default["NAME"] = f"{default.get('NAME', '')}{suffix}"
    return databases


def _ends_with(name: object, suffix: str) -> bool:
    return str(name or "").endswith(suffix)


def _database(present: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """Return the entry of DATABASES for the URL in a variable, with the other keys of the project's entry.

    The project's Postgres engine (PostGIS, a connection pool) stays, and so do ATOMIC_REQUESTS, CONN_MAX_AGE
    and similar keys; name, user, password, host and port are never kept.
    """
    scheme, separator, rest = os.environ[variable].partition("://")
    engine = _SCHEMES.get(scheme, "")
    url = f"postgres{separator}{rest}" if scheme in _SCHEMES else os.environ[variable]
    try:
        entry = database_url.of(variable, {variable: url})
    except ValueError as error:
        reason = str(error)
    else:
        reason = ""
    del rest, url  # a traceback shows variables, so none may hold the password
    if reason:
        raise ImproperlyConfigured(reason)
    if engine:
        entry["ENGINE"] = engine
    if not database_url.is_postgres(str(present.get("ENGINE", ""))):
        return entry
    kept = {key: value for key, value in present.items() if key not in _ADDRESS and key != "OPTIONS"}
    options = {
        key: value for key, value in (present.get("OPTIONS") or {}).items() if not _CONNECTION.fullmatch(key)
    }
    return {**entry, **kept, "OPTIONS": {**options, **entry["OPTIONS"]}}


def _apps(present: _Names) -> _Names:
    missing = [app for app in _APPS if not _has(present, app)]
    return _joined(present, [*present, *missing])


def _middleware(present: _Names, *, whitenoise: bool) -> _Names:
    first = [access.MIDDLEWARE, access.HEALTHZ]
    others = [each for each in present if each not in first]
    if whitenoise and not any("whitenoise" in str(each).lower() for each in others):
        first.append(_WHITENOISE)
    return _joined(present, [*first, *others])


def _joined(present: _Names, names: list[Any]) -> _Names:
    """Return the names as a tuple if the project has a tuple: later settings may add a tuple to it."""
    return tuple(names) if isinstance(present, tuple) else names


def _access(present: Any, environment: str) -> Any:
    """Return TEST_ACCESS with this environment and the health check's path added."""
    if not isinstance(present, Mapping):
        return present  # django_testenv.access reports the error
    merged = dict(present)
    for key, needed in (("environments", environment), ("open_paths", access.HEALTHZ_PATH)):
        value = merged.get(key, [])
        if isinstance(value, (list, tuple)) and needed not in value:
            merged[key] = [*value, needed]
    return merged


def _stage_copy(present: Any, settings: Mapping[str, Any]) -> Any:
    """Return STAGE_COPY with defaults. The project's own keys and columns in "mask" take precedence."""
    if not isinstance(present, Mapping):
        return present  # copy_stage_db reports the error
    apps = settings.get("INSTALLED_APPS") or []
    merged: dict[str, Any] = {}
    left = {"django.contrib.sessions": "django_session", "django.contrib.admin": "django_admin_log"}
    if excluded := [table for app, table in left.items() if _has(apps, app)]:
        merged["exclude_data"] = excluded
    merged.update(present)
    has_own_users = settings.get("AUTH_USER_MODEL", "auth.User") != "auth.User"
    if (
        _has(apps, "django.contrib.auth")
        and not has_own_users
        and isinstance(merged.get("mask", {}), Mapping)
    ):
        merged["mask"] = {**_MASKS, **merged.get("mask", {})}
    return merged


def _has(apps: _Names, app: str) -> bool:
    return any(f"{each}.".startswith(f"{app}.") for each in apps)
