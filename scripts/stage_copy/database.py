"""One end of a copy: how to reach a database from psycopg and from Postgres's command line tools."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import Conninfo

from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

# Django's names for what libpq calls otherwise.
_KEYWORDS = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
_PG14, _PG17 = 140000, 170000
_CONNECT_TIMEOUT = "10"  # seconds, unless the settings say otherwise

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, repr=False)
class Database:
    """A database as libpq knows it; `alias` is its name in Django's DATABASES.

    It has no repr, since the parameters hold the password.
    """

    alias: str
    parameters: Mapping[str, str]

    @classmethod
    def from_django(cls, alias: str, settings: Mapping[str, Any]) -> Database:
        """Read one entry of DATABASES; of its OPTIONS, those that are libpq's (sslmode, sslrootcert, ...)."""
        known = {option.keyword.decode() for option in Conninfo.get_defaults()}
        parameters = {"connect_timeout": _CONNECT_TIMEOUT}
        for key, value in settings.get("OPTIONS", {}).items():
            if key in known and value is not None:
                parameters[key] = str(value)
        for key, keyword in _KEYWORDS.items():
            if settings.get(key):
                parameters[keyword] = str(settings[key])
        return cls(alias, parameters)

    @property
    def name(self) -> str:
        return self.parameters.get("dbname") or self.parameters.get("user", "")

    def named(self, name: str) -> Database:
        """Another database of the same server, reached with the same role."""
        return replace(self, parameters={**self.parameters, "dbname": name})

    def read_only(self) -> Database:
        """The same database in sessions that refuse to write, whatever the role may do."""
        options = f"{self.parameters.get('options', '')} -c default_transaction_read_only=on".strip()
        return replace(self, parameters={**self.parameters, "options": options})

    def connect(self) -> Connection:
        """Open a connection in autocommit mode. Raises Failed with the server's own reason."""
        try:
            return psycopg.connect(**self.parameters, autocommit=True)  # type: ignore[arg-type]  # libpq takes strings
        except psycopg.Error as error:
            raise Failed(
                f'cannot connect to database "{self.name}": {reason(error)}: '
                f'check the address and password in DATABASES["{self.alias}"]'
            ) from None

    def environment(self) -> dict[str, str]:
        """The variables that make pg_dump and psql reach this database: nothing of it goes into argv."""
        variables = base_environment()
        for option in Conninfo.get_defaults():
            keyword = option.keyword.decode()
            if option.envvar and keyword in self.parameters:
                variables[option.envvar.decode()] = self.parameters[keyword]
        return variables


def base_environment() -> dict[str, str]:
    """Return what a program of Postgres's needs of this process's variables: no secret of the project."""
    names = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    names |= {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    return {
        name: value for name, value in os.environ.items() if name in names or name.startswith(("LC_", "KRB5"))
    }


def no_timeouts(version: int) -> str:
    """SQL that lets a session wait: the timeouts of a role or a server are not made for copies."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= _PG14 else []
    names += ["transaction_timeout"] if version >= _PG17 else []
    return "; ".join(f"SET {name} = 0" for name in names)


def reason(error: Exception) -> str:
    """The first line of a Postgres error, which says why; the others are detail and hints."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].removeprefix("connection failed: ").split())
