"""Carry what hangs on a database, and not in it, to the one that takes its place.

That is its owner, its rights, its connection limit, and the settings of ALTER DATABASE and ALTER ROLE ... IN
DATABASE. Postgres stores them by the database's oid, so a rename does not take them along.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .database import Connection

_DATABASE = """
SELECT pg_get_userbyid(datdba)::text, datconnlimit, datistemplate FROM pg_database WHERE datname = %s
"""
_RIGHTS = """
SELECT coalesce(r.rolname::text, ''), is_grantable, array_agg(privilege_type ORDER BY privilege_type)
FROM pg_database d CROSS JOIN LATERAL aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE d.datname = %s GROUP BY 1, 2 ORDER BY 1, 2
"""
_SETTINGS = """
SELECT coalesce(r.rolname::text, ''), split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase CROSS JOIN unnest(s.setconfig) setting
LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE d.datname = %s ORDER BY 1, 2
"""
# Settings that hold a list of names, each quoted where it must be: variable_is_guc_list_quote in pg_dump.
_LISTS = frozenset({
    "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
    "temp_tablespaces", "unix_socket_directories",
})  # fmt: skip
_NAME = re.compile(r'"((?:[^"]|"")*)"|([^\s,"]+)')


def carry(server: Connection, old: str, new: str) -> list[str]:
    """Give database `new` what hangs on database `old`; call it within a transaction.

    Return a sentence about each part that the role of `server` may not set. Values are not in them: a setting
    of the project's own may be a secret. Raises psycopg.Error for any other failure.
    """
    parts = list(_statements(server, old, new))
    if _allowed(server, sql.SQL("; ").join(statement for _, statement in parts)):
        return []
    return [
        f"{what} of database {old} is lost: the target's role may not set it"
        for what, statement in parts
        if not _allowed(server, statement)
    ]


def _allowed(server: Connection, statement: sql.Composed) -> bool:
    try:
        with server.transaction():  # a savepoint
            server.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _statements(server: Connection, old: str, new: str) -> Iterator[tuple[str, sql.Composed]]:
    """Yield each part with the statement that sets it."""
    row = server.execute(_DATABASE, [old]).fetchone()
    assert row  # noqa: S101  the caller holds its lock
    owner, limit, template = row
    database = sql.Identifier(new)
    rights = server.execute(_RIGHTS, [old]).fetchall()
    settings = server.execute(_SETTINGS, [old]).fetchall()
    yield (
        f"the owner {owner}",
        sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(owner)),
    )
    everybody = sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(database, sql.Identifier(owner))
    grants = [_grant(database, *right) for right in rights]
    yield "a right", sql.SQL("; ").join([everybody, *grants])
    yield "the limit", sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, sql.Literal(limit))
    if template:
        yield "its use as a template", sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(database)
    for role, name, value in settings:
        whose = f"the setting {name} of role {role}" if role else f"the setting {name}"
        yield whose, _set(database, role, name, value)


def _grant(database: sql.Identifier, role: str, grantable: bool, rights: list[str]) -> sql.Composed:  # noqa: FBT001  a row of _RIGHTS
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
        sql.SQL(", ".join(rights)),  # Postgres's own words
        database,
        sql.Identifier(role) if role else sql.SQL("PUBLIC"),
        sql.SQL(" WITH GRANT OPTION" if grantable else ""),
    )


def _set(database: sql.Identifier, role: str, name: str, value: str) -> sql.Composed:
    whose = (
        sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
        if role
        else sql.SQL("DATABASE {}").format(database)
    )
    values = [value]
    if name in _LISTS:
        values = [(quoted.replace('""', '"') or plain) for quoted, plain in _NAME.findall(value)] or [""]
    return sql.SQL("ALTER {} SET {} TO {}").format(
        whose, sql.Identifier(name), sql.SQL(", ").join(map(sql.Literal, values))
    )
