"""Make databases beside the target, and exchange one with the target: by two renames in one transaction.

The target is never closed or missing, whenever the process dies: an uncommitted transaction has no effect,
and the next copy drops the databases left beside the target.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from . import attributes, blockers
from .database import no_timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Connection, Database

_TERMINATION = 5000  # milliseconds that a session may take to end
_PAUSE = 0.05  # seconds between two rounds of ending the sessions that connected meanwhile
_TRIES = 5
# What a server says that does not know a locale, its provider, or CREATE DATABASE's word for it.
_LACKS_LOCALE = (
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.SyntaxError,
    psycopg.errors.FeatureNotSupported,
)
_WRITING = (
    "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; "
    "SET default_transaction_deferrable = off; SET standard_conforming_strings = on"
)
_PG14, _PG15, _PG17, _PG18 = 140000, 150000, 170000, 180000
# Smaller databases are cloned faster through the write-ahead log than by FILE_COPY's two checkpoints.
_FILE_COPY = 512 << 20  # bytes


def exists(server: Connection, name: str) -> bool:
    return bool(server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone())


def is_ours(server: Connection, name: str) -> bool:
    """Return True if the role of `server` owns database `name`, or if there is no such database."""
    row = server.execute(
        "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    return row is None or bool(row[0])


def disable_timeouts(server: Connection) -> None:
    """Switch off all timeouts of this session, and let it write whatever its role's settings say."""
    server.execute(f"{no_timeouts(server.info.server_version)}; {_WRITING}".encode())


@contextlib.contextmanager
def locked(server: Connection, name: str, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock that lets only one copy at a time into a database. Call `waiting` if another copy has it.

    The lock also ends when `server` is closed or its process dies.
    """
    key = [f"stage_copy {name}"]
    row = server.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key).fetchone()
    if not row or not row[0]:
        waiting()
        server.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", key)
    try:
        yield
    finally:
        with contextlib.suppress(psycopg.Error):  # if the server is gone, so is the lock
            server.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", key)


def own(server: Connection, name: str, role: str) -> None:
    """Make `role` the owner of the database; an empty one means the role that made it."""
    if role:
        server.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(role))
        )


@dataclass(frozen=True)
class Locale:
    """The encoding of a database, and its locale in the words of CREATE DATABASE."""

    encoding: str
    options: sql.Composable


def create(server: Connection, name: str, like: Locale, say: Callable[[str], None]) -> None:
    """Make an empty database with this encoding, and with this locale if the server has it."""
    plain = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {}").format(
        sql.Identifier(name), sql.Literal(like.encoding)
    )
    try:
        server.execute(plain + like.options)
    except _LACKS_LOCALE:
        say("the target's server lacks staging's locale: text may sort in another order there")
        server.execute(plain)


def clone(server: Connection, name: str, template: str) -> None:
    """Copy a database within this server in the fastest way. Nobody may be connected to `template`."""
    server.execute(_clone(server, name, template))


def order_clone(maintenance: Database, name: str, template: str) -> None:
    """Let the server clone `template`, closed to connections, without waiting for it."""
    connection = maintenance.connect()
    disable_timeouts(connection)
    make = _clone(connection, name, template) + sql.SQL(" ALLOW_CONNECTIONS false")
    connection.pgconn.send_query(make.as_bytes(connection))
    connection.close()  # the server still carries out the statement


def _clone(server: Connection, name: str, template: str) -> sql.Composed:
    make = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    version = server.info.server_version
    if version >= _PG18:
        try:  # the kernel copies, or shares the blocks if the file system supports that
            server.execute("SET file_copy_method = clone")
        except psycopg.errors.InvalidParameterValue:  # the server's system does not support it
            pass
        else:
            return make + sql.SQL(" STRATEGY FILE_COPY")
    row = server.execute("SELECT pg_database_size(%s::name)", [template]).fetchone()
    if version >= _PG15 and row and row[0] >= _FILE_COPY:
        make += sql.SQL(" STRATEGY FILE_COPY")
    return make


def drop(server: Connection, *names: str) -> None:
    """Drop databases, if they exist, after ending their sessions. Raise psycopg.Error if our role may not.

    `WITH (FORCE)` is not used: it fails for an ordinary role while autovacuum works in the database, and a
    plain DROP DATABASE ends autovacuum by itself.
    """
    for name in names:
        if exists(server, name):
            end_sessions(server, name)
            query = "SELECT 1 FROM pg_database WHERE datname = %s AND datistemplate"
            if server.execute(query, [name]).fetchone():
                server.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


def end_sessions(server: Connection, name: str) -> None:
    """End the sessions of database `name` that our role may end."""
    waiting = sql.SQL(", {}").format(_TERMINATION) if server.info.server_version >= _PG14 else sql.SQL("")
    server.execute(
        sql.SQL(
            "SELECT pg_terminate_backend(pid{}) FROM pg_stat_activity s "  # noqa: S608  a condition of ours
            f"WHERE datname = {{}} AND pid <> pg_backend_pid() AND {blockers.MAY_END}"
        ).format(waiting, name)
    )


def open_again(server: Connection, name: str) -> None:
    """Allow connections to the database if somebody has forbidden them."""
    if server.execute("SELECT 1 FROM pg_database WHERE datname = %s AND NOT datallowconn", [name]).fetchone():
        allow(server, name, connections=True)


def allow(server: Connection, name: str, *, connections: bool) -> None:
    server.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            sql.Identifier(name), sql.Literal(connections)
        )
    )


def rename(server: Connection, old: str, new: str) -> None:
    server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))


def exchange(
    server: Connection, maintenance: Database, name: str, incoming: str, replaced: str, shared: str = ""
) -> list[str]:
    """Rename `incoming` to `name`; rename an existing `name` to `replaced` in the same transaction.

    What hangs on `name` (rights, settings) comes to the new one; if there is none, what hangs on `shared`.
    Return a sentence about each part that our role may not set.

    A rename keeps out new sessions and waits for the existing ones, which another session, on `maintenance`,
    ends meanwhile. Raise psycopg.Error; nothing has changed then.
    """
    if not exists(server, name):
        with server.transaction():
            lost = attributes.carry(server, shared, incoming) if shared and exists(server, shared) else []
            rename(server, incoming, name)
        return lost
    with closing(maintenance.connect()) as other, _ending_sessions(other, name):
        for attempt in range(_TRIES):
            try:
                with server.transaction():
                    lost = attributes.carry(server, name, incoming)
                    rename(server, name, replaced)
                    rename(server, incoming, name)
            except psycopg.errors.ObjectInUse:
                if attempt == _TRIES - 1:
                    raise
            else:
                return lost
    return []  # not reached: the last attempt returns or raises


@contextlib.contextmanager
def _ending_sessions(other: Connection, name: str) -> Iterator[None]:
    """End the sessions of database `name` again and again, in a thread, while the block runs."""
    over = threading.Event()

    def end() -> None:
        with contextlib.suppress(psycopg.Error):  # the rename itself then fails with the reason
            while not over.is_set():
                end_sessions(other, name)
                over.wait(_PAUSE)

    disable_timeouts(other)
    end_sessions(other, name)
    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def locale(like: Connection, version: int) -> Locale:
    """Return the locale of the database behind `like`, for a server of this version."""
    source = like.info.server_version
    provider = "datlocprovider" if source >= _PG15 else "'c'"
    locale = "datlocale" if source >= _PG17 else "daticulocale" if source >= _PG15 else "NULL"
    row = like.execute(
        sql.SQL(  # the columns come from this function, not from outside
            f"SELECT datcollate, datctype, {provider}, {locale} FROM pg_database "  # noqa: S608
            "WHERE datname = current_database()"
        )
    ).fetchone()
    assert row  # noqa: S101  the database that we are connected to exists
    collate, ctype, by, name = row
    options = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(collate), sql.Literal(ctype))
    kinds = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE"), "c": ("libc", "")}
    provider, keyword = kinds.get(by.decode() if isinstance(by, bytes) else by, ("libc", ""))
    if version >= _PG15:
        options += sql.SQL(f" LOCALE_PROVIDER {provider}")
        if keyword and name:
            options += sql.SQL(f" {keyword} ") + sql.Literal(name)
    return Locale(like.info.parameter_status("server_encoding") or "UTF8", options)
