"""Parse a database's URL into an entry of Django's DATABASES.

This is a parser of its own, for Postgres only: dj-database-url leaves `?host=` in OPTIONS, where `reset_db`
does not find it, and Python's own URL parser quotes unreadable text in its errors, passwords too. It accepts
only unambiguous URLs: in a malformed URL, a seeming host or name may be the end of a password, and servers
quote hosts and names in their errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from .secret import Hidden

_CONNECT_TIMEOUT = "5"  # seconds; a health check must not hang on a database that does not answer
_LARGEST_PORT = 65535
# A separator may not stand in a part of the URL itself; it is written there as a % code.
_FORM = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^\s/?#\[\]@:]*)(?::(?P<password>[^\s/?#\[\]@]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?:/(?P<name>[^\s/?#\[\]@:]*))?"
    r"(?:\?(?P<query>[^\s#@\[\]]*))?"
)
_HOST = re.compile(r"[A-Za-z0-9._-]*|/[^\s:@]*|[0-9A-Fa-f:.]+")
# Options of libpq and Django's backend, with the form of their values: libpq quotes a bad value in its error.
# Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_WORDS: Mapping[str, str] = {
    **dict.fromkeys(("dbname", "user", "password", "options", "sslpassword", "passfile"), r"(?s:.*)"),
    **dict.fromkeys(("sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "service"), r"[\w./ ~-]*"),
    **dict.fromkeys(("application_name", "fallback_application_name", "client_encoding"), r"[\w. -]*"),
    **dict.fromkeys(("krbsrvname", "gsslib", "require_auth", "requirepeer", "isolation_level"), r"[\w!, -]*"),
    **dict.fromkeys(("connect_timeout", "keepalives_idle", "keepalives_interval"), r"-?\d{1,9}"),
    **dict.fromkeys(("keepalives_count", "tcp_user_timeout"), r"-?\d{1,9}"),
    **dict.fromkeys(("keepalives", "sslcompression", "gssdelegation", "sslsni"), "[01]"),
    "host": _HOST.pattern,
    "hostaddr": r"[0-9A-Fa-f:.]*",
    "port": r"\d{1,5}",
    "sslmode": "disable|allow|prefer|require|verify-ca|verify-full",
    "sslnegotiation": "postgres|direct",
    "gssencmode": "disable|prefer|require",
    "channel_binding": "disable|prefer|require",
    "ssl_min_protocol_version": r"TLSv1(\.[123])?",
    "ssl_max_protocol_version": r"TLSv1(\.[123])?",
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    "load_balance_hosts": "disable|random",
}

# Words in the ENGINE of a database that is not Postgres.
_OTHER_ENGINES = re.compile(
    "sqlite|spatialite|mysql|mariadb|oracle|mssql|sql_server|dummy|mongo|cockroach|redshift|clickhouse|snowflake"
)


class _Wrong(Exception):
    """A URL cannot be parsed. The message quotes nothing from it."""


_CODES = "its % codes are not valid: write % itself as %25"


def is_postgres(engine: str) -> bool:
    """Return True if an ENGINE of DATABASES is for Postgres: Django's own, PostGIS, or one built on them.

    Nothing is imported, so that settings may call it. An engine whose name contains no other database counts
    as Postgres: packages choose names of their own (`psqlextra.backend`).
    """
    return bool(engine) and not _OTHER_ENGINES.search(engine.lower())


def parse(url: str) -> dict[str, Any]:
    """Parse `postgres://user:password@host:5432/name?sslmode=require`.

    A Unix socket is `postgres://user:password@/name?host=%2Frun%2Fpostgresql`. Other parameters after `?`
    become options of libpq. Raise ValueError. Neither its message nor this function's variables in its
    traceback contain any part of the URL, because that has a password.
    """
    found, wrong = _attempt(url)
    del url
    if wrong:
        raise ValueError(wrong)
    return found


def of(variable: str, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Parse the URL in an environment variable. Raise ValueError, which names the variable."""
    found, wrong = _attempt(environ.get(variable, ""))
    del environ  # a traceback shows variables, so none may hold the URL
    if wrong:
        raise ValueError(f"{variable} cannot be read: {wrong}")
    return found


def _attempt(url: str) -> tuple[dict[str, Any], str]:
    """Return (entry of DATABASES, error text). Never raise: the error's traceback would contain the URL."""
    try:
        return _read(url), ""
    except _Wrong as error:
        return {}, str(error)


def _read(url: str) -> dict[str, Any]:
    """Parse a URL. Raise _Wrong."""
    if not re.match("postgres(ql)?://", url):
        raise _Wrong("it must begin with postgres://")
    if any(not letter.isprintable() or letter.isspace() for letter in url):
        raise _Wrong(
            "it holds a space, a line's end or another letter that cannot be seen: write it as %20, %0A"
        )
    parts = _FORM.fullmatch(url)
    if not parts:
        raise _Wrong(
            "its parts cannot be told apart, or its port is not a number; "
            "in a user, password or name, write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D"
        )
    options = _options(parts["query"] or "")
    found = {name: _decoded(parts[name] or "") for name in ("user", "password", "host", "name")}
    host = options.pop("host", "") or found["host"].strip("[]")
    port = options.pop("port", "") or parts["port"] or ""
    name = options.pop("dbname", "") or found["name"]
    if not name:
        raise _Wrong("it names no database: postgres://user:password@host:5432/NAME")
    if not _HOST.fullmatch(host) or (port and not 0 < int(port) <= _LARGEST_PORT):
        raise _Wrong("its host or its port is not valid")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": options.pop("user", "") or found["user"],
        "PASSWORD": Hidden(options.pop("password", "") or found["password"]),
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,  # every copy replaces the database while the project runs
        "OPTIONS": {"connect_timeout": _CONNECT_TIMEOUT, **options},
    }


def _options(query: str) -> dict[str, str]:
    """Parse the options of a URL. Raise _Wrong."""
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        decoded = _decoded(value.replace("+", " "))
        if key not in _WORDS or not re.fullmatch(_WORDS[key], decoded):
            raise _Wrong(
                "a parameter after its ? is not an option of libpq, or has a value that is not allowed"
            )
        options[key] = Hidden(decoded) if "password" in key else decoded
    return options


def _decoded(text: str) -> str:
    """Decode the percent codes of a text. Raise _Wrong if a code is not valid UTF-8, or is a zero byte."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _Wrong(_CODES)
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _Wrong(_CODES) from None
    if "\0" in decoded:
        raise _Wrong(_CODES)
    return decoded
