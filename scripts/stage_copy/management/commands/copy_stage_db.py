"""`manage.py copy_stage_db`: staging's data into the throw-away database, after every guard has agreed."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scripts.stage_copy import guards, marks, transfer
from scripts.stage_copy.database import Database, reason
from scripts.stage_copy.problems import CopyError, Failed, Misconfigured, Refused

if TYPE_CHECKING:
    import argparse

_MAINTENANCE = "postgres"  # every server has it, RDS too; the target itself is about to be replaced


class Command(BaseCommand):
    """Copies DATABASES["stage"] to DATABASES["default"].

    Exit codes: 0 copied, 2 a setting is missing, 3 refused by a guard, 4 a server or tool failed; in the last
    three cases the target is as it was.
    """

    help = (
        'Replaces the default database by a copy of DATABASES["stage"], all or nothing. '
        "The default database must have been marked as disposable, once. "
        "Example: python manage.py copy_stage_db"
    )
    requires_system_checks = ()  # the project's checks may look at a database that is empty as yet

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--mark-disposable",
            metavar="NAME",
            help="say that everything in database NAME, the default one, may be thrown away; copies nothing. "
            "The mark outlives the database (default: none). "
            "Example: copy_stage_db --mark-disposable test --confirm test",
        )
        parser.add_argument(
            "--confirm", metavar="NAME", help="NAME once more, for --mark-disposable (default: none)"
        )
        parser.add_argument(
            "--allow-writable-source",
            action="store_true",
            help="copy although the source's role could change staging (default: refuse)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout (default: a sentence)"
        )

    def handle(self, *_args: str, **options: Any) -> None:
        try:
            if options["mark_disposable"] is not None or options["confirm"] is not None:
                self._mark(options["mark_disposable"], options["confirm"])
            else:
                self._copy(allow_writable=options["allow_writable_source"], as_json=options["json"])
        except CopyError as error:
            raise CommandError(str(error), returncode=error.exit_code) from None
        except psycopg.Error as error:
            raise CommandError(f"a server failed: {reason(error)}", returncode=Failed.exit_code) from None
        except KeyboardInterrupt:
            self._say("interrupted: run it again")
            sys.exit(130)

    def _mark(self, name: str | None, confirmed: str | None) -> None:
        target = _database("default")
        if not name or name != target.name or name != confirmed:
            raise Refused(
                f"nothing is marked: --mark-disposable {name or '(missing)'} and --confirm "
                f'{confirmed or "(missing)"} must both name the default database, which is "{target.name}"'
            )
        with closing(target.named(_MAINTENANCE).connect()) as server:
            marks.mark(server, name)
        self.stdout.write(f'Database "{name}" is marked as disposable: copy_stage_db may replace it.')

    def _copy(self, *, allow_writable: bool, as_json: bool) -> None:
        target, source = _database("default"), _database("stage").read_only()
        with closing(target.named(_MAINTENANCE).connect()) as server:
            guards.require_mark(server, target.name)
            guards.require_ownership(server, target.name)
            with closing(source.connect()) as staging:
                guards.require_two_databases(staging, source.name, server, target.name)
                reasons = guards.writable_reasons(staging)
                if allow_writable and reasons:
                    self._say(
                        "WARNING: --allow-writable-source: the role of the source could change staging: it "
                        f"{guards.listed(reasons)}. Its sessions are read-only for this copy."
                    )
                else:
                    guards.require_reader(reasons, staging.info.user)
                guards.require_current_client(transfer.client_version(), staging)
                receipt = transfer.copy(source, staging, target, server, self._say)
        if as_json:
            self.stdout.write(json.dumps(asdict(receipt)))
        else:
            self.stdout.write(
                f'Copied "{receipt.source}" to "{receipt.target}": {receipt.tables} tables, '
                f"{receipt.rows} rows in {receipt.seconds} s."
            )

    def _say(self, line: str) -> None:
        self.stderr.write(f"copy_stage_db: {line}", self.style.NOTICE)
        self.stderr.flush()


def _database(alias: str) -> Database:
    found = settings.DATABASES.get(alias)
    if not found and alias == "stage":
        raise Misconfigured(
            'DATABASES has no "stage": set STAGE_DATABASE_URL to the address of staging\'s database, with a '
            "role that may only read it"
        )
    if not found or "postgresql" not in found.get("ENGINE", ""):
        raise Misconfigured(
            f'DATABASES["{alias}"] is no Postgres database: set its variable to postgres://...'
        )
    return Database.from_django(alias, found)
