"""Moves staging's data: one consistent pg_dump into a new database, which then takes the target's place.

The target serves until the new database is complete: what fails before leaves it as it was. The two are
exchanged by renames in one transaction, while connections to the target are shut out for a moment.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from . import stamp
from .database import Connection, Database, reason
from .marks import beside
from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a throw-away copy neither needs nor may have: rights of roles that do not exist there, and
# subscriptions that would start to pull from production.
_DUMP_OPTIONS = (
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-publications",
    "--no-subscriptions",
    "--lock-wait-timeout=60s",
)
_CHUNK = 1 << 16  # bytes; what a pipe holds
_HEADER_LINES = 40  # a dump sets its session within its first lines
_TERMINATION = 5000  # milliseconds that a session may take to end
_KNOWS_TRANSACTION_TIMEOUT = 170000  # the first server that has the setting
_LEAVES_EXTENSIONS = 17  # the first pg_dump with --exclude-extension
_PROGRESS = 5.0  # seconds between two lines

Say = Callable[[str], None]


@dataclass(frozen=True)
class Receipt:
    """What was copied; `copied_at` is ISO 8601 in UTC, `seconds` the whole copy's duration."""

    source: str
    target: str
    copied_at: str
    tables: int
    rows: int
    seconds: float


def client_version() -> int:
    """The major version of pg_dump. Raises Failed when pg_dump or psql is not installed."""
    for tool in ("pg_dump", "psql"):
        if shutil.which(tool) is None:
            raise Failed(
                f"{tool} is not on PATH: install the Postgres client (postgresql-client) in the image"
            )
    said = subprocess.run(
        ["pg_dump", "--version"],  # noqa: S607  the user's PATH says which client is theirs
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if (found := re.search(r"\d+", said)) is None:
        raise Failed(f"pg_dump --version says no version but {said.strip()!r}: repair the Postgres client")
    return int(found[0])


def copy(
    source: Database, source_connection: Connection, target: Database, server: Connection, say: Say
) -> Receipt:
    """Copy `source` to `target` through `server`, a connection to another database of the target's server.

    Raises Failed; the target is then as it was.
    """
    began = time.monotonic()
    incoming, replaced = beside(target.name)
    _wait_for_turn(server, target.name, say)
    try:
        _open_again(server, target.name)
        _drop(server, incoming, replaced)
        server.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
                sql.Identifier(incoming),
                sql.Literal(source_connection.info.parameter_status("server_encoding")),
            )
        )
    except psycopg.Error as error:
        raise Failed(f'cannot create database "{incoming}" beside the target: {reason(error)}') from None
    try:
        excluded = _extensions_to_leave(source_connection, server)
        for name in excluded:
            say(f'extension "{name}" stays behind: the role of the target may not create it')
        size = _one(source_connection.execute("SELECT pg_size_pretty(pg_database_size(current_database()))"))
        copied_at = datetime.now(UTC).isoformat(timespec="seconds")
        say(f'copying "{source.name}" ({size} with its indexes) to "{target.name}"')
        tables, rows = _pipe(source, target.named(incoming), excluded, server.info.server_version, say)
        server.execute(stamp.statement(incoming, copied_at=copied_at, source=source.name, rows=rows))
        _exchange(server, target.name, incoming, replaced)
    except psycopg.Error as error:
        raise Failed(f'the copy could not take the place of "{target.name}": {reason(error)}') from None
    finally:
        with contextlib.suppress(psycopg.Error):  # a server that is gone: the next run drops them
            _drop(server, incoming, replaced)
    return Receipt(source.name, target.name, copied_at, tables, rows, round(time.monotonic() - began, 2))


def _wait_for_turn(server: Connection, name: str, say: Say) -> None:
    """One copy into a database at a time; the lock goes when `server` is closed."""
    key = [f"stage_copy {name}"]
    if not _one(server.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key)):
        say(f'another copy into "{name}" is running: waiting for it')
        server.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", key)


def _open_again(server: Connection, name: str) -> None:
    """Let connections in again, should a copy have been killed while it kept them out."""
    if server.execute("SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn", [name]).fetchone():
        server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))


def _drop(server: Connection, *names: str) -> None:
    for name in names:
        server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _extensions_to_leave(source: Connection, server: Connection) -> list[str]:
    """The source's extensions that the target lacks or that want a superuser (pg_stat_statements, say)."""
    if client_version() < _LEAVES_EXTENSIONS:
        return []  # the restore fails at such an extension, and says so
    wanted = {name for (name,) in source.execute("SELECT extname::text FROM pg_extension").fetchall()}
    allowed = server.execute(
        """SELECT DISTINCT name::text FROM pg_available_extension_versions
           WHERE trusted OR NOT superuser OR EXISTS (SELECT FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')
                                                     AND (rolname = 'rds_superuser' OR rolsuper))"""
    ).fetchall()
    return sorted(wanted - {name for (name,) in allowed} - {"plpgsql"})


def _pipe(
    source: Database, target: Database, excluded: list[str], target_version: int, say: Say
) -> tuple[int, int]:
    """Run `pg_dump | psql`; raises Failed unless both succeeded.

    psql alone proves nothing: it takes the end of a dump that broke off for the proper one and commits.
    Returns the numbers of tables and rows, from psql's "COPY n".
    """
    dump_argv = ["pg_dump", *_DUMP_OPTIONS, *(f"--exclude-extension={name}" for name in excluded)]
    progress = _Progress(say)
    load_argv = ["psql", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    with (
        tempfile.TemporaryFile() as tags,
        tempfile.TemporaryFile() as dump_errors,
        tempfile.TemporaryFile() as load_errors,
        _process(dump_argv, source, stdout=subprocess.PIPE, stderr=dump_errors) as dump,
        _process(load_argv, target, stdin=subprocess.PIPE, stdout=tags, stderr=load_errors) as load,
    ):
        assert dump.stdout and load.stdin  # noqa: S101, PT018  both are pipes: for the type checker
        complete = True
        try:
            for piece in _without_unknown_settings(dump.stdout, target_version):
                load.stdin.write(piece)
                progress.add(len(piece))
            complete = dump.wait() == 0
            load.stdin.close()
        except BrokenPipeError:  # psql stopped at an error
            dump.kill()
        load.wait()
        if not complete:
            raise Failed(f"pg_dump of the source failed: {_why(dump_errors)}")
        if load.returncode != 0:
            raise Failed(f"psql could not restore the dump: {_why(load_errors)}")
        tags.seek(0)
        counts = [int(line.split()[1]) for line in tags if line.startswith(b"COPY ")]
        return len(counts), sum(counts)


@contextlib.contextmanager
def _process(argv: list[str], database: Database, **files: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client of `database`; it never outlives the block."""
    process = subprocess.Popen(argv, env=database.environment(), **files)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def _without_unknown_settings(dump: IO[bytes], target_version: int) -> Iterator[bytes]:
    """The dump, less the setting that pg_dump 17 and newer writes and older servers refuse.

    Lines near the top are looked at, the rest goes through in pieces as they come.
    """
    for line in itertools.islice(dump, _HEADER_LINES):
        if not (target_version < _KNOWS_TRANSACTION_TIMEOUT and line.startswith(b"SET transaction_timeout")):
            yield line
    while piece := dump.read1(_CHUNK):  # type: ignore[attr-defined]  # a pipe's reader is buffered
        yield piece


def _exchange(server: Connection, name: str, incoming: str, replaced: str) -> None:
    """Let `incoming` take the place of `name`, if that exists, and its sessions end."""
    if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        _rename(server, incoming, name)
        return
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    try:
        server.execute(
            """SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity
               WHERE datname = %s AND pg_has_role(usesysid, 'USAGE')""",
            [_TERMINATION, name],
        )
        with server.transaction():
            _rename(server, name, replaced)
            _rename(server, incoming, name)
    finally:
        _open_again(server, name)  # the old one, should something have failed; the new one was never closed


def _rename(server: Connection, old: str, new: str) -> None:
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def _one(cursor: psycopg.Cursor[tuple[Any, ...]]) -> Any:
    row = cursor.fetchone()
    return row[0] if row else None


def _why(errors: IO[bytes]) -> str:
    """The first error that a tool of Postgres's reported, else the last thing it said."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
    errors_only = [line for line in lines if re.search(r"\b(ERROR|FATAL|error):", line)]
    line = (errors_only or lines[-1:] or ["it said nothing"])[0]
    return re.sub(r"^(psql:\S* |pg_dump: )?(ERROR|FATAL|error):\s*", "", line)


@dataclass
class _Progress:
    """Says now and then how much has arrived."""

    say: Say
    arrived: int = 0  # bytes
    said: float = field(default_factory=time.monotonic)

    def add(self, size: int) -> None:
        self.arrived += size
        now = time.monotonic()
        if now - self.said >= _PROGRESS:
            self.said = now
            self.say(f"{self.arrived // 2**20} MB of SQL copied")
