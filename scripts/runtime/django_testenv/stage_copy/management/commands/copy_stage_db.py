"""Copy staging's data into the throw-away database: `manage.py copy_stage_db`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from django_testenv import libraries
from django_testenv.stage_copy.problems import CopyError, Failed, Misconfigured

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


class Command(BaseCommand):
    """Copy DATABASES["stage"] to DATABASES["default"] with the options in STAGE_COPY.

    Exit codes: 0 copied or kept, 2 a setting is wrong, 3 refused by a guard, 4 a server or tool failed, 130
    interrupted. With 2, 3 and 4 the target is unchanged; an interruption says what it leaves.
    """

    help = (
        'Replaces the default database by a copy of DATABASES["stage"], all or nothing, once per release: '
        "started again for the same one, it leaves the data alone. "
        "The default database must have been marked as disposable, once. "
        "Example: python manage.py copy_stage_db"
    )
    requires_system_checks = ()  # the project's checks may query a database that is still empty

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--fresh",
            action="store_true",
            help="copy even if the data were copied for this release already, and refresh the golden copy: "
            "testers' changes are lost (default: keep the data)",
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--plan",
            action="store_true",
            help="print the tables and columns that would be copied, left out and masked, and the migrations "
            "that would run afterwards; change nothing (default: copy)",
        )
        parser.add_argument(
            "--require-mask",
            action="store_true",
            help='refuse when a column that looks personal has no rule in STAGE_COPY["mask"] (default: copy)',
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help="compare a checksum of every table's content as well; reads everything once more "
            "(default: row counts and the validity of constraints only)",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            metavar="N",
            help="connections to each server that move rows and build indexes (default: 2)",
        )
        instead.add_argument(
            "--mark-disposable",
            metavar="NAME",
            help="mark database NAME, the default one, as disposable: all of it may be lost; copies nothing. "
            "The mark outlives the database (default: none). "
            "Example: copy_stage_db --mark-disposable test --confirm test",
        )
        parser.add_argument(
            "--confirm", metavar="NAME", help="NAME once more, for --mark-disposable (default: none)"
        )
        instead.add_argument(
            "--drop-database",
            action="append",
            metavar="NAME",
            help="drop database NAME of a branch, which a copy with DATABASE_SUFFIX made; copies nothing. "
            "May be given several times: nothing is dropped if one of them is not such a database "
            "(default: none). Example: copy_stage_db --drop-database test_feature_x_1a2b3c4",
        )
        instead.add_argument(
            "--drop-own-database",
            action="store_true",
            help="drop the database of the branch that DATABASE_SUFFIX names; copies nothing (default: copy)",
        )
        instead.add_argument(
            "--test-user",
            metavar="NAME",
            help="make user NAME in the default database, with all rights and the password of the hash in "
            "TEST_USER_HASH; copies nothing. `invoke exec --login NAME` calls it (default: none)",
        )
        instead.add_argument(
            "--list-databases",
            action="store_true",
            help="list the databases of branches beside the shared one; copies nothing (default: copy)",
        )
        parser.add_argument(
            "--allow-writable-source",
            action="store_true",
            help="copy although the source's role could change staging (default: refuse)",
        )
        parser.add_argument(
            "--json", action="store_true", help="print one JSON document on stdout (default: a sentence)"
        )

    def handle(self, *_args: str, **flags: Any) -> None:
        try:
            with _interrupted_by_sigterm():
                self._run(flags)
        except CopyError as error:
            reason, code = str(error), error.exit_code
        except libraries.MissingLibraryError as error:
            reason, code = str(error), Misconfigured.exit_code
        except OSError as error:
            reason, code = f"this machine failed: {error}", Failed.exit_code
        except KeyboardInterrupt as interrupt:
            if flags["drop_database"] or flags["drop_own_database"]:
                self._say("interrupted: run it again for the rest")
            else:
                self._say(f"interrupted, {interrupt or 'the target is as it was'}: run it again")
            sys.exit(130)
        else:
            return
        raise CommandError(reason, returncode=code)  # not above: it would keep a server's error as context

    def _run(self, flags: dict[str, Any]) -> None:
        libraries.require_psycopg()
        from django_testenv.stage_copy.actions import Actions  # noqa: PLC0415  it imports psycopg

        Actions(self.stdout.write, self._say).run(flags)

    def _say(self, line: str) -> None:
        self.stderr.write(f"copy_stage_db: {line}", self.style.NOTICE)
        self.stderr.flush()


@contextlib.contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, with which ECS stops a container, interrupt the block, so that it cleans up."""
    if threading.current_thread() is not threading.main_thread():  # no other one may set it
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
