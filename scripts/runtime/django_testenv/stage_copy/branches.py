"""Mark, list and drop databases of branches: each has the shared database's name with a suffix.

The suffix is in a variable of a branch's containers; the project's settings append it.
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
# Returns a row if there is an object of a user. Objects of extensions and empty schemas do not count.
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
    """Return the suffix of a branch's database; empty for the shared database."""
    found = environ.get(VARIABLE, "")
    if found and not re.fullmatch(guards.SUFFIX, found):
        raise Misconfigured(
            f"{VARIABLE} is {shown(found)}: it must begin with _ and hold nothing but letters, digits and _"
        )
    return found


def accepts_copy(server: Connection, target: Database, suffix: str) -> bool:
    """Return True if the target may be replaced by a copy: it is marked, or `claim` will mark it."""
    marked = disposable_registry.read(server).disposable
    shared = target.name.removesuffix(suffix)
    return target.name in marked or (shared in marked and _has_nothing_to_lose(server, target))


def claim(server: Connection, target: Database, suffix: str) -> None:
    """Raise Refused if the target may not be replaced by a copy.

    A branch's database that does not exist yet, or is as empty as `reset_db` leaves it, is marked here,
    because nothing can be lost. Call this under the target's lock: a drop would remove the mark.
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
    """Return True if the database does not exist, or belongs to our role and has no object of a user."""
    if not swap.exists(server, target.name):
        return True
    if not swap.is_ours(server, target.name):
        return False
    with closing(target.connect()) as database:
        row = database.execute(_FILLED).fetchone()
    return row is None


def existing(server: Connection, shared: str) -> list[str]:
    """Return the branches' databases beside `shared`, sorted, also if only a killed copy's parts exist."""
    return sorted(
        name
        for name, of in disposable_registry.read(server).branches.items()
        if of == shared and any(swap.exists(server, one) for one in (name, *disposable_registry.beside(name)))
    )


def drop(
    server: Connection, shared: str, names: Iterable[str], say: Callable[[str], None]
) -> dict[str, bool]:
    """Drop branches' databases with their marks and remains of copies. Return for each whether it existed.

    Raise Refused, before any is dropped, if one of the names is not a branch's database.
    """
    wanted = sorted(set(names))  # always in the same order, so that two drops cannot deadlock
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
                swap.allow(server, name, connections=False)  # or a new session could prevent the drop
            swap.drop(server, name)
        except psycopg.Error as error:
            with contextlib.suppress(psycopg.Error):  # sessions that could not be ended continue as before
                swap.open_again(server, name)
            raise Failed(f'database "{name}" was not dropped: {reason(error)}: run it again') from None
        disposable_registry.unmark(server, name)
    say(f'dropped "{name}"' if was_there else f'"{name}" was not there')
    return was_there
