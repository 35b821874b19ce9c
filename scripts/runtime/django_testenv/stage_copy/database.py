"""Reach a database, one end of a copy, from psycopg and from Postgres's command line tools."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import Conninfo

from .problems import Failed, Misconfigured
from .reasons import reason
from .secret import MASK, Hidden, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

# Django's names for what libpq calls otherwise.
_KEYWORDS = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
_PG14, _PG17 = 140000, 170000
_SECRET = ("password", "sslpassword")
_SHORTEST = 4  # letters of a password that is looked for within words
# What the others look like, where they are not the end of a password in a malformed URL.
_FORMS = {
    "NAME": r"(?:(?!://)[^@=])*",
    "HOST": r"[A-Za-z0-9._,:%-]*|[/@][^\x00-\x1f]*",
    "PORT": r"[0-9,]*",
}
_CONNECT_TIMEOUT = "10"  # seconds, unless the settings say otherwise

# A server that is gone without a word is noticed within a minute, however long a statement may take.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
_NOTICE = {"keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"}

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, repr=False)
class Database:
    """A database as libpq knows it; `alias` is its name in Django's DATABASES.

    It has no repr, since the parameters hold the password.
    """

    alias: str
    parameters: Mapping[str, str | Secret]

    def __post_init__(self) -> None:
        secrets = {key: Secret(str(self.parameters[key])) for key in _SECRET if key in self.parameters}
        kept = {key: value for key, value in self.parameters.items() if isinstance(value, Secret)}
        object.__setattr__(self, "parameters", {**self.parameters, **secrets, **kept})

    @classmethod
    def from_django(cls, alias: str, settings: Mapping[str, Any]) -> Database:
        """Read one entry of DATABASES; of its OPTIONS, those that are libpq's (sslmode, sslrootcert, ...).

        Raise Misconfigured where one of them looks like a piece of a malformed URL, and so of a password.
        """
        if odd := _odd(settings):
            settings = {}  # no variable that a traceback shows is to hold a password
            raise Misconfigured(
                f'DATABASES["{alias}"]["{odd}"] cannot be one: it looks like a piece of a URL. '
                "In a password within a URL, write @ : / ? # as %40 %3A %2F %3F %23"
            )
        known = {option.keyword.decode() for option in Conninfo.get_defaults()}
        parameters: dict[str, str | Secret] = {"connect_timeout": _CONNECT_TIMEOUT, **_NOTICE}
        for key, value in settings.get("OPTIONS", {}).items():
            if key in known and value is not None:
                parameters[key] = Secret(str(value)) if key in _SECRET else str(value)
        for key, keyword in _KEYWORDS.items():
            if settings.get(key):
                parameters[keyword] = str(settings[key])
        return cls(alias, parameters)

    @property
    def name(self) -> str:
        return str(self.parameters.get("dbname") or self.parameters.get("user", ""))

    def named(self, name: str) -> Database:
        """Return another database of the same server, reached with the same role."""
        return replace(self, parameters={**self.parameters, "dbname": name})

    def read_only(self) -> Database:
        """Return the same database in sessions that refuse to write, whatever the role may do."""
        options = f"{self.parameters.get('options', '')} -c default_transaction_read_only=on".strip()
        return replace(self, parameters={**self.parameters, "options": options})

    def connect(self) -> Connection:
        """Open a connection in autocommit mode. Raise Failed with the server's own reason."""
        try:
            return psycopg.connect(**_revealed(self.parameters), autocommit=True)  # type: ignore[arg-type]  # libpq takes strings
        except psycopg.Error as error:
            why = self._without_secrets(reason(error))
        raise Failed(  # not above: what libpq was given would hang on it
            f'cannot connect to database "{self.name}": {why}: '
            f'check the address and password in DATABASES["{self.alias}"]'
        )

    def _without_secrets(self, text: str) -> str:
        """Return the text without passwords; a user without one may be a password in the wrong place."""
        hidden = [value.reveal() for value in self.parameters.values() if isinstance(value, Secret)]
        if not self.parameters.get("password"):
            hidden.append(str(self.parameters.get("user", "")))
        for one in filter(None, hidden):
            text = text.replace(f'"{one}"', f'"{MASK}"')
            text = text.replace(one, MASK) if len(one) >= _SHORTEST else text
        return text

    def environment(self) -> dict[str, str]:
        """Return variables by which pg_dump and psql reach this database: nothing of it goes into argv."""
        variables = base_environment()
        for option in Conninfo.get_defaults():
            keyword = option.keyword.decode()
            if option.envvar and keyword in self.parameters:
                variables[option.envvar.decode()] = _revealed(self.parameters)[keyword]
        return variables


def base_environment() -> dict[str, str]:
    """Return what a program of Postgres's needs of this process's variables: no secret of the project."""
    names = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    names |= {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    return {
        name: value for name, value in os.environ.items() if name in names or name.startswith(("LC_", "KRB5"))
    }


def _revealed(parameters: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return the parameters for libpq; a traceback that shows variables shows the passwords as `***`."""
    return {
        key: Hidden(value.reveal()) if isinstance(value, Secret) else value
        for key, value in parameters.items()
    }


def _odd(settings: Mapping[str, Any]) -> str:
    """Return the first key of DATABASES whose value may be the end of a password; empty where none is."""
    odd = (key for key, form in _FORMS.items() if not re.fullmatch(form, str(settings.get(key) or "")))
    return next(odd, "")


def no_timeouts(version: int) -> str:
    """Return SQL that lets a session wait: the timeouts of a role or a server are not made for copies."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= _PG14 else []
    names += ["transaction_timeout"] if version >= _PG17 else []
    return "; ".join(f"SET {name} = 0" for name in names)
