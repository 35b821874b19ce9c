"""The databases of the sandbox and who may do what in them, as on RDS: nobody who deploys is a superuser.

stage        owned by `stage`; `stage_reader` may only read it, and `test` is given that URL
test         owned by `test`, which may create databases
production   owned by `production`, empty
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString
from urllib.parse import quote

from psycopg import sql

from scripts.errors import Failed
from scripts.sandbox.agent.confined import confined
from scripts.sandbox.postgres import PostgresServer, bin_dir
from scripts.sandbox.private import write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from scripts.sandbox.model import Image

ENVIRONMENTS = ("stage", "test", "production")
READER = "stage_reader"
_MARK = "filled by the sandbox"
_LAST_LINES = 15


class Databases:
    """The databases on one server, and the passwords that `.sandbox/` keeps."""

    def __init__(self, server: PostgresServer, *, redis_host: str = "localhost") -> None:
        self.server = server
        self.redis_host = redis_host
        self.log = server.folder / "fill.log"
        self._secrets = server.folder / "secrets.json"

    def prepare(self) -> None:
        """Make what is missing: roles, databases, rights. Done at each start; what is there stays."""
        kept = self._kept()
        with self.server.connect() as connection:
            for role in (*ENVIRONMENTS, READER):
                _let_in(connection, role, kept[role], "CREATEDB" if role == "test" else "NOCREATEDB")
            connection.execute(
                sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(sql.Identifier(READER))
            )
        for name in ENVIRONMENTS:
            self._create(name)

    def secrets(self) -> dict[str, dict[str, str]]:
        """The secrets that the manifests name, by environment."""
        kept = self._kept()
        found = {
            name: {"DATABASE_URL": self._url(name, name), "SECRET_KEY": kept[f"{name} key"]}
            for name in ENVIRONMENTS
        }
        found["test"]["STAGE_DATABASE_URL"] = self._url(READER, "stage")
        for name in ("stage", "production"):
            found[name]["REDIS_HOST"] = self.redis_host
        return found

    def database(self, name: str, user: str, password: str) -> str:
        """Play an RDS instance; see `model.DataServers`. The address is the socket's folder, as a URL has it.

        A database of the sandbox's own keeps its owner, whom the instance's master user becomes.
        """
        with self.server.connect() as connection:
            _let_in(connection, user, password, "CREATEDB")
            found = connection.execute(
                "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = %s", (name,)
            ).fetchone()
            if found is None:
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(user))
                )
            elif found[0] != user:
                owner, master = sql.Identifier(found[0]), sql.Identifier(user)
                connection.execute(sql.SQL("GRANT {} TO {}").format(owner, master))
                connection.execute(sql.SQL("ALTER ROLE {} SET role = {}").format(master, owner))
        return quote(str(self.server.socket_dir), safe="")

    def cache(self) -> str:
        return self.redis_host

    def filled(self) -> bool:
        """Return True if staging has its data, all of it."""
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
        """Fill staging by running `command` with the image's files and environment; False if it was full.

        The database is emptied first and marked full last: an interrupted fill is done again from nothing.
        `env` is set in the command's processes. Raises Failed with the command's last lines, or when
        `cancelled` is set.
        """
        if self.filled():
            return False
        with self.server.connect() as connection:
            connection.execute("DROP DATABASE IF EXISTS stage WITH (FORCE)")
        self._create("stage")
        self.run(
            image, command.format(megabytes=megabytes), "stage", env or {}, cancelled or threading.Event()
        )
        with self.server.connect("stage") as connection:
            _grant_reading(connection)
            connection.execute("ANALYZE")
            connection.execute(
                sql.SQL("COMMENT ON DATABASE stage IS {}").format(sql.Literal(f"{_MARK}: {megabytes} MB"))
            )
        return True

    def _create(self, name: str) -> None:
        """Make a database, if it is not there, with its owner's and its reader's rights."""
        database = sql.Identifier(name)
        with self.server.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, database))
            if name == "test":  # `reset_db` drops it and makes it anew: rights on it would not last
                return
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            if name == "production":
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
            _grant_reading(connection)

    def run(
        self,
        image: Image,
        command: str,
        environment: str,
        env: Mapping[str, str],
        cancelled: threading.Event,
    ) -> None:
        """Run a command of the project with an environment's secrets; see `fill_staging`."""
        venv = [str(image.venv / "bin")] if image.venv else []
        with (
            tempfile.TemporaryDirectory(prefix="fill-", dir=self.server.folder) as name,
            self.log.open("wb") as log,
            ExitStack() as stack,
        ):
            # Like every container, on a copy: the image's own files stay as they were built.
            root = Path(name) / "root"
            shutil.copytree(image.root, root, symlinks=True)
            work = root / image.workdir.strip("/")
            readable = [bin_dir(), self.server.socket_dir, *([image.venv] if image.venv else [])]
            words = stack.enter_context(
                confined(["/bin/sh", "-c", command], readable=readable, writable=[Path(name)])
            )
            process = subprocess.Popen(
                words,
                cwd=work,
                env={
                    "HOME": name,
                    **image.env,
                    "PATH": os.pathsep.join([*venv, str(bin_dir()), os.environ.get("PATH", os.defpath)]),
                    **self.secrets()[environment],
                    **env,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                _wait(process, cancelled)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if cancelled.is_set():
            raise Failed(
                f"`{command}` was stopped before its end; the next start does it from the beginning."
            )
        if process.returncode:
            last = self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            raise Failed(
                f"`{command}`, run for the database of {environment}, ended with exit code"
                f" {process.returncode}:" + "".join(f"\n  {line}" for line in last)
            )

    def _url(self, role: str, database: str) -> str:
        return self.server.url(role, self._kept()[role], database)

    def _kept(self) -> dict[str, str]:
        """The passwords and keys, made once: a deployed service keeps the ones it was given."""
        try:
            found: dict[str, str] = json.loads(self._secrets.read_text())
        except FileNotFoundError:
            names = (*ENVIRONMENTS, READER, *(f"{name} key" for name in ENVIRONMENTS))
            found = {name: secrets.token_urlsafe(36) for name in names}
            write_private(self._secrets, json.dumps(found))
        return found


def _let_in(
    connection: psycopg.Connection[tuple[Any, ...]], role: str, password: str, right: LiteralString
) -> None:
    """Make the role, or give it this password."""
    exists = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
    # Postgres gets only the verifier: the password itself can reach no log.
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOCREATEROLE {} PASSWORD {}").format(
            sql.SQL("CREATE" if exists is None else "ALTER"),
            sql.Identifier(role),
            sql.SQL(right),
            sql.Literal(verifier.decode()),
        )
    )


def _grant_reading(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Let the reader read all there is in this database, whoever made it."""
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


def _wait(process: subprocess.Popen[bytes], cancelled: threading.Event) -> None:
    """Wait until the process ends or somebody cancels it."""
    while process.poll() is None and not cancelled.wait(0.1):
        pass
