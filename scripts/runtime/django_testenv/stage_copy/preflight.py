"""Find out in seconds, before any row is moved, what would end a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import attributes, blockers, catalogue, guards, restore, swap
from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .database import Connection, Database
    from .options import Options

_SHOWN = 3  # names in a message
_OURS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# Asked without the tables' sizes: these wait for whoever has locked one.
_TABLES = f"""
SELECT c.oid::int8, n.nspname || '.' || c.relname FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (SELECT unnest(extconfig) AS oid, extname FROM pg_extension) config ON config.oid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND {_OURS}
AND (config.oid IS NOT NULL AND config.extname <> ALL (%s) OR config.oid IS NULL AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'))
AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')) ORDER BY 2
"""  # noqa: S608  the condition is above
_SEQUENCES = f"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_OURS} AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
AND NOT (has_sequence_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')) ORDER BY 1, 2
"""  # noqa: S608  the condition is above
# Without BYPASSRLS a role reads only the rows that policies show it, and pg_dump refuses that.
_HIDDEN = f"""
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity AND {_OURS} AND row_security_active(c.oid) ORDER BY 1, 2
"""  # noqa: S608  the condition is above
_LARGE_OBJECTS = """
SELECT oid::text FROM pg_largeobject_metadata WHERE NOT pg_has_role(lomowner, 'USAGE') AND NOT EXISTS (
    SELECT FROM aclexplode(lomacl) a WHERE a.privilege_type = 'SELECT'
    AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE'))) ORDER BY oid
"""
_LOCKED = f"""
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND {_OURS}
"""  # noqa: S608  the condition is above


def obstacles(staging: Connection, server: Connection, target: Database, options: Options) -> list[str]:
    """Return a sentence about each thing that would end a copy: what it is, and what to do."""
    found = [*_client(staging), *_rights(staging, server, options), *_locks(staging), *_creation(server)]
    if swap.exists(server, target.name) and (who := blockers.found(server, target.name)):
        found.append(blockers.sentence(who, target.name, server.info.user))
    return found


def require_none(staging: Connection, server: Connection, options: Options) -> None:
    """Raise Refused with everything that would end the copy, except sessions: these may end by themselves."""
    if found := [*_rights(staging, server, options), *_locks(staging)]:
        raise Refused("; ".join(found))


def lost(server: Connection, name: str) -> list[str]:
    """Return what hangs on the target and could not be carried to the copy; change nothing."""
    if not (swap.exists(server, name) and swap.is_ours(server, name)):
        return []
    with server.transaction(force_rollback=True):
        return attributes.carry(server, name, name)


def _client(staging: Connection) -> list[str]:
    try:
        guards.require_current_client(staging)
    except Refused as error:
        return [str(error)]
    return []


def _rights(staging: Connection, server: Connection, options: Options) -> list[str]:
    role, found = staging.info.user, []
    left = catalogue.extensions_to_leave(staging, server)
    unreadable = staging.execute(_TABLES.encode(), [left]).fetchall()
    skipped = [oid for oid, name in unreadable if f"table {name}" in options.skip]
    without = set(catalogue.with_sequences(staging, skipped))
    names = [name for oid, name in unreadable if oid not in skipped]
    if names:
        found.append(
            f'"{role}" may not read {_listed("table", names)}: GRANT USAGE on the schemas and SELECT on the '
            f'tables, or leave them behind: STAGE_COPY["skip"] = ["table {names[0]}"]'
        )
    sequences = [row for row in staging.execute(_SEQUENCES.encode()).fetchall() if row not in without]
    if sequences and not names:
        found.append(f'"{role}" may not read {_listed("sequence", _dotted(sequences))}: GRANT SELECT on it')
    if hidden := [row for row in staging.execute(_HIDDEN.encode()).fetchall() if row not in without]:
        found.append(
            f'row-level security hides rows of {_listed("table", _dotted(hidden))} from "{role}": '
            f"ALTER ROLE {role} BYPASSRLS"
        )
    numbers = [number for (number,) in staging.execute(_LARGE_OBJECTS).fetchall()]
    if numbers and options.large_objects != "drop":
        found.append(f'"{role}" may not read {_listed("large object", numbers)}: GRANT SELECT on it')
    return found


def _locks(staging: Connection) -> list[str]:
    """pg_dump locks all tables in one transaction."""
    row = staging.execute(_LOCKED.encode()).fetchone()
    needed, there = int(row[0]) if row else 0, restore.capacity(staging)
    if needed <= there:
        return []
    row = staging.execute("SELECT current_setting('max_locks_per_transaction')::int8").fetchone()
    enough = -(-int(row[0] if row else 1) * needed // there) + 1
    why = f"staging has {needed} tables, and its server has room for {there} locks"
    return [f"{why}: set max_locks_per_transaction to {enough} there"]


def _creation(server: Connection) -> list[str]:
    row = server.execute(
        "SELECT rolname::text FROM pg_roles WHERE rolname = current_user AND NOT (rolcreatedb OR rolsuper)"
    ).fetchone()
    return [f'"{row[0]}" may not create databases: ALTER ROLE {row[0]} CREATEDB'] if row else []


def _dotted(rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return [".".join(row) for row in rows]


def _listed(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{kind} {', '.join(names[:_SHOWN])}{more}"
