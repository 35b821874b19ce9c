"""Find the migrations that would run on staging's data, and staging's migrations that this branch lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, connections
from django.db.migrations.exceptions import BadMigrationError, NodeNotFoundError
from django.db.migrations.executor import MigrationExecutor

from .database import reason
from .problems import Failed, Misconfigured

if TYPE_CHECKING:
    from django.db.migrations.loader import MigrationLoader


@dataclass(frozen=True)
class Forecast:
    """Migrations as "app.name", in the order they would run."""

    to_run: list[str]
    unknown_here: list[str]  # applied in staging, absent from this branch


def make(alias: str) -> Forecast:
    """Compare this branch's migrations with those applied in the database `alias`, which is only read.

    Raise Misconfigured if the branch's migrations do not fit together, Failed if staging cannot be read.
    """
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
        executor = MigrationExecutor(connection)
        loader: MigrationLoader = executor.loader
        plan = executor.migration_plan(loader.graph.leaf_nodes())
        known = set(loader.disk_migrations) | {
            tuple(old) for migration in loader.disk_migrations.values() for old in migration.replaces
        }
        return Forecast(
            to_run=[f"{migration.app_label}.{migration.name}" for migration, _ in plan],
            unknown_here=sorted(".".join(key) for key in loader.applied_migrations if key not in known),
        )
    except (BadMigrationError, NodeNotFoundError) as error:
        raise Misconfigured(f"this branch's migrations cannot be read: {error}") from None
    except DatabaseError as error:
        raise Failed(f"staging's migrations cannot be read: {reason(error)}") from None
    finally:
        connection.close()


def lines(forecast: Forecast) -> list[str]:
    """Return the forecast as lines of text."""
    text = []
    if forecast.to_run:
        text.append(f"Migrations to run on top: {', '.join(forecast.to_run)}.")
    else:
        text.append("No migration is to run on top.")
    if forecast.unknown_here:
        text.append(
            f"Staging is ahead of this branch, which lacks: {', '.join(forecast.unknown_here)}. "
            "Merge what brought them, or expect errors from tables that this branch does not know."
        )
    return text
