"""Leave objects of the schema behind: those that STAGE_COPY["skip"] names, with their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .known_names import nearest
from .problems import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from .schema import Entry

# Parts of another object, which go with it. Whatever else needs a skipped object must be named as well.
_PARTS = frozenset({
    "CHECK CONSTRAINT", "COMMENT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "INDEX", "INDEX ATTACH",
    "MATERIALIZED VIEW DATA", "POLICY", "ROW SECURITY", "RULE", "SEQUENCE", "SEQUENCE OWNED BY", "STATISTICS",
    "TABLE ATTACH", "TRIGGER",
})  # fmt: skip
# Parts of a table that may need something else as well; their names begin with the table's, but of indexes.
_OF_TABLES = frozenset({
    "CHECK CONSTRAINT", "CONSTRAINT", "DEFAULT", "FK CONSTRAINT", "INDEX", "POLICY", "RULE", "TRIGGER",
})  # fmt: skip
_RELATIONS = ("FOREIGN TABLE", "MATERIALIZED VIEW", "TABLE", "VIEW")
_CATALOGUES = (1259, 2606, 2620)  # pg_class, pg_constraint, pg_trigger; src/include/catalog


@dataclass(frozen=True)
class Kept:
    """The entries that are made, and those that stay behind."""

    entries: list[Entry]
    left: list[Entry]

    @property
    def oids(self) -> frozenset[int]:
        """Return the oids, in the source, of the relations, constraints and triggers that stay behind."""
        return frozenset(entry.oid for entry in self.left if entry.catalogue in _CATALOGUES)

    @property
    def titles(self) -> list[str]:
        """Return what stays behind in words, without the parts of what stays behind as a whole."""
        by_number = {entry.number: entry for entry in self.left}
        return [
            entry.title
            for entry in self.left
            if entry.type not in _PARTS
            or not any(_belongs(entry, by_number[each]) for each in entry.needs & by_number.keys())
        ]


def without(entries: Sequence[Entry], skip: Collection[str], *, known: Collection[str] = ()) -> Kept:
    """Separate the entries that stay behind from the others.

    `known` are names that mean something else than an entry. Raise Misconfigured if a name in `skip` means
    nothing, or if something else than a part needs a skipped object.
    """
    named = {entry.number for entry in entries if any(_means(name, entry) for name in skip)}
    for name in skip:
        if name not in known and not any(_means(name, entry) for entry in entries):
            close = nearest(name, [entry.title for entry in entries])
            raise Misconfigured(f'STAGE_COPY["skip"]: there is no {name!r} in staging{close}')
    left, others = set(named), set[int]()
    while more := [one for one in entries if one.number not in left | others and one.needs & (left | others)]:
        parts = {entry.number for entry in more if entry.type in _PARTS and not entry.needs & others}
        left |= parts
        others |= set() if parts else {entry.number for entry in more}
    if others:
        shown = titles(one for one in entries if one.number in others and one.type not in _PARTS)
        raise Misconfigured(f'STAGE_COPY["skip"] names what other objects need: name these as well: {shown}')
    return Kept(
        [entry for entry in entries if entry.number not in left],
        [entry for entry in entries if entry.number in left],
    )


def _belongs(part: Entry, owner: Entry) -> bool:
    """Return True if the part is one of `owner`, and does not only need it: a trigger needs its function."""
    if part.type not in _OF_TABLES:
        return True
    if owner.type not in _RELATIONS:
        return False
    return part.type == "INDEX" or (part.schema == owner.schema and part.name.startswith(f"{owner.name} "))


def _means(name: str, entry: Entry) -> bool:
    """Return True if `name` is the entry's title; its kind in any case, and without the schema `public`."""
    kind, rest = entry.words
    if name[: len(kind) + 1].casefold() != f"{kind} ":
        return False
    return name[len(kind) + 1 :] in (rest, rest.removeprefix("public.") if entry.schema == "public" else rest)


def titles(entries: Iterable[Entry]) -> str:
    """Return the titles as they may be written into STAGE_COPY["skip"]."""
    return ", ".join(f'"{entry.title}"' for entry in entries)
