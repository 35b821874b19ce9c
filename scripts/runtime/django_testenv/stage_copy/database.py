"""Connect to a database, one end of a copy, with psycopg and with Postgres's command-line tools."""

from __future__ import annotations

import logging
import os
import re
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo

from .problems import Failed, Misconfigured
from .reasons import reason
from .secret import MASK, Hidden, Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

# Django's names of connection parameters, with libpq's names.
_KEYWORDS = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
_PG14, _PG17 = 140000, 170000
_SECRET = ("password", "sslpassword")
_SHORTEST = 4  # letters; a shorter password is hidden only where it is quoted
# The forms of other parameters. A value of another form may be the end of a password in a malformed URL.
_FORMS = {
    "NAME": r"(?:(?!://)[^@=])*",
    "HOST": r"[A-Za-z0-9._,:%-]*|[/@][^\x00-\x1f]*",
    "PORT": r"[0-9,]*",
}
_OF_LIBPQ = ("PGSERVICEFILE", "PGSYSCONFDIR")  # variables that are no parameters of a connection
_CONNECT_TIMEOUT = "10"  # seconds, unless the settings say otherwise

# With these, a server that disappears is noticed within a minute, even during a long statement.
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES
_NOTICE = {"keepalives_idle": "20", "keepalives_interval": "10", "keepalives_count": "3"}

# libpq's and psycopg's words where no packet comes back, or a name is not known in this network.
_NO_WAY = re.compile(
    r"timeout expired|timed out|No route to host|unreachable|translate host name|resolve host"
)
# Words of libpq and of servers where an address, a name or a password is wrong.
_WRONG_ADDRESS = re.compile(
    r"refused|PGSQL\.\d+\" failed: No such file|authentication failed|password supplied|pg_hba\.conf|"
    r"(?:database|role|user) \"[^\"]*\" does not exist|service file|definition of service"
)
# Words of a server, role or database that has no connection left.
_FULL = re.compile(r"too many (?:connections|clients)|connection slots")

Connection = psycopg.Connection[tuple[Any, ...]]


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out psycopg's warning of a roll-back on a connection that is lost: the error itself is told."""
    return "error ignored in rollback" not in str(record.msg)


for _logger in ("psycopg", "psycopg.transaction"):
    logging.getLogger(_logger).addFilter(_is_news)


@dataclass(frozen=True, repr=False)
class Database:
    """A database as libpq knows it; `alias` is its name in Django's DATABASES.

    It has no repr, since the parameters hold the password.
    """

    alias: str
    parameters: Mapping[str, str | Secret]
    role: str = ""  # to SET ROLE to after the login, as Django does; empty: the login role itself

    def __post_init__(self) -> None:
        secrets = {key: Secret(str(self.parameters[key])) for key in _SECRET if key in self.parameters}
        kept = {key: value for key, value in self.parameters.items() if isinstance(value, Secret)}
        object.__setattr__(self, "parameters", {**self.parameters, **secrets, **kept})

    @classmethod
    def from_django(cls, alias: str, settings: Mapping[str, Any]) -> Database:
        """Read an entry of DATABASES. Of its OPTIONS, libpq's are used (sslmode, sslrootcert, ...).

        Raise Misconfigured if a value looks like a part of a malformed URL, which may be part of a password.
        """
        if suspect := _suspect_key(settings):
            settings = {}  # a traceback shows variables, so none may hold a password
            raise Misconfigured(
                f'DATABASES["{alias}"]["{suspect}"] is not valid: it looks like a piece of a URL. '
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
        return cls(alias, parameters, str(settings.get("OPTIONS", {}).get("assume_role") or ""))

    @property
    def name(self) -> str:
        return str(self.parameters.get("dbname") or self.parameters.get("user", ""))

    def named(self, name: str) -> Database:
        """Return another database of the same server, reached with the same role."""
        return replace(self, parameters={**self.parameters, "dbname": name})

    def read_only(self) -> Database:
        """Return the same database with read-only sessions, whatever rights the role has."""
        options = f"{self.parameters.get('options', '')} -c default_transaction_read_only=on".strip()
        return replace(self, parameters={**self.parameters, "options": options})

    def connect(self) -> Connection:
        """Open a connection in autocommit mode. Raise Failed with the server's own reason."""
        try:
            # Names and errors are read in UTF-8; the values of rows pass as they are (rows.py).
            connection = psycopg.connect(
                **_revealed({**self.parameters, "client_encoding": "UTF8"}),  # type: ignore[arg-type]  # libpq takes strings
                autocommit=True,
                prepare_threshold=None,  # or psycopg keeps the texts of a hundred queries, each of up to a MB
            )
        except psycopg.Error as error:
            why = self._without_secrets(reason(error))
        else:
            self._assume_role(connection)
            return connection
        cure = ""
        if _NO_WAY.search(why):
            cure = (
                ": no route leads to its server, or no security group lets this container in: connect the "
                f'two networks and admit it there, or check the address in DATABASES["{self.alias}"]'
            )
        elif _WRONG_ADDRESS.search(why):
            cure = f': check the address and password in DATABASES["{self.alias}"]'
        elif _FULL.search(why):
            cure = ": end other sessions there, or open fewer connections: --jobs 1"
        raise Failed(  # not raised above: it would keep libpq's error as its context
            f'cannot connect to database "{self.name}": {why}{cure}'
        )

    def _assume_role(self, connection: Connection) -> None:
        try:
            if self.role:
                connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self.role)))
        except psycopg.Error as error:
            connection.close()
            why = f'cannot assume role "{self.role}" in database "{self.name}": {reason(error)}'
            raise Failed(f'{why}: check "assume_role" in DATABASES["{self.alias}"]') from None
        except BaseException:
            connection.close()
            raise

    def _without_secrets(self, text: str) -> str:
        """Return the text without passwords. A user without a password may be a misplaced password."""
        secrets = [value.reveal() for value in self.parameters.values() if isinstance(value, Secret)]
        if not self.parameters.get("password"):
            secrets.append(str(self.parameters.get("user", "")))
        for secret in filter(None, secrets):
            text = text.replace(f'"{secret}"', f'"{MASK}"')
            text = text.replace(secret, MASK) if len(secret) >= _SHORTEST else text
        return text

    def able_to_create(self) -> Database:
        """Return the same database, without the assumed role if only the login role may create databases.

        The right is not inherited, so an assumed role often lacks it.
        """
        if not self.role:
            return self
        query = "SELECT rolname FROM pg_roles WHERE rolcreatedb AND rolname IN (current_user, session_user)"
        with closing(self.connect()) as connection:
            able = {name for (name,) in connection.execute(query).fetchall()}
        return self if self.role in able or not able else replace(self, role="")

    def named_by_service(self) -> Database:
        """Return the database with its name, which a service file or a variable may hold instead of NAME."""
        if "dbname" in self.parameters:
            return self
        with closing(self.connect()) as connection:
            return self.named(connection.info.dbname)

    def conninfo(self) -> str:
        """Return what of the address pg_dump needs beside the variables of `environment`, without secrets.

        A service file takes precedence over variables, but not over these words.
        """
        wanted = self.parameters if "service" in self.parameters else {"dbname": self.name}
        return make_conninfo("", **{k: v for k, v in wanted.items() if not isinstance(v, Secret)})

    def environment(self) -> dict[str, str]:
        """Return the variables for pg_dump, so that no secret is in its arguments.

        They are those that libpq reads in this process too: a service file, a password file.
        """
        variables = base_environment()
        variables.update({name: os.environ[name] for name in _OF_LIBPQ if name in os.environ})
        revealed = _revealed(self.parameters)
        for option in Conninfo.get_defaults():
            keyword, name = option.keyword.decode(), (option.envvar or b"").decode()
            if name and keyword in revealed:
                variables[name] = revealed[keyword]
            elif name in os.environ:
                variables[name] = os.environ[name]
        return variables


def base_environment() -> dict[str, str]:
    """Return this process's variables that a Postgres tool needs, without the project's secrets."""
    names = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH"}
    names |= {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    return {
        name: value for name, value in os.environ.items() if name in names or name.startswith(("LC_", "KRB5"))
    }


def _revealed(parameters: Mapping[str, str | Secret]) -> dict[str, str]:
    """Return the parameters for libpq. A traceback that shows variables has `***` for the passwords."""
    return {
        key: Hidden(value.reveal()) if isinstance(value, Secret) else value
        for key, value in parameters.items()
    }


def _suspect_key(settings: Mapping[str, Any]) -> str:
    """Return the first key of DATABASES whose value may be the end of a password; empty if there is none."""
    suspects = (key for key, form in _FORMS.items() if not re.fullmatch(form, str(settings.get(key) or "")))
    return next(suspects, "")


def no_timeouts(version: int) -> str:
    """Return SQL that switches off a session's timeouts: those of a role or server do not suit a copy."""
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout"] if version >= _PG14 else []
    names += ["transaction_timeout"] if version >= _PG17 else []
    return "; ".join(f"SET {name} = 0" for name in names)
