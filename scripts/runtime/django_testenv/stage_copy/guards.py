"""Check before a copy that it may run. Each `require_…` raises Refused with its own message."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import psycopg

from . import client, disposable_registry, protection, swap
from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import LiteralString

    from .database import Connection

ENVIRONMENT = "COPILOT_ENVIRONMENT_NAME"  # Copilot sets it in each container of its services and tasks
SUFFIX = r"_[A-Za-z0-9_]+"  # a branch's database has the shared database's name and this suffix
_SHOWN = 3  # examples in a message

# `me` has every role that the session can act as: its own role, and the roles of which it is a member, also
# if it must SET ROLE first.
_WRITABLE = """
WITH me AS (
    SELECT oid, rolname, rolsuper, rolcreaterole FROM pg_roles
    WHERE pg_has_role(current_user, oid, 'MEMBER') OR pg_has_role(session_user, oid, 'MEMBER')
), spaces AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_(toast|temp)' AND nspname NOT IN ('pg_catalog', 'information_schema')
), relations AS (
    SELECT c.oid, c.relkind, format('%I.%I', s.nspname, c.relname) AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
)
SELECT 'is superuser' FROM me WHERE rolsuper
UNION SELECT 'may grant itself rights (CREATEROLE)' FROM me WHERE rolcreaterole
UNION SELECT 'acts as ' || rolname FROM me
    WHERE rolname IN
        ('rds_superuser', 'pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
UNION SELECT 'owns objects of this database' FROM pg_shdepend d JOIN me ON d.refobjid = me.oid
    WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
    AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION SELECT 'owns this database' FROM pg_database d JOIN me ON d.datdba = me.oid
    WHERE d.datname = current_database()
UNION SELECT 'may create schemas in this database' FROM me
    WHERE has_database_privilege(me.oid, current_database(), 'CREATE')
UNION SELECT 'may create in schema ' || quote_ident(nspname) FROM me, spaces
    WHERE has_schema_privilege(me.oid, spaces.oid, 'CREATE')
UNION SELECT 'may write to ' || name FROM me, relations
    WHERE relkind <> 'S' AND (has_table_privilege(me.oid, relations.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    OR has_any_column_privilege(me.oid, relations.oid, 'INSERT, UPDATE'))
UNION SELECT 'may advance sequence ' || name FROM me, relations
    WHERE relkind = 'S' AND has_sequence_privilege(me.oid, relations.oid, 'USAGE, UPDATE')
ORDER BY 1
"""

# A server and its replicas have the same system identifier, and so has a server restored from a snapshot. The
# copy to a restored server is refused until the target was reset once, which is the safe side.
_IDENTITY = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), d.oid::text, d.datname::text
FROM pg_database d WHERE d.datname = %s
"""
# This works also if an administrator has closed pg_control_system(). The epoch does not depend on time zones.
_IDENTITY_BY_START = """
SELECT extract(epoch FROM pg_postmaster_start_time())::text, d.oid::text, d.datname::text
FROM pg_database d WHERE d.datname = %s
"""


def require_environment(environ: Mapping[str, str], deployed: Mapping[str, object], file: str) -> None:
    """Require that this is the environment to which `deploy-test` deployed the image.

    `deploy-test` records the disposable environment in `file`; `deployed` is the content of that file.
    Outside Copilot's environments only the database's mark decides. Raises Refused.
    """
    name, stated = environ.get(ENVIRONMENT), str(deployed.get("environment") or "")
    for each, where in ((name, ENVIRONMENT), (stated, file)):
        if each and (rule := protection.protector(each)):
            raise Refused(
                f"nothing is done here: {where} says that this is the environment {json.dumps(each)}, which "
                f'reads like "{rule.strip(chr(0x2026))}": run it in the throw-away environment'
            )
    if name is None or (name and name == stated):
        return
    to = f"was deployed to {json.dumps(stated)}" if stated else "was not deployed by `invoke deploy-test`"
    raise Refused(
        f"nothing is done in the environment {json.dumps(name)}: by its {file} the image {to}: deploy it "
        "with `invoke deploy-test`, which names the environment there once it was seen to be disposable, and "
        "let the Dockerfile copy the file beside manage.py"
    )


def require_mark(target: Connection, name: str) -> None:
    """Require that the target was marked as disposable by its own role."""
    if not disposable_registry.is_disposable(target, name):
        raise Refused(
            f'database "{name}" carries no disposable mark, so it is not overwritten: if everything in it '
            f"may go, run: python manage.py copy_stage_db --mark-disposable {name} --confirm {name}"
        )


def require_suffix(name: str, suffix: str) -> None:
    """Require that the settings append DATABASE_SUFFIX to the default database's name."""
    if suffix and (not name.endswith(suffix) or name == suffix):
        raise Refused(
            f'the settings ignore DATABASE_SUFFIX, which is "{suffix}": the default database is "{name}", so '
            'two branches would share one database: append it to DATABASES["default"]["NAME"]'
        )


def require_shared_mark(target: Connection, name: str, shared: str) -> None:
    """Require that the shared database is marked: only then a branch's database may be made and marked."""
    if not disposable_registry.is_disposable(target, shared):
        raise Refused(
            f'database "{name}" is not made, since the shared one, "{shared}", carries no disposable mark: '
            f'if everything in "{shared}" may go, run without DATABASE_SUFFIX: '
            f"python manage.py copy_stage_db --mark-disposable {shared} --confirm {shared}"
        )


def require_branch_name(name: str, shared: str) -> None:
    """Require that the database to be dropped has the name of a branch's database beside `shared`."""
    if name == shared:
        raise Refused(
            f'nothing is dropped: "{name}" is the shared database itself: only branches\' are dropped'
        )
    if not re.fullmatch(re.escape(shared) + SUFFIX, name):
        raise Refused(
            f"nothing is dropped: {json.dumps(name)} is not the name of a branch's database: those beside "
            f'"{shared}" are called "{shared}_...", with letters, digits and _'
        )


def require_branch_mark(target: Connection, name: str, shared: str) -> None:
    """Require that the database to be dropped, if it exists, is marked as a branch's beside `shared`."""
    marked = disposable_registry.read(target)
    if name in marked.disposable and marked.branches.get(name) != shared:
        raise Refused(
            f'nothing is dropped: "{name}" is disposable, but not marked as a branch\'s beside "{shared}": '
            f"if it is one, mark it with DATABASE_SUFFIX={name.removeprefix(shared)} set"
        )
    if name not in marked.disposable and swap.exists(target, name):
        raise Refused(
            f'nothing is dropped: database "{name}" carries no disposable mark: if everything in it may go, '
            "drop it by hand"
        )


def require_ownership(target: Connection, name: str, *, to: str = "replace") -> None:
    """Require that the role owns the target, or it cannot be replaced. `reset_db` only logs that error."""
    row = target.execute(
        "SELECT pg_get_userbyid(datdba), pg_has_role(datdba, 'USAGE'), current_user::text "
        "FROM pg_database WHERE datname = %s",
        [name],
    ).fetchone()
    if row and not row[1]:
        raise Refused(
            f'database "{name}" belongs to {row[0]}, and {row[2]} may not {to} it: '
            f"have an administrator run ALTER DATABASE ... OWNER TO {row[2]}"
        )


def require_two_databases(source: Connection, source_name: str, target: Connection, target_name: str) -> None:
    """Require that the target is not the source, even if two addresses lead to the same database."""
    # A replica has the target's system identifier but its own start time; one equal identity is enough.
    if any(
        (theirs := _identity(query, source, source_name)) is not None
        and theirs == _identity(query, target, target_name)
        for query in (_IDENTITY, _IDENTITY_BY_START)
    ):
        raise Refused(
            f'the target is the source: both are database "{target_name}" of the same server, and copying '
            "would destroy it: correct DATABASE_URL or STAGE_DATABASE_URL"
        )


def writable_reasons(source: Connection) -> list[str]:
    """Return the reasons why the source's role could change staging; empty if it can only read."""
    reasons = [reason for (reason,) in source.execute(_WRITABLE).fetchall()]
    return ["is superuser"] if "is superuser" in reasons else reasons


def require_reader(reasons: list[str], role: str) -> None:
    """Require that the source's role may only read."""
    if reasons:
        raise Refused(
            f'the role "{role}" of the source could change staging: it {listed(reasons)}: give it SELECT '
            "only, or pass --allow-writable-source"
        )


def require_current_client(source: Connection) -> None:
    """Require that a pg_dump is installed that is not older than the source's server."""
    server = source.info.server_version // 10000
    newest = client.for_server(server).version
    if newest < server:
        raise Refused(
            f"pg_dump is too old: it is version {newest}, the source's server is PostgreSQL {server}: "
            f"install postgresql-client-{server} or newer in the image"
        )


def listed(reasons: list[str]) -> str:
    more = len(reasons) - _SHOWN
    return ", ".join(reasons[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _identity(query: LiteralString, connection: Connection, name: str) -> tuple[str, ...] | None:
    try:
        return connection.execute(query, [name]).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return None
