"""Make the objects of a schema in the target, and name those that cannot be made.

pg_restore would do it in one transaction, which needs a lock for each object, or stop at the first error; and
it sets parameters that an older server than the client's does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from .database import reason
from .problems import Failed
from .reasons import NOT_FOUND
from .skips import titles

if TYPE_CHECKING:
    from .database import Connection
    from .schema import Entry

_AT_ONCE = 50  # entries in one transaction, which holds their locks
_SHOWN = 5  # objects in a message
_LOCKS = 4  # that one entry of the schema takes, with the table and its index
# What is tried out where a transaction may not lock all.
_RISKY = ("POLICY", "TRIGGER")
_SYNTAX_ERROR = "42601"
_UNKNOWN: Mapping[str, str] = MappingProxyType({})


class Refusal(NamedTuple):
    """An entry that the server did not take."""

    entry: Entry
    why: str
    state: str  # SQLSTATE


def possible_causes(target: Connection, client: int, absent: Iterable[str]) -> Mapping[str, str]:
    """Return, by SQLSTATE, why the target may refuse what pg_dump of version `client` writes.

    `absent` are the extensions that stay behind.
    """
    causes: dict[str, str] = {}
    if names := ", ".join(absent):
        behind = (
            f"perhaps because extension {names} stays behind, which the target's server does not have or "
        )
        causes |= dict.fromkeys(NOT_FOUND, f"{behind}its role may not create")
    version = target.info.server_version // 10000
    if version < client:
        newer = f"perhaps because the target's server has version {version}, and pg_dump {client} writes what"
        causes[_SYNTAX_ERROR] = f"{newer} only a newer server knows"
    return causes


def restore(target: Connection, entries: Sequence[Entry], causes: Mapping[str, str] = _UNKNOWN) -> None:
    """Make all entries in their order. Raise Failed, which names those that cannot be made."""
    require_none(make(target, entries), causes)


def make(target: Connection, entries: Sequence[Entry]) -> list[Refusal]:
    """Make the entries in their order; return those that the server refused.

    Raises psycopg.Error if the connection is lost.
    """
    refused: list[Refusal] = []
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        if _refusal(target, some):  # none of them is made: one by one
            refused += [one for entry in some if (one := _refusal(target, [entry]))]
    return refused


def try_out(target: Connection, entries: Sequence[Entry], causes: Mapping[str, str] = _UNKNOWN) -> None:
    """Make the entries in the still empty tables, and undo it. Raise Failed if one cannot be made.

    Views get no contents: what they compute may not be possible without rows.
    """
    tried = [entry for entry in entries if entry.type != "MATERIALIZED VIEW DATA"]
    most = capacity(target) // 2 // _LOCKS
    if len(tried) > most:
        tried = [entry for entry in tried if entry.type in _RISKY]
    if not tried or len(tried) > most:
        return
    target.execute("BEGIN")
    try:
        refusal = _refusal(target, tried)
    finally:
        target.execute("ROLLBACK")
    if refusal:  # which of them? The database is thrown away after this
        require_none(make(target, tried) or [refusal], causes)


def capacity(connection: Connection) -> int:
    """Return the number of objects that the sessions of the server may lock at once.

    Source: https://www.postgresql.org/docs/current/runtime-config-locks.html
    """
    row = connection.execute(
        "SELECT current_setting('max_locks_per_transaction')::int8 * "
        "(current_setting('max_connections')::int8 + current_setting('max_prepared_transactions')::int8)"
    ).fetchone()
    return int(row[0]) if row else 0


def require_none(refused: Sequence[Refusal], causes: Mapping[str, str] = _UNKNOWN) -> None:
    """Raise Failed if there is an entry that cannot be made; `causes` are possible ones, by SQLSTATE."""
    if refused:
        shown = "; ".join(f"{one.entry.title}: {one.why}" for one in refused[:_SHOWN])
        more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        possible = dict.fromkeys(causes[one.state] for one in refused if one.state in causes)
        more += "".join(f", {cause}" for cause in possible)
        raise Failed(
            f"the schema could not be restored: {shown}{more}: mend that, or leave it behind: "
            f'STAGE_COPY["skip"] = [{titles(one.entry for one in refused)}]'
        )


def _refusal(target: Connection, entries: Sequence[Entry]) -> Refusal | None:
    """Make all of the entries, or return the reason why none is made, with the first of them."""
    statement = "".join(entry.statement for entry in entries)
    try:
        target.execute(statement.encode("utf-8", "surrogateescape"))
    except psycopg.Error as error:
        if target.broken:
            raise
        return Refusal(entries[0], reason(error), error.sqlstate or "")
    return None
