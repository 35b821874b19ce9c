"""Take CHECK constraints that call the project's functions out of the new tables until all rows are there.

Such a function may read other tables, whose rows may come later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from .database import reason
from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .database import Connection

# Those that a child table has from its parent go and come with the parent's.
_CHECKS = """
SELECT CASE WHEN k.conrelid = 0 THEN 'DOMAIN ' || k.contypid::regtype
        ELSE 'TABLE ' || k.conrelid::regclass END,
    quote_ident(k.conname), pg_get_constraintdef(k.oid),
    coalesce('COMMENT ON CONSTRAINT ' || quote_ident(k.conname) || ' ON '
        || CASE WHEN k.conrelid = 0 THEN 'DOMAIN ' || k.contypid::regtype ELSE k.conrelid::regclass::text END
        || ' IS ' || quote_literal(obj_description(k.oid, 'pg_constraint')), '')
FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid
WHERE k.contype = 'c' AND k.coninhcount = 0 AND (k.conrelid = 0 OR c.relkind IN ('r', 'p')) AND EXISTS (
    SELECT FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid AND d.refclassid = 'pg_proc'::regclass
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
        SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'))
AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = k.conrelid AND deptype = 'e')
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Check:
    """A constraint; all parts are SQL."""

    owner: str  # "TABLE public.item" or "DOMAIN public.even"
    name: str
    definition: str
    comment: str  # the statement that makes it; empty if there is none

    @property
    def drop(self) -> bytes:
        return f"ALTER {self.owner} DROP CONSTRAINT {self.name}".encode("utf-8", "surrogateescape")

    @property
    def add(self) -> bytes:
        statement = f"ALTER {self.owner} ADD CONSTRAINT {self.name} {self.definition}; {self.comment}"
        return statement.encode("utf-8", "surrogateescape")


def take_out(target: Connection) -> list[Check]:
    """Drop the constraints of the tables, which are still empty; return them.

    One that could not be added again stays: a domain within a composite type, for example.
    """
    taken = []
    for row in target.execute(_CHECKS).fetchall():
        check = Check(*row)
        try:
            with target.transaction(force_rollback=True):
                target.execute(check.drop)
                target.execute(check.add)
            target.execute(check.drop)
        except psycopg.OperationalError:
            raise  # of the server, and not of the constraint
        except psycopg.Error:
            pass
        else:
            taken.append(check)
    return taken


def put_back(target: Connection, checks: Iterable[Check]) -> None:
    """Add the constraints, which the server checks against all rows. Raise Failed with its reason."""
    for check in checks:
        try:
            target.execute(check.add)
        except psycopg.OperationalError:
            raise  # of the server, and not of the rows
        except psycopg.Error as error:
            kind, _, name = check.owner.partition(" ")
            of = f"the rows of {name}" if kind == "TABLE" else f"the values of the domain {name}"
            raise Failed(
                f"{of} could not be copied: check constraint {check.name}: {reason(error)}"
            ) from None
