"""Plan a copy, table by table, without running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import catalogue, engine, large_objects, masking, personal
from .progress import size

if TYPE_CHECKING:
    from .database import Connection
    from .masking import Selection
    from .model import Table
    from .options import Options


@dataclass(frozen=True)
class Part:
    """The part of one table that a sample takes: rows, and the bytes that these may have."""

    rows: int
    bytes: int


@dataclass(frozen=True)
class Planned:
    """One table. `rows` is the planner's estimate, None without statistics; `bytes` is without indexes."""

    table: str
    rows: int | None
    bytes: int
    copied: bool
    masked: Mapping[str, str]  # the rule's name, by column
    sample: Part | None = None  # None: all rows come, or it is not known how many


@dataclass(frozen=True)
class Plan:
    tables: list[Planned]
    unmasked: list[str]  # columns that look personal and have no rule, as "schema.table.column"
    extensions_left: list[str]
    personal: list[personal.Finding]  # the same columns, with the reason
    after: list[str]  # the names of the steps that change the copy before it serves
    large_objects: str = ""  # what becomes of them, in a sentence; empty if there are none
    disk: int = 0  # bytes, about, that the target's server needs beside what it has; it cannot tell its room


def make(
    staging: Connection, server: Connection, options: Options, connect: Callable[[], Connection] | None = None
) -> Plan:
    """Return the plan of a copy; `connect` opens further connections to staging.

    Raise Misconfigured if the options do not fit the source's tables.
    """
    left = catalogue.extensions_to_leave(staging, server)
    found = catalogue.tables(staging, left)
    selections = masking.selections(staging, found, options)
    engine.require_whole(found, selections, catalogue.references(staging, found))
    findings = personal.findings(staging, found, options, connect)
    return Plan(
        [_planned(table, selections[table.oid]) for table in found],
        [f"{one.table}.{one.column}" for one in findings],
        left,
        findings,
        [step.name for step in options.after],
        large_objects.described(staging, options),
        _disk(staging, found, selections, options),
    )


def _disk(
    staging: Connection, found: Iterable[Table], selections: Mapping[int, Selection], options: Options
) -> int:
    """Return the bytes, with indexes, of the rows that are copied, in as many databases as are made."""
    row = staging.execute("SELECT pg_database_size(current_database())").fetchone()
    sizes = [(table.size, not selections[table.oid].excluded) for table in found]
    copied, every = sum(size for size, comes in sizes if comes), sum(size for size, _ in sizes)
    databases = 1 + bool(options.golden) + bool(options.golden and options.golden.spare)
    return int(row[0]) * copied // max(every, 1) * databases if row else 0


def _planned(table: Table, selection: Selection) -> Planned:
    rows = table.estimate if table.estimate >= 0 else None
    return Planned(table.qualified, rows, table.size, not selection.excluded, dict(selection.kinds))


def with_sample(plan: Plan, cut: Iterable[Table]) -> Plan:
    """Return the plan with what a sample takes of the tables that it cuts."""
    parts = {table.qualified: Part(table.estimate, table.size) for table in cut}
    whole = sum(one.bytes for one in plan.tables if one.copied)
    less = sum(one.bytes - parts[one.table].bytes for one in plan.tables if one.copied and one.table in parts)
    tables = [replace(one, sample=parts.get(one.table)) for one in plan.tables]
    return replace(plan, tables=tables, disk=plan.disk * (whole - less) // max(whole, 1))


def lines(plan: Plan) -> list[str]:
    """Return the plan as lines of text."""
    width = max((len(one.table) for one in plan.tables), default=0)
    text = []
    for one in plan.tables:
        rows = "? rows" if one.rows is None else f"~{one.rows:,} rows"
        what = "copied" if one.copied else "rows stay behind"
        if one.sample:
            what = f"{one.sample.rows:,} rows copied, about {size(one.sample.bytes)}"
        rules = ", ".join(f"{column} ({rule})" for column, rule in one.masked.items())
        text.append(
            f"  {one.table:<{width}}  {rows:>16}  {size(one.bytes):>8}  {what}"
            + (f"; {rules}" if one.copied and rules else "")
        )
    copied = [one for one in plan.tables if one.copied]
    text.append(
        f"{len(copied)} of {len(plan.tables)} tables, "
        f"~{sum((one.sample or one).rows or 0 for one in copied):,} rows, "
        f"{size(sum((one.sample or one).bytes for one in copied))} without indexes."
    )
    text += [f"Looks personal and has no rule: {finding}." for finding in plan.personal]
    text += [f'Extension "{name}" stays behind.' for name in plan.extensions_left]
    text += [f"Afterwards: {', '.join(plan.after)}."] if plan.after else []
    text.append(f"The target's server needs about {size(plan.disk)} of disk beside what it has now.")
    text += [plan.large_objects] if plan.large_objects else []
    return text
