"""Which databases may be thrown away: a mark that outlives the database it is about.

`reset_db` drops the target, and with it everything kept in it or about it. The marks therefore stand in the
comment of a tiny database of their own that nobody can connect to, `stage_copy_marks_<role>`. A comment on a
database is a shared object: readable from every database of the server, writable only by the owner. A role
with CREATEDB, as the master user of RDS is, can make one, and no other role can forge it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from psycopg import sql

from .problems import Refused

if TYPE_CHECKING:
    from .database import Connection

PROTECTED = frozenset({"production", "prod", "live", "stage", "staging"})
_SYSTEM = frozenset({"postgres", "template0", "template1", "rdsadmin"})
_LONGEST_NAME = 63  # bytes; Postgres cuts longer identifiers (NAMEDATALEN - 1)
COPYING, REPLACED = "_copying", "_replaced"


def beside(name: str) -> tuple[str, str]:
    """The databases that a copy into `name` uses for a moment: the one being filled, the replaced one."""
    return name + COPYING, name + REPLACED


def is_disposable(connection: Connection, name: str) -> bool:
    return name in _read(connection)


def mark(connection: Connection, name: str) -> None:
    """Mark database `name` as disposable; doing it twice is fine.

    Raises Refused for a name that looks like something to protect, for a database of somebody else, and when
    a name that copies will need beside it is taken.
    """
    words = set(re.split(r"[^a-z0-9]+", name.casefold()))
    if found := words & PROTECTED or {name.casefold()} & _SYSTEM:
        raise Refused(
            f'database "{name}" is not marked: its name says "{min(found)}", and such a database is '
            "never thrown away: point the default database at one with another name"
        )
    if len(name.encode()) > _LONGEST_NAME - len(REPLACED):
        raise Refused(f'database "{name}" is not marked: its name is too long: use 54 bytes at most')
    rows = connection.execute(
        "SELECT datname, pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE') FROM pg_database"
    ).fetchall()
    owners = {datname: (owner, ours) for datname, owner, ours in rows}
    if name in owners and not owners[name][1]:
        raise Refused(
            f'database "{name}" is not marked: it belongs to {owners[name][0]}: connect as that role'
        )
    marked = _read(connection)
    if name in marked:
        return
    if taken := [other for other in beside(name) if other in owners]:
        raise Refused(
            f'database "{name}" is not marked: copies need the name "{taken[0]}", which exists: '
            "drop or rename that database"
        )
    registry = _registry(connection)
    if registry not in owners:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false").format(
                sql.Identifier(registry)
            )
        )
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(registry), sql.Literal(json.dumps({"disposable": sorted({*marked, name})}))
        )
    )


def _registry(connection: Connection) -> str:
    """The name of this role's registry: one per role, so that teams on one server keep apart."""
    role, oid = connection.execute(
        "SELECT current_user::text, oid::text FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", "")
    name = f"stage_copy_marks_{role}"
    return name if len(name.encode()) <= _LONGEST_NAME else f"stage_copy_marks_{oid}"


def _read(connection: Connection) -> frozenset[str]:
    row = connection.execute(
        """SELECT pg_get_userbyid(datdba) = current_user, pg_get_userbyid(datdba),
                  shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s""",
        [registry := _registry(connection)],
    ).fetchone()
    if row is None:
        return frozenset()
    ours, owner, comment = row
    if not ours:
        raise Refused(
            f'the registry of disposable databases, "{registry}", belongs to {owner}, who could have written '
            "anything into it: have its owner drop it, then mark again"
        )
    try:
        names = json.loads(comment or "{}")["disposable"]
    except (ValueError, TypeError, KeyError):
        return frozenset()
    return (
        frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
    )
