"""Define what the parts of a copy hand to each other: tables of the source, what was moved, progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Column:
    """A column of a table; `type` is as `format_type` writes it, with its length: `character varying(30)`."""

    name: str
    type: str
    generated: bool = False  # GENERATED ALWAYS AS (...): never copied, the target computes it
    nullable: bool = True


@dataclass(frozen=True)
class Table:
    """A table of the source whose rows are copied: ordinary tables and the leaves of partitioned ones."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    pages: int  # of the heap, 8 KiB each
    size: int  # bytes, with TOAST, without indexes
    estimate: int  # rows, by the planner's statistics; -1 where nobody has counted yet
    ancestors: tuple[str, ...] = ()  # "schema.table" of the tables it is a partition of or inherits from
    condition: str = ""  # SQL, for the rows of an extension's configuration table that are the user's

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Moved:
    """The result of a copy; `rows` counts each table, by its qualified name."""

    copied_at: str  # ISO 8601 in UTC: the moment of the snapshot
    rows: Mapping[str, int]
    bytes: int  # of COPY data
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase


class Progress(Protocol):
    """A listener that is told how far a copy is. Every method may be called from any thread."""

    def say(self, line: str) -> None:
        """Tell one line, at once."""

    def phase(self, name: str, *, total: int = 0) -> None:
        """Begin a phase; `total` is the bytes expected in it, 0 where nobody counts."""

    def advance(self, *, amount: int, rows: int = 0) -> None:
        """Count this much more of the phase as done; `amount` in bytes."""
