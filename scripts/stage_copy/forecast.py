"""Which migrations would run on top of staging's data, and which of staging's this branch lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.migrations.loader import MigrationLoader

if TYPE_CHECKING:
    from .database import Connection


@dataclass(frozen=True)
class Forecast:
    """Migrations as "app.name", in the order they would run."""

    to_run: list[str]
    unknown_here: list[str]  # applied in staging, absent from this branch


def make(staging: Connection) -> Forecast:
    """Compare this branch's migrations with those that staging has applied; reads only."""
    applied: set[tuple[str, str]] = set()
    if staging.execute("SELECT to_regclass('django_migrations') IS NOT NULL").fetchone() == (True,):
        rows = staging.execute("SELECT app::text, name::text FROM django_migrations").fetchall()
        applied = {(app, name) for app, name in rows}
    loader = MigrationLoader(None, ignore_no_initial=True)
    replaced = {old: key for key, migration in loader.disk_migrations.items() for old in migration.replaces}
    # A squashed migration counts as applied where all that it replaces are.
    for key, migration in loader.disk_migrations.items():
        if migration.replaces and all(tuple(old) in applied for old in migration.replaces):
            applied.add(key)
    order: list[tuple[str, str]] = []
    for leaf in sorted(loader.graph.leaf_nodes()):
        order += [key for key in loader.graph.forwards_plan(leaf) if key not in order]
    known = set(loader.disk_migrations) | set(replaced)
    return Forecast(
        to_run=[".".join(key) for key in order if key not in applied],
        unknown_here=sorted(".".join(key) for key in applied if key not in known),
    )


def lines(forecast: Forecast) -> list[str]:
    """The forecast as a person reads it."""
    told = []
    if forecast.to_run:
        told.append(f"Migrations to run on top: {', '.join(forecast.to_run)}.")
    else:
        told.append("No migration is to run on top.")
    if forecast.unknown_here:
        told.append(
            f"Staging is ahead of this branch, which lacks: {', '.join(forecast.unknown_here)}. "
            "Merge what brought them, or expect errors from tables that this branch does not know."
        )
    return told
