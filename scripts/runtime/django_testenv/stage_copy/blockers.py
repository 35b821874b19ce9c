"""Name who would keep a database from being renamed, and connections that lead through a pooler."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Connection

_SHOWN = 5  # in a message
_SESSION = 1  # the first column of _BLOCKING
_LOOKS, _PAUSE = 4, 0.5  # seconds between two looks: a session of a monitor may be about to end
# SQL that is true of a session `s` that our role may end. Autovacuum, which has no role, gives way by itself.
MAY_END = """(pg_has_role(s.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')
    AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = s.usesysid AND rolsuper))"""
_BLOCKING = f"""
SELECT 1, coalesce(nullif(backend_type, 'client backend'), 'session'), pid::text,
    coalesce(usename::text, ''), coalesce(application_name, '')
FROM pg_stat_activity s WHERE datname = %(name)s AND pid <> pg_backend_pid()
AND usesysid IS NOT NULL AND {MAY_END} IS NOT TRUE
UNION ALL SELECT 2, 'prepared transaction', gid, owner::text, '' FROM pg_prepared_xacts
WHERE database = %(name)s
UNION ALL SELECT 3, 'subscription', subname::text, '', ''
FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %(name)s
ORDER BY 1, 3
"""  # noqa: S608  the condition is above


def found(server: Connection, name: str) -> list[str]:
    """Return who uses database `name` and may not be ended by our role: sessions, transactions and so on."""
    blocking = []
    for order, what, which, role, application in server.execute(
        _BLOCKING.encode(), {"name": name}
    ).fetchall():
        of = f' of role "{role}"' if role else ""
        by = f" ({application})" if application else ""
        name_of = which if order == _SESSION else f'"{which}"'
        blocking.append(f"{what} {name_of}{of}{by}")
    return blocking


def sentence(blocking: list[str], name: str, role: str) -> str:
    more = f" and {len(blocking) - _SHOWN} more" if len(blocking) > _SHOWN else ""
    return (
        f'database "{name}" cannot be replaced while these use it: {", ".join(blocking[:_SHOWN])}{more}: '
        f'close them (a pooler as well), or let "{role}" end sessions: GRANT pg_signal_backend TO {role}; '
        "ROLLBACK PREPARED and DROP SUBSCRIPTION end the others"
    )


def require_none(server: Connection, name: str) -> None:
    """Raise Refused if somebody uses the database who will still do so when it is to be renamed."""
    blocking = found(server, name)
    for _ in range(_LOOKS):
        if not blocking:
            return
        time.sleep(_PAUSE)
        blocking = found(server, name)
    if blocking:
        raise Refused(sentence(blocking, name, server.info.user))


def require_sessions(connection: Connection, again: Callable[[], Connection], alias: str) -> None:
    """Raise Refused if a pooler gives the server's sessions to others between two statements.

    A pooler tells its clients numbers of processes that are not the server's; `again` opens a second
    connection to the same address.
    """
    first = _process(connection)
    if connection.info.backend_pid == first:
        return
    with closing(again()) as other:
        shared = first in (_process(other), _process(other)) or _process(connection) != first
    if shared:
        raise Refused(
            f'DATABASES["{alias}"] leads through a pooler that shares sessions (transaction pooling): locks, '
            "settings and snapshots get lost there: name the database server's own host and port"
        )


def _process(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
