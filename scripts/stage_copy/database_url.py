"""A database's URL as Django's DATABASES wants it.

dj-database-url leaves a `?host=` among the OPTIONS, where `reset_db` does not look for it, hence a parser of
our own; it knows Postgres only.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_CONNECT_TIMEOUT = "5"  # seconds; a health check must not hang on a database that does not answer


def parse(url: str) -> dict[str, Any]:
    """Read `postgres://user:password@host:5432/name?sslmode=require`.

    A Unix socket is `postgres://user:password@/name?host=%2Frun%2Fpostgresql`. What else stands behind the
    `?` becomes an option of libpq. Raises ValueError, whose message repeats nothing of the URL: it holds a
    password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("postgres", "postgresql"):
        raise ValueError("it must begin with postgres://")
    options = dict(parse_qsl(parts.query))
    name = options.pop("dbname", "") or unquote(parts.path.removeprefix("/"))
    if not name:
        raise ValueError("it names no database: postgres://user:password@host:5432/NAME")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(
            "its port is no number; in a password, write @ : / ? # as %40 %3A %2F %3F %23"
        ) from None
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": options.pop("user", "") or unquote(parts.username or ""),
        "PASSWORD": options.pop("password", "") or unquote(parts.password or ""),
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": options.pop("port", "") or (str(port) if port else ""),
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,  # the database is replaced beneath us by every copy
        "OPTIONS": {"connect_timeout": _CONNECT_TIMEOUT, **options},
    }
