"""The sandbox's databases and their rights. As on RDS, no role that a deployment uses is a superuser.

Each named environment has a database, owned by a role of its own that may create databases.
If none is named, there are three:

stage        owned by `stage`; `stage_reader` may only read it, and `test` gets that URL
test         owned by `test`, which may create databases
production   owned by `production`, empty
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote

from psycopg import sql

from copilot_sandbox import image_command
from copilot_sandbox.cures import cure
from copilot_sandbox.errors import Failed
from copilot_sandbox.made_up import Database
from copilot_sandbox.postgres import SUPERUSER, PostgresServer
from copilot_sandbox.private import write_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import psycopg

    from copilot_sandbox.agent.engine import Engine
    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.model import Image

ENVIRONMENTS = ("stage", "test", "production")
READER = "stage_reader"
PORT = 5432
_MADE_UP = "made-up key"
_MARK = "filled by the sandbox"
_LAST_LINES = 15
_CREATING = 7_341_203  # the key of an advisory lock; any number that nobody else uses
_LONGEST_NAME = 63  # bytes of an identifier; Postgres cuts longer ones
# Names that Postgres uses or reserves, and that Copilot accepts for an environment.
_RESERVED = frozenset({"none", "postgres", "public", "template0", "template1"})


class Databases:
    """The databases on one server, and their passwords, which are kept in `.sandbox/`."""

    def __init__(
        self,
        server: PostgresServer,
        *,
        environments: Sequence[str] | None = None,
        redis_host: str = "localhost",
        engine: Engine | None = None,
        forwards: Sequence[PortForward] = (),
        readable: Sequence[Path] = (),
    ) -> None:
        """Set up the names.

        `forwards` are servers that a command of the project reaches, where it has a network of its own, and
        `readable` files that it sees.
        """
        self._with_staging = environments is None
        self._environments = ENVIRONMENTS if environments is None else tuple(environments)
        self._engine = engine
        self.server = server
        self.redis_host = redis_host
        self._surroundings = (forwards, readable)
        self.host = ""  # where TCP connections to the server are answered; empty: only its Unix socket
        self.log = server.folder / "fill.log"
        self._secrets = server.folder / "secrets.json"

    def prepare(self) -> None:
        """Create missing roles, databases and rights at each start. Existing databases are not changed."""
        passwords = self._load_secrets()
        with self.server.connect() as connection:
            for name in self._environments:
                may = name == "test" or not self._with_staging
                _create_or_alter_role(
                    connection, role_of(name), passwords[name], "CREATEDB" if may else "NOCREATEDB"
                )
            if self._with_staging:
                _create_or_alter_role(connection, READER, passwords[READER], "NOCREATEDB")
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                        sql.Identifier(READER)
                    )
                )
        for name in self._environments:
            self._create(role_of(name))

    def secrets(self) -> dict[str, dict[str, str]]:
        """Return the secrets that manifests may name, by environment."""
        values = self._load_secrets()
        by_environment = {
            name: {
                "DATABASE_URL": self.server.url(role_of(name), values[name], role_of(name)),
                "SECRET_KEY": values[f"{name} key"],
            }
            for name in self._environments
        }
        if self._with_staging:
            by_environment["test"]["STAGE_DATABASE_URL"] = self.server.url(READER, values[READER], "stage")
        for name, environment_secrets in by_environment.items():
            if name != "test" or not self._with_staging:  # with staging, `test` has Redis in its own task
                environment_secrets["REDIS_HOST"] = self.redis_host
        return by_environment

    def secrets_of(self, environment: str) -> dict[str, str]:
        """Return the secrets of an environment, or of the one that stands for it."""
        return self.secrets()[self._stands_for(environment)]

    def database_of(self, environment: str, *, staging: bool = False) -> Database:
        """Return what leads to an environment's database; with `staging`, to staging's for its reader."""
        if staging and self._with_staging:
            name, role = "stage", READER
        else:
            name = self._stands_for(environment)
            role = role_of(name)
        password = self._load_secrets()[READER if role == READER else name]
        return self._address(role, password, role_of(name))

    def _address(self, role: str, password: str, database: str) -> Database:
        if not self.host:
            url = self.server.url(role, password, database)
            return Database(url, str(self.server.socket_dir), PORT, database, role, password)
        user = f"{quote(role, safe='')}:{quote(password, safe='')}"
        url = f"postgres://{user}@{self.host}:{PORT}/{quote(database)}"
        return Database(url, self.host, PORT, database, role, password)

    def _stands_for(self, environment: str) -> str:
        """Return the environment whose database one uses that has none: staging, production, else test."""
        if environment in self._environments:
            return environment
        if self._with_staging and environment.startswith(("stag", "stg")):
            return "stage"
        if self._with_staging and environment.startswith(("prod", "prd", "live")):
            return "production"
        return "test" if "test" in self._environments else self._environments[0]

    def made_up_key(self) -> bytes:
        """Return the key from which made-up secrets are derived."""
        return self._load_secrets()[_MADE_UP].encode()

    def database(self, name: str, user: str, password: str) -> str:
        """Create the database of an emulated RDS instance and its master user (see `model.DataServers`).

        Return its host: the folder of the server's Unix socket, quoted for a URL. If the database exists
        under another owner, keep that owner: the master user becomes a member of the owner's role, and
        its sessions run as the owner.
        """
        with self._alone() as connection:
            if user == SUPERUSER:  # the sandbox's own; an attached secret names another user
                user = f"{SUPERUSER}_user"
            _create_or_alter_role(connection, user, password, "CREATEDB")
            owner_row = connection.execute(
                "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = %s", (name,)
            ).fetchone()
            if owner_row is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(user))
                )
            elif owner_row[0] != user:
                owner, master = sql.Identifier(owner_row[0]), sql.Identifier(user)
                connection.execute(sql.SQL("GRANT {} TO {}").format(owner, master))
                connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(master, owner))
        return self.host or quote(str(self.server.socket_dir), safe="")

    @contextmanager
    def _alone(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Create and drop databases in this block, while nobody else does: addons are made meanwhile."""
        with self.server.connect() as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_CREATING,))  # it ends with the connection
            yield connection

    def connection(self, environment: str) -> dict[str, Any]:
        """Return what leads to an environment's own database, by the names of RDS's secrets."""
        return self.database_of(environment).named()

    def cache(self) -> str:
        return self.redis_host

    def filled(self) -> bool:
        """Return True if staging's data is complete."""
        with self.server.connect() as connection:
            row = connection.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'stage'"
            ).fetchone()
        return row is not None and str(row[0] or "").startswith(_MARK)

    def fill_staging(
        self,
        image: Image,
        *,
        megabytes: int = 50,
        command: str,
        env: Mapping[str, str] | None = None,
        cancelled: threading.Event | None = None,
    ) -> bool:
        """Run `command` with the image's files and environment to fill staging; return False if it was full.

        The database is emptied first and marked as full last: an interrupted fill starts again from nothing.
        `env` is set in the command's processes. Raises Failed with the command's last lines, or if
        `cancelled` is set.
        """
        if self.filled():
            return False
        with self._alone() as connection:
            connection.execute("DROP DATABASE IF EXISTS stage WITH (FORCE)")
            self._create("stage")
        self.run(
            image, command.format(megabytes=megabytes), "stage", env or {}, cancelled or threading.Event()
        )
        with self.server.connect("stage") as connection:
            _grant_read(connection)
            connection.execute("ANALYZE")
            connection.execute(
                sql.SQL("COMMENT ON DATABASE stage IS {}").format(sql.Literal(f"{_MARK}: {megabytes} MB"))
            )
        return True

    def _create(self, name: str) -> None:
        """Create a role's database if it is missing, and grant the rights of its owner and its reader."""
        database = sql.Identifier(name)
        with self.server.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, database))
            if name == "test":  # `reset_db` drops and creates it again, which would remove rights on it
                return
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            if name == "production" or not self._with_staging:
                return
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(READER))
            )
        with self.server.connect(name) as connection:
            for right in ("SELECT ON TABLES", "SELECT ON SEQUENCES", "USAGE ON SCHEMAS"):
                connection.execute(
                    sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} TO {}").format(
                        database, sql.SQL(right), sql.Identifier(READER)
                    )
                )
            _grant_read(connection)

    def run(
        self,
        image: Image,
        command: str,
        environment: str,
        env: Mapping[str, str],
        cancelled: threading.Event,
    ) -> None:
        """Run a command of the project with an environment's secrets. Errors: see `fill_staging`."""
        variables = {**self.secrets()[environment], **env}
        words = (self.server, image, command, variables, self.log, cancelled, *self._surroundings)
        if self._engine is None:
            code = image_command.run_process(*words)
        else:
            code = image_command.run_container(self._engine, *words)
        if cancelled.is_set():
            raise Failed(
                f"`{command}` was stopped before its end; the next start does it from the beginning."
            )
        if code:
            last = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            names = sorted(env.keys() - self.secrets()[environment].keys())
            advice = cure("\n".join(last), names)
            raise Failed(
                f"`{command}`, run for the database of {environment}, ended with exit code {code}:"
                + "".join(f"\n  {line}" for line in (*last, *filter(None, [advice])))
            )

    def _load_secrets(self) -> dict[str, str]:
        """Return the passwords and keys. Each is created once, as deployed services keep their values."""
        try:
            values: dict[str, str] = json.loads(self._secrets.read_text())
        except FileNotFoundError:
            values = {}
        keys = (f"{name} key" for name in self._environments)
        names = (*self._environments, READER, _MADE_UP, *keys)
        if missing := [name for name in names if name not in values]:
            values |= {name: secrets.token_urlsafe(36) for name in missing}
            write_private(self._secrets, json.dumps(values))
        return values


def role_of(environment: str) -> str:
    """Return the name of an environment's role and database: its own, unless Postgres rejects that name.

    A replaced name contains an underscore. Copilot's names have none, so the two never collide.
    """
    if environment not in _RESERVED and len(environment) <= _LONGEST_NAME:
        return environment
    return f"{environment[:40]}_{hashlib.sha256(environment.encode()).hexdigest()[:12]}"


def _create_or_alter_role(
    connection: psycopg.Connection[tuple[Any, ...]], role: str, password: str, right: LiteralString
) -> None:
    """Create a login role with this password and `right`. If the role exists, set both."""
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    # Postgres gets only the verifier, so no log can contain the password.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE {} PASSWORD {}").format(
            sql.SQL("CREATE" if exists is None else "ALTER"),
            sql.Identifier(role),
            sql.SQL(right),
            sql.Literal(verifier.decode()),
        )
    )


def _grant_read(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Let the reader read everything that is now in this database, whoever owns it."""
    schemas = connection.execute(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
    ).fetchall()
    for (name,) in schemas:
        for right in (
            "USAGE ON SCHEMA",
            "SELECT ON ALL TABLES IN SCHEMA",
            "SELECT ON ALL SEQUENCES IN SCHEMA",
        ):
            connection.execute(
                sql.SQL("GRANT {} {} TO {}").format(
                    sql.SQL(right), sql.Identifier(name), sql.Identifier(READER)
                )
            )
