"""Read a database's URL into what Django's DATABASES wants.

dj-database-url leaves a `?host=` among the OPTIONS, where `reset_db` does not look for it, and Python's own
parser of addresses repeats what it cannot read, password and all: hence a parser of our own, which knows
Postgres only. It takes what has one meaning and refuses the rest: what looks like a host or a name in a
malformed address may be the end of a password, and servers repeat hosts and names in their errors.
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
# What parts an address from the next stands in no part as it is, but as a code that `%` begins.
_FORM = re.compile(
    r"postgres(?:ql)?://"
    r"(?:(?P<user>[^\s/?#\[\]@:]*)(?::(?P<password>[^\s/?#\[\]@]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._-]|%[0-9A-Fa-f]{2})*)"
    r"(?::(?P<port>\d{1,5}))?"
    r"(?:/(?P<name>[^\s/?#\[\]@:]*))?"
    r"(?:\?(?P<query>[^\s#@\[\]]*))?"
)
_HOST = re.compile(r"[A-Za-z0-9._-]*|/[^\s:@]*|[0-9A-Fa-f:.]+")
# What libpq and Django's back end take, and of what form. A value that libpq refuses stands in its error.
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
_OTHER_ENGINES = re.compile("sqlite|spatialite|mysql|mariadb|oracle|mssql|sql_server|dummy|mongo")


class _Wrong(Exception):
    """A URL cannot be read; the message repeats nothing of it."""


_CODES = "its % codes are none: write % itself as %25"


def is_postgres(engine: str) -> bool:
    """Return True if an ENGINE of DATABASES is Postgres's: Django's own, PostGIS, or one built on them.

    Nothing is imported, so that settings may ask. An engine that names no other database counts as
    Postgres's: packages give theirs names of their own (`psqlextra.backend`).
    """
    return bool(engine) and not _OTHER_ENGINES.search(engine.lower())


def parse(url: str) -> dict[str, Any]:
    """Read `postgres://user:password@host:5432/name?sslmode=require`.

    A Unix socket is `postgres://user:password@/name?host=%2Frun%2Fpostgresql`. What else stands behind the
    `?` becomes an option of libpq. Raise ValueError, whose message repeats nothing of the URL, and whose
    traceback holds nothing of it here: it has a password.
    """
    found, wrong = _attempt(url)
    del url
    if wrong:
        raise ValueError(wrong)
    return found


def of(variable: str, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the database whose URL is in an environment variable. Raise ValueError, naming the variable."""
    found, wrong = _attempt(environ.get(variable, ""))
    del environ  # no variable that a traceback shows is to hold it
    if wrong:
        raise ValueError(f"{variable} cannot be read: {wrong}")
    return found


def _attempt(url: str) -> tuple[dict[str, Any], str]:
    """Return the entry of DATABASES, or what is wrong. Never raise: the URL would hang on the error."""
    try:
        return _read(url), ""
    except _Wrong as error:
        return {}, str(error)


def _read(url: str) -> dict[str, Any]:
    """Read a URL. Raise _Wrong."""
    if not re.match("postgres(ql)?://", url):
        raise _Wrong("it must begin with postgres://")
    if any(not letter.isprintable() or letter.isspace() for letter in url):
        raise _Wrong(
            "it holds a space, a line's end or another letter that cannot be seen: write it as %20, %0A"
        )
    parts = _FORM.fullmatch(url)
    if not parts:
        raise _Wrong(
            "its parts cannot be told apart, or its port is no number; "
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
        raise _Wrong("its host or its port is none")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": options.pop("user", "") or found["user"],
        "PASSWORD": Hidden(options.pop("password", "") or found["password"]),
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,  # the database is replaced beneath us by every copy
        "OPTIONS": {"connect_timeout": _CONNECT_TIMEOUT, **options},
    }


def _options(query: str) -> dict[str, str]:
    """Read the options of a URL. Raise _Wrong."""
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        decoded = _decoded(value.replace("+", " "))
        if key not in _WORDS or not re.fullmatch(_WORDS[key], decoded):
            raise _Wrong(
                "what stands behind its ? is no option of libpq, or has a value that the option has not"
            )
        options[key] = Hidden(decoded) if "password" in key else decoded
    return options


def _decoded(text: str) -> str:
    """Return the text with its percent codes read. Raise _Wrong where one stands for no letter."""
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise _Wrong(_CODES)
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise _Wrong(_CODES) from None
    if "\0" in decoded:
        raise _Wrong(_CODES)
    return decoded
