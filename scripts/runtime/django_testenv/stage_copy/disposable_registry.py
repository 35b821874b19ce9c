"""Record which databases may be thrown away, in marks that outlive the databases.

`reset_db` drops the target with everything in it, also its comment. The marks are therefore in the comment of
a tiny database of their own that nobody can connect to, `stage_copy_marks_<role>`. A comment on a database is
a shared object: every database of the server can read it, and only the owner can write it. A role with
CREATEDB, such as the master user of RDS, can make it, and no other role can forge it.

The mark of a branch's database names the shared database it belongs to, so that another project's database
with a similar name is not mistaken for a branch's.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import sql

from . import protection, swap
from .problems import Refused

if TYPE_CHECKING:
    from .database import Connection

_SYSTEM = frozenset({"postgres", "template0", "template1", "rdsadmin"})
_LONGEST_NAME = 63  # bytes; Postgres cuts longer identifiers (NAMEDATALEN - 1)
COPYING, REPLACED = "_copying", "_replaced"


@dataclass(frozen=True)
class Marks:
    """The content of the registry; `branches` maps a branch's database to its shared database."""

    disposable: frozenset[str] = frozenset()
    branches: Mapping[str, str] = field(default_factory=dict)


def beside(name: str) -> tuple[str, str]:
    """Return the names of a copy's two temporary databases: the one being filled and the replaced one."""
    return name + COPYING, name + REPLACED


def is_disposable(connection: Connection, name: str) -> bool:
    return name in read(connection).disposable


def mark(connection: Connection, name: str, *, suffix: str = "") -> None:
    """Mark database `name` as disposable. A second mark changes nothing.

    With `suffix`, the end of its name, it is marked as a branch's database of the one without the suffix.

    Raises Refused if the name looks like a protected one or is reserved for copies, if the database belongs
    to another role, or if a name that copies need beside it is taken.
    """
    shared = name.removesuffix(suffix)
    require_name(name, shared, "marked")
    if name.endswith((COPYING, REPLACED)):
        raise Refused(
            f'database "{name}" is not marked: names that end in "{COPYING}" or "{REPLACED}" are those of '
            "copies under way: take another one"
        )
    if len(name.encode()) > _LONGEST_NAME - len(REPLACED):
        raise Refused(f'database "{name}" is not marked: its name is too long: use 54 bytes at most')
    with _exclusive(connection) as registry:
        rows = connection.execute(
            "SELECT datname, pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE') FROM pg_database"
        ).fetchall()
        owners = {datname: (owner, ours) for datname, owner, ours in rows}
        if name in owners and not owners[name][1]:
            raise Refused(
                f'database "{name}" is not marked: it belongs to {owners[name][0]}: connect as that role'
            )
        marked = read(connection)
        taken = [other for other in beside(name) if other in owners]
        if taken and name not in marked.disposable:
            raise Refused(
                f'database "{name}" is not marked: copies need the name "{taken[0]}", which exists: '
                "drop or rename that database"
            )
        branches = {**_without(name, marked.branches), **({name: shared} if suffix else {})}
        wanted = Marks(marked.disposable | {name}, branches)
        if wanted == marked:
            return
        if registry not in owners:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false").format(
                    sql.Identifier(registry)
                )
            )
        _write(connection, registry, wanted)


def unmark(connection: Connection, name: str) -> None:
    """Remove the mark of database `name`, if it has one."""
    with _exclusive(connection) as registry:
        marked = read(connection)
        if name in marked.disposable:
            left = Marks(marked.disposable - {name}, _without(name, marked.branches))
            _write(connection, registry, left)


def read(connection: Connection) -> Marks:
    """Return all marks of this role. Raise Refused if the registry belongs to another role."""
    row = connection.execute(
        """SELECT pg_get_userbyid(datdba) = current_user, pg_get_userbyid(datdba),
                  shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s""",
        [registry := _registry(connection)],
    ).fetchone()
    if row is None:
        return Marks()
    ours, owner, comment = row
    if not ours:
        raise Refused(
            f'the registry of disposable databases, "{registry}", belongs to {owner}, who could have written '
            "anything into it: have its owner drop it, then mark again"
        )
    try:
        found = json.loads(comment or "{}")
        names, branches = found["disposable"], found.get("branches", {})
    except (ValueError, TypeError, KeyError):
        return Marks()
    if not isinstance(names, list) or not isinstance(branches, dict):
        return Marks()
    return Marks(frozenset(name for name in names if isinstance(name, str)), branches)


def require_name(name: str, shared: str, doing: str) -> None:
    """Raise Refused if the name means production or staging; `doing` is the refused action in the message.

    Only the shared database's name is examined: a branch may have "staging" in its name.
    """
    word = protection.database_protector(shared) or next(iter({protection.folded(shared)} & _SYSTEM), "")
    if word:
        raise Refused(
            f'database "{name}" is not {doing}: its name says "{word}", and such a database is '
            "never thrown away: point the default database at one with another name"
        )


@contextlib.contextmanager
def _exclusive(connection: Connection) -> Iterator[str]:
    """Yield the registry's name under its lock, because each change rewrites all marks."""
    registry = _registry(connection)
    with swap.locked(connection, registry, waiting=lambda: None):  # the wait is too short for a message
        yield registry


def _registry(connection: Connection) -> str:
    """Return the name of this role's registry. Each role has its own, which separates teams on one server."""
    role, oid = connection.execute(
        "SELECT current_user::text, oid::text FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", "")
    name = f"stage_copy_marks_{role}"
    return name if len(name.encode()) <= _LONGEST_NAME else f"stage_copy_marks_{oid}"


def _write(connection: Connection, registry: str, marks: Marks) -> None:
    text = json.dumps({"disposable": sorted(marks.disposable), "branches": dict(marks.branches)})
    connection.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(registry), sql.Literal(text))
    )


def _without(name: str, branches: Mapping[str, str]) -> dict[str, str]:
    return {branch: shared for branch, shared in branches.items() if branch != name}
