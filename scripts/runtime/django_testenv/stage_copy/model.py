"""Define the data that the modules of a copy share: the source's tables, the result, the progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Column:
    """A column of a table; `type` has the form of `format_type`, with its length: `character varying(30)`."""

    name: str
    type: str
    generated: bool = False  # GENERATED ALWAYS AS (...): never copied, the target computes it
    nullable: bool = True
    toastable: bool = True  # its values may be larger than a page


@dataclass(frozen=True)
class Table:
    """A table of the source whose rows are copied: an ordinary table, or a leaf of a partitioned table."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    pages: int  # of the heap, 8 KiB each
    size: int  # bytes, with TOAST, without indexes
    estimate: int  # rows, by the planner's statistics; -1 if there are no statistics yet
    ancestors: tuple[str, ...] = ()  # "schema.table" of the tables it is a partition of or inherits from
    extension: str = ""  # whose configuration table it is: the extension makes it, with rows of its own
    readable: bool = True  # by the role of the source
    root: tuple[str, str] | None = None  # schema and name of the partitioned table that must route its rows
    condition: str = ""  # SQL that selects the user's rows in it; empty: all rows are the user's
    toast: int = 0  # bytes of the size

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def entrance(self) -> tuple[str, str]:
        """Return the schema and name of the table that takes the rows: this one, or its root."""
        return self.root or (self.schema, self.name)


@dataclass(frozen=True)
class Moved:
    """The result of a copy; `rows` counts each table, by its qualified name."""

    copied_at: str  # ISO 8601 in UTC: the moment of the snapshot
    rows: Mapping[str, int]
    bytes: int  # of COPY data
    seconds: Mapping[str, float] = field(default_factory=dict)  # by phase
    left: list[str] = field(default_factory=list)  # what stays behind, in words


class Silent:
    """A progress that shows nothing."""

    def say(self, line: str) -> None: ...
    def phase(self, name: str, *, total: int = 0) -> None: ...
    def advance(self, *, amount: int, rows: int = 0) -> None: ...


class Progress(Protocol):
    """Shows the progress of a copy. Every method may be called from any thread."""

    def say(self, line: str) -> None:
        """Print one line at once."""

    def phase(self, name: str, *, total: int = 0) -> None:
        """Begin a phase; `total` is the number of bytes expected in it, 0 if it is not known."""

    def advance(self, *, amount: int, rows: int = 0) -> None:
        """Count this much more of the phase as done; `amount` in bytes."""
