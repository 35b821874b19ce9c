"""One pristine copy of staging on the target's server, from which branches' databases are cloned.

Its name says which source and which rules it was made with, so that a project that changes its rules gets
another one. Nobody may connect to it, or to the spare clone that can be kept ready beside it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from psycopg import sql

from . import stamp, swap
from .problems import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from .database import Connection, Database
    from .options import Options

PREFIX = "stage_copy_golden_"
SPARE = "_spare"


@dataclass(frozen=True)
class GoldenCopy:
    """Its name, and those of its neighbours."""

    name: str
    max_age: float  # seconds
    wants_spare: bool

    @property
    def spare(self) -> str:
        return self.name + SPARE

    @classmethod
    def of(cls, source: Database, server: Connection, options: Options) -> GoldenCopy | None:
        """The golden copy that the options ask for, by name; None where they ask for none."""
        if options.golden is None:
            return None
        rules = {
            column: [rule.kind, rule.value, getattr(rule.call, "__qualname__", None)]
            for column, rule in sorted(options.mask.items())
        }
        address = {key: source.parameters.get(key, "") for key in ("host", "hostaddr", "port", "service")}
        facts = [address, source.name, server.info.user, rules, sorted(options.exclude_data)]
        digest = hashlib.sha256(json.dumps([*facts, options.mask_key, options.unlogged]).encode())
        return cls(PREFIX + digest.hexdigest()[:16], options.golden.max_age, options.golden.spare)

    def require_ours(self, server: Connection) -> None:
        """Raises Refused where a database of that name belongs to somebody else."""
        for name in (self.name, self.spare):
            if not swap.is_ours(server, name):
                raise Refused(
                    f'the golden copy would be database "{name}", which belongs to another role: have '
                    'its owner drop it, or take STAGE_COPY["golden"] out'
                )

    def age(self, server: Connection) -> float | None:
        """Seconds since it was copied; None where there is none."""
        found = stamp.of(server, self.name)
        if found is None:
            return None
        return (datetime.now(UTC) - datetime.fromisoformat(found["copied_at"])).total_seconds()

    def spare_is_ready(self, server: Connection) -> bool:
        """Whether there is a spare clone of this very copy."""
        ours, spare = stamp.of(server, self.name), stamp.of(server, self.spare)
        return bool(ours and spare and ours["copied_at"] == spare["copied_at"])

    def make_spare(self, server: Connection) -> None:
        """Keep a clone ready; one that is ready stays."""
        found = stamp.of(server, self.name)
        if found and not self.spare_is_ready(server):
            swap.drop(server, self.spare)
            swap.clone(server, self.spare, self.name)
            swap.allow(server, self.spare, connections=False)
            stamp.write(server, self.spare, found)  # last: without it, the next one makes it anew

    def drop_others(self, server: Connection, say: Callable[[str], None]) -> None:
        """Drop golden copies of our role that no project's rules ask for any more: those past their age."""
        rows = server.execute(
            "SELECT datname::text FROM pg_database WHERE starts_with(datname, %s) "
            "AND pg_get_userbyid(datdba) = current_user ORDER BY 1",
            [PREFIX],
        ).fetchall()
        for (name,) in rows:
            if name in (self.name, self.spare):
                continue
            found = stamp.of(server, name)
            if found is None:
                continue  # somebody is making it
            age = (datetime.now(UTC) - datetime.fromisoformat(found["copied_at"])).total_seconds()
            if age > self.max_age:
                say(f'golden copy "{name}" of {found["copied_at"]} is not asked for any more: it is dropped')
                swap.drop(server, name)


def is_empty_after_a_crash(database: Connection) -> bool:
    """Whether the server lost the unlogged tables' rows, as it does when it was not shut down properly."""
    rows = database.execute(
        "SELECT n.nspname::text, c.relname::text "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND n.nspname !~ '^pg_'"
    ).fetchall()
    return bool(rows) and not any(
        database.execute(
            sql.SQL("SELECT 1 FROM ONLY {} LIMIT 1").format(sql.Identifier(schema, table))
        ).fetchone()
        for schema, table in rows
    )
