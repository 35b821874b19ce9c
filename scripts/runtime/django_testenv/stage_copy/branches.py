"""Mark, list and drop databases of branches: each has the shared one's name, followed by a suffix.

The suffix comes from the environment of a branch's containers; the project's settings append it.
"""

from __future__ import annotations

import contextlib
import re
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from . import disposable_registry, guards, swap
from .database import reason
from .problems import Failed, Misconfigured
from .secret import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .database import Connection, Database

VARIABLE = "DATABASE_SUFFIX"
# What users make; an extension's own objects belong to it, and an empty schema is nothing.
_FILLED = """
SELECT 1 FROM (
    SELECT oid, relnamespace AS space, 'pg_class'::regclass AS class FROM pg_class
    UNION ALL SELECT oid, pronamespace, 'pg_proc'::regclass FROM pg_proc
    UNION ALL SELECT oid, typnamespace, 'pg_type'::regclass FROM pg_type
) o JOIN pg_namespace n ON n.oid = o.space
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
) LIMIT 1
"""


def suffix_in(environ: Mapping[str, str]) -> str:
    """Return the suffix of a branch's database; empty for the shared one itself."""
    found = environ.get(VARIABLE, "")
    if found and not re.fullmatch(guards.SUFFIX, found):
        raise Misconfigured(
            f"{VARIABLE} is {shown(found)}: it must begin with _ and hold nothing but letters, digits and _"
        )
    return found


def admits(server: Connection, target: Database, suffix: str) -> bool:
    """Return True if a copy may go into the target: it is marked, or `claim` will mark it."""
    marked = disposable_registry.read(server).disposable
    shared = target.name.removesuffix(suffix)
    return target.name in marked or (shared in marked and _has_nothing_to_lose(server, target))


def claim(server: Connection, target: Database, suffix: str) -> None:
    """Raise Refused unless a copy may go into the target.

    A branch's that is not there yet, or is as empty as `reset_db` makes it, is marked here: it has nothing to
    lose. To be called while nobody else copies into it or drops it, since a drop takes the mark away.
    """
    name = target.name
    if (
        suffix
        and not disposable_registry.is_disposable(server, name)
        and _has_nothing_to_lose(server, target)
    ):
        guards.require_shared_mark(server, name, name.removesuffix(suffix))
        disposable_registry.mark(server, name, suffix=suffix)
    guards.require_mark(server, name)
    guards.require_ownership(server, name)


def _has_nothing_to_lose(server: Connection, target: Database) -> bool:
    """Return True if there is no such database, or it is ours and holds no object of a user."""
    if not swap.exists(server, target.name):
        return True
    if not swap.is_ours(server, target.name):
        return False
    with closing(target.connect()) as database:
        row = database.execute(_FILLED).fetchone()
    return row is None


def existing(server: Connection, shared: str) -> list[str]:
    """Return the branches' databases beside `shared`, sorted; also those a killed copy has begun."""
    return sorted(
        name
        for name, of in disposable_registry.read(server).branches.items()
        if of == shared and any(swap.exists(server, one) for one in (name, *disposable_registry.beside(name)))
    )


def drop(
    server: Connection, shared: str, names: Iterable[str], say: Callable[[str], None]
) -> dict[str, bool]:
    """Drop branches' databases, with their marks and what copies left; return for each if it was there.

    Raise Refused, and has dropped none, where one of the names is no such database.
    """
    wanted = sorted(set(names))  # always in one order: two drops at once would wait for each other's locks
    for name in wanted:
        guards.require_branch_name(name, shared)
    with contextlib.ExitStack() as locks:
        for name in wanted:
            waiting = partial(say, f'a copy into "{name}" is running: waiting for it')
            locks.enter_context(swap.locked(server, name, waiting))
        for name in wanted:
            guards.require_branch_mark(server, name, shared)
        disposable = disposable_registry.read(server).disposable
        for name in wanted:
            for one in (name, *disposable_registry.beside(name)) if name in disposable else ():
                guards.require_ownership(server, one, to="drop")
        return {name: _drop(server, name, say) for name in wanted}


def _drop(server: Connection, name: str, say: Callable[[str], None]) -> bool:
    was_there = swap.exists(server, name)
    if disposable_registry.is_disposable(
        server, name
    ):  # the mark goes last: after a kill the next drop does the rest
        try:
            swap.drop(server, *disposable_registry.beside(name))
            if was_there:
                swap.allow(server, name, connections=False)  # or a session comes back before the end
            swap.drop(server, name)
        except psycopg.Error as error:
            with contextlib.suppress(psycopg.Error):  # who may not be ended goes on as before
                swap.open_again(server, name)
            raise Failed(f'database "{name}" was not dropped: {reason(error)}: run it again') from None
        disposable_registry.unmark(server, name)
    say(f'dropped "{name}"' if was_there else f'"{name}" was not there')
    return was_there
