"""Foreign keys and unique indexes that rows of the source break, although it calls them valid."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .database import Connection
    from .masking import Selection
    from .model import Table
    from .restore import Refusal

NOT_UNIQUE = (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)
_VIOLATED = psycopg.errors.ForeignKeyViolation.sqlstate


def not_unique(table: Table, why: str, selection: Selection) -> Failed:
    """Return the error that rows are equal by an index; `why` is the server's reason."""
    rule = 'a rule of STAGE_COPY["mask"] makes values equal, or ' if selection.kinds else ""
    return Failed(
        f"{table.qualified} could not be copied: {why}: {rule}staging has rows that its own index should not "
        "allow: REINDEX it there, and mend the rows that the server then names"
    )


def unchecked(statement: str) -> str:
    """Return the statement that adds a foreign key without checking existing rows."""
    return statement.rstrip().removesuffix(";") + " NOT VALID;\n"


@dataclass
class Orphans:
    """Keeps the keys that rows break, if `wanted`; else the first one ends the copy.

    `called` are the keys with a column that a {"call"} rule changes.
    """

    wanted: bool
    called: frozenset[int] = frozenset()
    left: list[str] = field(default_factory=list)  # sentences
    oids: frozenset[int] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, table: str, name: str, oid: int, *, how: str = "is NOT VALID in the copy") -> None:
        """Keep a key that rows break. Raise Failed if that is not wanted."""
        if not self.wanted:
            why = ", which staging calls valid: mend these rows"
            if oid in self.called:
                why = (
                    ': its {"call"} rule must give equal values equal results; if it does, mend these rows '
                    "in staging"
                )
            raise Failed(
                f'rows of {table} break its foreign key "{name}"{why}, or set STAGE_COPY["orphans"] = '
                '"not valid"'
            )
        with self._lock:
            self.left.append(f'foreign key "{name}" of {table} {how}: rows break it')
            self.oids |= {oid}

    def add(self, target: Connection, refused: Iterable[Refusal]) -> list[Refusal]:
        """Add the refused foreign keys that rows break, as NOT VALID; return the other refusals.

        One that the server checks nevertheless, as those before 18 do for partitioned tables, stays behind.
        Source: https://www.postgresql.org/docs/18/release-18.html
        """
        others = []
        for one in refused:
            entry = one.entry
            if one.state != _VIOLATED or entry.type != "FK CONSTRAINT":
                others.append(one)
                continue
            how = "is NOT VALID in the copy"
            try:
                target.execute(unchecked(entry.statement).encode("utf-8", "surrogateescape"))
            except (psycopg.errors.ForeignKeyViolation, psycopg.errors.WrongObjectType):
                how = "stays behind"
            table, _, name = entry.name.partition(" ")
            self.keep(f"{entry.schema}.{table}", name, entry.oid, how=how)
        return others
