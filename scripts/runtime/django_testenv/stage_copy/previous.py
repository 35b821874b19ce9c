"""Keep the database that a release replaces, while a roll-back to that release can come.

If a new release fails, ECS starts the tasks of the former one again. Their copy finds the data of its own
release beside the target, with what testers changed in them, and puts them back.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psycopg

from . import copy_metadata, disposable_registry, swap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .database import Connection

# CloudFormation waits this long at most for a service; a roll-back that comes later copies again.
# Source: https://repost.aws/knowledge-center/cloudformation-ecs-service-stabilize
_ROLL_BACK_COMES_WITHIN = timedelta(hours=3)


class _Busy(Exception):
    """Another copy has the lock."""


def data_of(server: Connection, name: str, release: Mapping[str, str] | None) -> dict[str, Any] | None:
    """Return the stamp of database `name` if its data were copied for this release; else None."""
    found = copy_metadata.of(server, name)
    if not found or not release or found.get("release") != dict(release):
        return None
    return found


def note(server: Connection, name: str, release: Mapping[str, str] | None) -> dict[str, Any]:
    """Return what the stamp of a new database says of the one that it replaces; empty if that is not kept.

    It is kept if another deploy has copied it. What somebody copied by hand is no release's.
    """
    before = (copy_metadata.of(server, name) or {}).get("release")
    if not release or not before or before == dict(release):
        return {}
    now = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
    return {"replaces": {"release": before, "at": now}}


def was_replaced(server: Connection, name: str, release: Mapping[str, str] | None) -> bool:
    """Return True if the data of this release were those that the present ones in `name` replaced."""
    return bool(release) and _replaces(server, name).get("release") == dict(release or {})


def drop_old(server: Connection, name: str) -> None:
    """Drop the database that is kept beside `name` if no roll-back to it comes any more.

    A target into which a copy is running is left out: that copy decides. Raises psycopg.Error.
    """
    _, kept = disposable_registry.beside(name)
    if not swap.exists(server, kept):
        return
    with contextlib.suppress(_Busy), swap.locked(server, name, _raise_busy):
        if not _is_recent(_replaces(server, name).get("at")):
            swap.drop(server, kept)


def drop_all_old(server: Connection) -> None:
    """Do the same for each database that our role has marked; what cannot be dropped now stays."""
    for name in sorted(disposable_registry.read(server).disposable):
        with contextlib.suppress(psycopg.Error):
            drop_old(server, name)


def _replaces(server: Connection, name: str) -> dict[str, Any]:
    found = (copy_metadata.of(server, name) or {}).get("replaces")
    return found if isinstance(found, dict) else {}


def _is_recent(moment: object) -> bool:
    try:
        return datetime.now(timezone.utc) - datetime.fromisoformat(str(moment)) < _ROLL_BACK_COMES_WITHIN
    except (ValueError, TypeError):  # there is none, or it is not ours
        return False


def _raise_busy() -> None:
    raise _Busy
