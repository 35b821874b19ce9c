"""The built-in steps after a copy: the site's domain, users for testers, tokens switched off.

They are SQL, not models: the tables are those of staging, which the branch's models may not fit yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from . import personal_tables
from .problems import Failed, Misconfigured

if TYPE_CHECKING:
    from .after import Deployment
    from .database import Connection

_DOMAIN, _SITE_NAME = 100, 50  # characters of django_site's columns
# What a column of a user gets that may not be null and has no default, by the category of its type.
_EMPTY = {"B": "false", "N": "0", "S": "''", "D": "now()", "A": "'{}'", "T": "'0'", "I": "'0.0.0.0'"}
_OF_TYPE = {"uuid": "gen_random_uuid()", "json": "'{}'", "jsonb": "'{}'"}
_COLUMNS = """
SELECT a.attname::text, a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', t.typname::text,
    t.typcategory::text
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
"""
_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname = ANY (%s) AND n.nspname !~ '^pg_'
"""

Say = Callable[[str], None]


def _site(connection: Connection, deployment: Deployment, arguments: Mapping[str, Any], say: Say) -> None:
    """Give the project's site the deployment's host, and every other site a name below it."""
    from django.conf import settings  # noqa: PLC0415  a test may have none

    domain = str(arguments.get("domain") or deployment.host)
    name = str(arguments.get("name") or deployment.branch or domain)
    tables = _found(connection, ("django_site",))
    if not tables:
        say('"django_site": staging has no such table')
    own = getattr(settings, "SITE_ID", None) if settings.configured else None
    for table in tables:
        ids = [row[0] for row in connection.execute(sql.SQL("SELECT id FROM {} ORDER BY id").format(table))]
        first = own if own in ids else ids[0] if ids else None
        # In two steps, since domains are unique: another site may have this one already.
        connection.execute(sql.SQL("UPDATE {} SET domain = 'site-' || id || '.invalid'").format(table))
        for number in ids:
            host, called = (
                (domain, name) if number == first else (f"site-{number}.{domain}", f"{name} {number}")
            )
            connection.execute(
                sql.SQL("UPDATE {} SET domain = %s, name = %s WHERE id = %s").format(table),
                [host[:_DOMAIN], called[:_SITE_NAME], number],
            )


def _users(connection: Connection, _: Deployment, arguments: Mapping[str, Any], say: Say) -> None:
    """Make users, or give those that are there the password."""
    from django.contrib.auth import get_user_model  # noqa: PLC0415  the apps are loaded by now
    from django.contrib.auth.hashers import make_password  # noqa: PLC0415

    meta = get_user_model()._meta  # noqa: SLF001  Django documents it
    table, login = sql.Identifier(meta.db_table), meta.get_field(get_user_model().USERNAME_FIELD).column
    place = connection.execute("SELECT to_regclass(%s)::text", [table.as_string(connection)]).fetchone()
    if not place or not place[0]:
        raise Failed(f'STAGE_COPY["after"]: "test_users": the copy has no table {meta.db_table}')
    columns = {row[0]: row[1:] for row in connection.execute(_COLUMNS, [place[0]]).fetchall()}
    for user in arguments.get("users", ["tester"]):
        fields = dict(user) if isinstance(user, Mapping) else {"username": user}
        name = str(fields.pop("username"))
        if fields.pop("superuser", False):
            fields |= {"is_staff": True, "is_superuser": True}
        if "hash" in arguments:  # `--test-user` asks for all rights that the project's users can have
            fields = {key: value for key, value in fields.items() if key in columns}
        if unknown := fields.keys() - columns.keys():
            raise Misconfigured(
                f'STAGE_COPY["after"]: "test_users": {meta.db_table} has no column {min(unknown)!r}'
            )
        wanted = {"is_active": True, "email": _mail(name), **fields, login: name}
        wanted["password"] = arguments.get("hash") or make_password(str(arguments["password"]))
        _write_user(connection, table, login, {k: v for k, v in wanted.items() if k in columns}, columns)
        say(f'user "{name}" is there for testers')


def _mail(name: str) -> str:
    return name if "@" in name else f"{name}@example.invalid"


def _write_user(
    connection: Connection,
    table: sql.Identifier,
    login: str,
    fields: Mapping[str, Any],
    columns: Mapping[str, tuple[bool, str, str]],
) -> None:
    names, values = list(map(sql.Identifier, fields)), list(fields.values())
    changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(name) for name in names)
    update = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(table, changes, sql.Identifier(login))
    if connection.execute(update, [*values, fields[login]]).rowcount:
        return
    empty = []
    for name, (needed, type_, category) in columns.items():
        if needed and name not in fields:
            constant = _OF_TYPE.get(type_) or _EMPTY.get(category)
            if constant is None:
                raise Misconfigured(
                    f'STAGE_COPY["after"]: "test_users": {name} may not be null: give it with the user'
                )
            names.append(sql.Identifier(name))
            empty.append(sql.SQL(constant))
    placed = [*(sql.Placeholder() for _ in values), *empty]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            table, sql.SQL(", ").join(names), sql.SQL(", ").join(placed)
        ),
        values,
    )


def _tokens(connection: Connection, _: Deployment, __: Mapping[str, Any], say: Say) -> None:
    """Delete the tokens and sessions of known packages; tables that refer to others go first."""
    waiting = _found(connection, personal_tables.TOKENS)
    deleted = 0
    while waiting:
        left = []
        for table in waiting:
            try:
                with connection.transaction():
                    deleted += connection.execute(sql.SQL("DELETE FROM {}").format(table)).rowcount
            except psycopg.errors.ForeignKeyViolation:
                left.append(table)
        if len(left) == len(waiting):
            names = ", ".join(table.as_string(connection) for table in left)
            raise Failed(f'STAGE_COPY["after"]: "tokens_off": other tables refer to rows of {names}')
        waiting = left
    say(f"{deleted} tokens and sessions of staging are deleted")


def _found(connection: Connection, names: tuple[str, ...]) -> list[sql.Identifier]:
    return [sql.Identifier(*row) for row in connection.execute(_TABLES, [list(names)]).fetchall()]


BUILT_IN: Mapping[str, Callable[[Connection, Deployment, Mapping[str, Any], Say], None]] = {
    "django_site": _site,
    "test_users": _users,
    "tokens_off": _tokens,
}
