"""Read the source's schema with pg_dump: one entry for each object, with the SQL that makes it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import client as clients
from .problems import Failed

if TYPE_CHECKING:
    from pathlib import Path

    from .client import Client
    from .database import Database

# A throw-away copy neither needs nor may have the rights of roles that do not exist there, and subscriptions
# that would start to pull from production.
_EXCLUDED = (
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-publications",
    "--no-subscriptions",
)
# A line of `pg_restore --list`: number in the dump; oid of the catalogue and the object.
_LISTED = re.compile(rb"^(\d+); (\d+) (\d+) ", re.MULTILINE)
_TITLE = re.compile(
    r"(?:-- Dependencies:(?P<needs>[ \d]*)\n)?"
    r"-- Name: (?P<name>[^\n]*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>[^\n]*); Owner: [^\n]*\n"
    r"(?:-- Data Pos: \d+\n)?--\n"
)
# What pg_restore sets for the entries that follow.
_SETS = re.compile(r"\n((?:SET default_\w+ = [^;\n]*;\n+)+)\Z")
# With --verbose, the last entry is followed by the time at which the dump was completed.
_END = re.compile(
    r"\n(?:-- Completed on [^\n]*\n+)?--\n-- PostgreSQL database dump complete\n--\n.*\Z", re.DOTALL
)
_CLASS_RELATION, _CLASS_CONSTRAINT = 1259, 2606  # pg_class and pg_constraint; src/include/catalog
# Passwords of other databases, which a throw-away copy must not reach, and objects that need a superuser.
_NEVER = ("USER MAPPING", "EVENT TRIGGER")
_LARGE_OBJECTS = ("BLOB", "BLOB METADATA", "BLOB COMMENTS")  # they come as data (large_objects.py)
_COMMENTED = re.compile("((?:[A-Z]+ )+)")
_NEVER_COMMENTED = (*_NEVER, "LARGE OBJECT")


@dataclass(frozen=True)
class Entry:
    """One object of the schema, or a part of one, with its SQL."""

    number: int  # in the archive
    catalogue: int
    oid: int
    type: str  # "TABLE", "FK CONSTRAINT", "COMMENT", ...
    schema: str  # empty for what is in none
    name: str  # "order"; of a constraint "order order_pkey", of a comment "COLUMN order.total"
    needs: frozenset[int]  # the numbers of other entries
    before_rows: bool
    statement: str

    @property
    def words(self) -> tuple[str, str]:
        """Return the kind and the name: `view`, `public.sales`, or `comment on view`, `public.sales`."""
        kind, name = self.type.lower(), self.name.removeprefix(f"{self.type} ")
        if self.type == "COMMENT" and (found := _COMMENTED.match(name)):
            kind, name = f"comment on {found[1].strip().lower()}", name[found.end() :]
        return kind, f"{self.schema}.{name}" if self.schema else name

    @property
    def title(self) -> str:
        """Return the object in words: `view public.sales`."""
        return " ".join(self.words)

    def is_one_of(self, indexes: Collection[int], constraints: Collection[int]) -> bool:
        if self.catalogue == _CLASS_RELATION:
            return self.type == "INDEX" and self.oid in indexes
        return (
            self.catalogue == _CLASS_CONSTRAINT
            and self.type in ("CONSTRAINT", "FK CONSTRAINT")
            and self.oid in constraints
        )


class Archive:
    """The source's schema in one snapshot, which pg_dump writes to a file while others work."""

    def __init__(
        self,
        client: Client,
        source: Database,
        snapshot: str,
        folder: Path,
        without: Iterable[tuple[str, str]],
    ) -> None:
        """Start pg_dump, which does not look at the relations `without`."""
        self._client = client
        self._file = folder / "schema"
        argv = [client.pg_dump, "--format=custom", "--compress=0", f"--dbname={source.conninfo()}"]
        argv += ["--section=pre-data", "--section=post-data", *_EXCLUDED, "--lock-wait-timeout=60s"]
        argv += [f"--snapshot={snapshot}", f"--file={self._file}", "--encoding=UTF8"]
        argv += [f"--role={source.role}"] if source.role else []
        argv += [f"--exclude-table={_pattern(*names)}" for names in without]
        self._dump = clients.Program(argv, "pg_dump of the source failed", source)

    def close(self) -> None:
        """End pg_dump if it still runs."""
        self._dump.close()

    def entries(self, without_extensions: Collection[str]) -> tuple[list[Entry], list[Entry]]:
        """Return the entries in the order in which they are to be made, and those that never come.

        Those before the rows have `before_rows`. Raise Failed with pg_dump's own reason.
        """
        self._dump.output()
        left = {f"EXTENSION {name}" for name in without_extensions}

        def comes(entry: Entry) -> bool:
            commented = entry.type == "COMMENT"
            what = entry.name if commented else f"{entry.type} {entry.name}"
            return (
                entry.type not in (*_NEVER, *_LARGE_OBJECTS)
                and what not in left
                and not (commented and what.startswith(_NEVER_COMMENTED))
            )

        every = [*self._all("pre-data"), *self._all("post-data")]
        never = [entry for entry in every if entry.type in _NEVER]
        return [entry for entry in every if comes(entry)], never

    def _all(self, section: str) -> list[Entry]:
        part = f"--section={section}"
        listed = self._restore("--list", part)
        text = self._restore("--file=-", "--verbose", *_EXCLUDED, part).decode(errors="surrogateescape")
        text = _END.sub("\n", text)
        # An object's own SQL may hold lines like these, so each is looked for after the one before.
        places: list[tuple[int, int, tuple[int, int, int]]] = []
        position = 0
        for found in _LISTED.finditer(listed):
            number, catalogue, oid = int(found[1]), int(found[2]), int(found[3])
            header = f"--\n-- TOC entry {number} (class {catalogue} OID {oid})\n"
            at = text.find(header, position)
            if at >= 0:
                position = at + len(header)
                places.append((at, position, (number, catalogue, oid)))
        ends = [at for at, _, _ in places[1:]] + [len(text)]
        entries, sets = [], ""
        for (_, start, ids), end in zip(places, ends):
            entry = _entry(ids, text[start:end], sets, before_rows=section == "pre-data")
            trailing = _SETS.search(text[start:end])
            sets = trailing[1] if trailing else ""
            entries.append(entry)
        return entries

    def _restore(self, *words: str) -> bytes:
        return clients.run([self._client.pg_restore, *words, str(self._file)], "pg_restore failed")


def _pattern(*names: str) -> str:
    """Return a qualified name as pg_dump's patterns need it."""
    return ".".join('"{}"'.format(name.replace('"', '""')) for name in names)


def _entry(ids: tuple[int, int, int], text: str, sets: str, *, before_rows: bool) -> Entry:
    title = _TITLE.match(text)
    if title is None:
        raise Failed("pg_restore prints an entry without a title: take another version of the client")
    number, catalogue, oid = ids
    return Entry(
        number=number,
        catalogue=catalogue,
        oid=oid,
        type=title["type"],
        schema="" if title["schema"] == "-" else title["schema"],
        name=title["name"],
        needs=frozenset(map(int, (title["needs"] or "").split())),
        before_rows=before_rows,
        statement=sets + _SETS.sub("\n", text[title.end() :]),
    )
