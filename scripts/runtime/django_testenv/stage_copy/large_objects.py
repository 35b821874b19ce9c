"""Decide what becomes of large objects: no rule can mask them, so they come whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .problems import Refused

if TYPE_CHECKING:
    from .database import Connection
    from .options import Options

_CHOICE = 'set STAGE_COPY["large_objects"] to "drop", or to "keep" if they may be copied'


def come(source: Connection, options: Options, say: Callable[[str], None]) -> bool:
    """Return True if large objects are to be copied. Say what becomes of them unless "keep" asks for it."""
    what = described(source, options)
    if what and options.large_objects != "keep":
        say(what)
    return bool(what) and options.large_objects != "drop"


def described(source: Connection, options: Options) -> str:
    """Return in one line what becomes of the large objects; empty if there are none."""
    row = source.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    count = row[0] if row else 0
    if not count:
        return ""
    many = f"{count} large object{'s' if count > 1 else ''}"
    if options.large_objects == "drop":
        return f"{many}: left behind; columns that name one by its number lead nowhere"
    silent = "" if options.large_objects else f", because nothing says otherwise: {_CHOICE}"
    return f"{many}: copied as they are, unmasked{silent}"


def require_decision(source: Connection, options: Options) -> None:
    """Raise Refused if there are large objects and no setting says whether they may be copied."""
    if not options.large_objects and described(source, options):
        raise Refused(f"--require-mask: staging has large objects, and no rule can mask them: {_CHOICE}")
