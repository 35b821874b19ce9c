"""`manage.py copy_stage_db`: staging's data into the throw-away database, after every guard has agreed."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from scripts.stage_copy import (
    branches,
    catalogue,
    forecast,
    guards,
    marks,
    masking,
    plan,
    progress,
    protection,
    schema,
    swap,
)
from scripts.stage_copy.database import Connection, Database, reason
from scripts.stage_copy.options import Options
from scripts.stage_copy.problems import CopyError, Failed, Misconfigured, Refused
from scripts.stage_copy.transfer import Copy, Receipt

if TYPE_CHECKING:
    import argparse

    from scripts.stage_copy.model import Progress

_RELEASE_FILE = "deployment.json"
_MAINTENANCE = "postgres"  # every server has it, RDS too; the target itself is about to be replaced
_HOW = {
    "copied": "Copied",
    "cloned": "Cloned the golden copy of",
    "spare": "Took the spare clone of",
    "kept": "Kept",
}


class Command(BaseCommand):
    """Copies DATABASES["stage"] to DATABASES["default"], as STAGE_COPY says.

    Exit codes: 0 copied or kept, 2 a setting is wrong, 3 refused by a guard, 4 a server or tool failed, 130
    interrupted; in the last four cases the target is as it was.
    """

    help = (
        'Replaces the default database by a copy of DATABASES["stage"], all or nothing, once per release: '
        "started again for the same one, it leaves the data alone. "
        "The default database must have been marked as disposable, once. "
        "Example: python manage.py copy_stage_db"
    )
    requires_system_checks = ()  # the project's checks may look at a database that is empty as yet

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--fresh",
            action="store_true",
            help="copy even where the data were copied for this release already, and refresh the golden "
            "copy: what testers changed is lost (default: keep them)",
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--plan",
            action="store_true",
            help="print what would be copied, left behind and masked, and which migrations would run on top; "
            "change nothing (default: copy)",
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
            help="say that everything in database NAME, the default one, may be thrown away; copies nothing. "
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
            "May be given several times: none is dropped where one of them is no such database "
            "(default: none). Example: copy_stage_db --drop-database test_feature_x_1a2b3c4",
        )
        instead.add_argument(
            "--drop-own-database",
            action="store_true",
            help="drop the database of the branch that DATABASE_SUFFIX names; copies nothing (default: copy)",
        )
        instead.add_argument(
            "--list-databases",
            action="store_true",
            help="list the databases of branches that stand beside the shared one; copies nothing "
            "(default: copy)",
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
            self._do(flags)
        except CopyError as error:
            why, code = str(error), error.exit_code
        except psycopg.Error as error:
            why, code = f"a server failed: {reason(error)}", Failed.exit_code
        except OSError as error:
            why, code = f"this machine failed: {error}", Failed.exit_code
        except KeyboardInterrupt:
            if flags["drop_database"] or flags["drop_own_database"]:
                self._say("interrupted: run it again for the rest")
            else:
                self._say("interrupted, the target is as it was: run it again")
            sys.exit(130)
        else:
            return
        raise CommandError(why, returncode=code)  # not above: a server's error would hang on it

    def _do(self, flags: dict[str, Any]) -> None:
        if flags["mark_disposable"] is not None or flags["confirm"] is not None:
            self._mark(flags["mark_disposable"], flags["confirm"])
        elif flags["drop_database"] is not None:
            self._drop(flags["drop_database"], json_wanted=flags["json"])
        elif flags["drop_own_database"]:
            self._drop([_own()], json_wanted=flags["json"])
        elif flags["list_databases"]:
            self._list(json_wanted=flags["json"])
        elif flags["plan"]:
            self._plan(_options(flags), flags)
        else:
            self._copy(_options(flags), flags)

    def _mark(self, name: str | None, confirmed: str | None) -> None:
        target, suffix = _target()
        _require_environment()
        if not name or name != target.name or name != confirmed:
            raise Refused(
                f"nothing is marked: --mark-disposable {name or '(missing)'} and --confirm "
                f'{confirmed or "(missing)"} must both name the default database, which is "{target.name}"'
            )
        with _server(target) as server:
            if suffix and protection.database_protector(name):
                # Of a branch about production, or production's with a suffix that makes it look like one.
                guards.require_shared_mark(server, name, name.removesuffix(suffix))
            marks.mark(server, name, suffix=suffix)
        self.stdout.write(f'Database "{name}" is marked as disposable: copy_stage_db may replace it.')

    def _drop(self, names: list[str], *, json_wanted: bool) -> None:
        target, suffix = _target()
        _require_environment()
        marks.require_name(target.name, target.name.removesuffix(suffix), "the one to drop others beside")
        with _server(target) as server:
            dropped = branches.drop(server, target.name.removesuffix(suffix), names, self._say)
        if json_wanted:
            found = [{"database": name, "dropped": was_there} for name, was_there in dropped.items()]
            self.stdout.write(json.dumps(found))

    def _list(self, *, json_wanted: bool) -> None:
        target, suffix = _target()
        with _server(target) as server:
            found = json.dumps(branches.existing(server, target.name.removesuffix(suffix)))
        # One line, for whoever reads it from the container's log.
        self._say(f"databases {found}")
        if json_wanted:
            self.stdout.write(found)

    def _plan(self, options: Options, flags: dict[str, Any]) -> None:
        (target, suffix), source = _target(), _database("stage").read_only()
        with _server(target) as server, closing(source.connect()) as staging:
            found = plan.make(staging, server, options)
            ahead = forecast.make("stage")
            marked = branches.admits(server, target, suffix)
            copy = self._prepared(target, source, server, options, progress.Lines(self._say))
            would = copy.would(fresh=flags["fresh"])
        if flags["json"]:
            document = {**asdict(found), **asdict(ahead), "marked": marked, "would": would}
            self.stdout.write(json.dumps(document))
            return
        first = [f'"{source.name}" would go to "{target.name}":']
        last = [would] if marked else [would, f'"{target.name}" carries no disposable mark yet: refused (3).']
        for line in (*first, *plan.lines(found), *forecast.lines(ahead), *last):
            self.stdout.write(line)

    def _copy(self, options: Options, flags: dict[str, Any]) -> None:
        (target, suffix), source = _target(), _database("stage").read_only()
        _require_environment()
        marks.require_name(target.name, target.name.removesuffix(suffix), "overwritten")
        with _server(target) as server, progress.choose(sys.stderr, self._say) as told:
            copy = self._prepared(target, source, server, options, told)

            @contextlib.contextmanager
            def guarded() -> Iterator[Connection]:
                with closing(source.connect()) as staging:
                    self._guard(source, staging, target, server, options, flags)
                    yield staging

            claim = partial(branches.claim, server, target, suffix)
            receipt = copy.run(claim, guarded, fresh=flags["fresh"])
        self.stdout.write(json.dumps(asdict(receipt)) if flags["json"] else _sentence(receipt))
        if receipt.bytes:  # not where a clone, or what was there already, was all that it took
            self._say(f"the copy took {receipt.seconds:.1f} s")
        # `invoke status` reads these lines from the container's log.
        self._say(f'data of {receipt.copied_at} in "{receipt.target}"')

    def _prepared(
        self, target: Database, source: Database, server: Connection, options: Options, told: Progress
    ) -> Copy:
        maintenance = target.named(_MAINTENANCE)
        return Copy(source, target, maintenance, server, options, _release(options), told)

    def _guard(
        self,
        source: Database,
        staging: Connection,
        target: Database,
        server: Connection,
        options: Options,
        flags: dict[str, Any],
    ) -> None:
        guards.require_two_databases(staging, source.name, server, target.name)
        reasons = guards.writable_reasons(staging)
        if flags["allow_writable_source"] and reasons:
            self._say(
                "WARNING: --allow-writable-source: the role of the source could change staging: it "
                f"{guards.listed(reasons)}. Its sessions are read-only for this copy."
            )
        else:
            guards.require_reader(reasons, staging.info.user)
        guards.require_current_client(schema.client_version(), staging)
        if flags["require_mask"]:
            left = catalogue.extensions_to_leave(staging, server)
            masking.require_rules(catalogue.tables(staging, left), options)

    def _say(self, line: str) -> None:
        self.stderr.write(f"copy_stage_db: {line}", self.style.NOTICE)
        self.stderr.flush()


def _options(flags: dict[str, Any]) -> Options:
    found = Options.read(getattr(settings, "STAGE_COPY", {}), key=settings.SECRET_KEY)
    if flags["jobs"] is not None and flags["jobs"] < 1:
        raise Misconfigured(f"--jobs {flags['jobs']}: it must be 1 or more")
    return replace(
        found,
        jobs=flags["jobs"] or found.jobs,
        verify=flags["verify"] or found.verify,
    )


def _release(options: Options) -> dict[str, str] | None:
    """What the image says it is of: branch, commit and deploy; None outside of an image."""
    found = _deployed(options.release_file)
    if not found.get("deploy"):
        return None  # without the deploy, a new one of the same commit would pass for a restarted task
    return {str(key): str(value) for key, value in found.items()}


def _deployed(release_file: str) -> dict[str, Any]:
    """Read what deploy-test has written into the image; nothing outside of one."""
    path = Path(getattr(settings, "BASE_DIR", ".")) / (release_file or _RELEASE_FILE)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if release_file:
            raise Misconfigured(f'STAGE_COPY["release_file"]: there is no file {path}') from None
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}


def _require_environment() -> None:
    """Raises Refused in an environment of Copilot's that is not the disposable one of this image."""
    setting = getattr(settings, "STAGE_COPY", {})
    file = str(setting.get("release_file") or "") if isinstance(setting, Mapping) else ""
    guards.require_environment(os.environ, _deployed(file), file or _RELEASE_FILE)


def _sentence(receipt: Receipt) -> str:
    what = f'{_HOW[receipt.how]} "{receipt.source}"'
    if receipt.how == "kept":
        return (
            f'Kept "{receipt.target}": its data of {receipt.copied_at} were copied for this release. '
            "--fresh copies them again."
        )
    rate = f", {progress.size(round(receipt.bytes / receipt.seconds))}/s" if receipt.bytes else ""
    return (
        f'{what} to "{receipt.target}": {receipt.tables} tables, {receipt.rows} rows'
        f"{f', {progress.size(receipt.bytes)}' if receipt.bytes else ''} in {receipt.seconds:.2f} s{rate}."
    )


def _target() -> tuple[Database, str]:
    """The default database, and what of its name is a branch's; raises Refused where that is left out."""
    target, suffix = _database("default"), branches.suffix_in(os.environ)
    guards.require_suffix(target.name, suffix)
    return target, suffix


def _own() -> str:
    """The name of the branch's database; raises Refused where the shared one is meant."""
    target, suffix = _target()
    if not suffix:
        raise Refused(
            f"nothing is dropped: {branches.VARIABLE} is not set, so the default database is the shared one, "
            f'"{target.name}", which is only ever copied afresh'
        )
    return target.name


@contextlib.contextmanager
def _server(target: Database) -> Iterator[Connection]:
    """A session on the target's server that may wait for others, not connected to the target."""
    with closing(target.named(_MAINTENANCE).connect()) as server:
        swap.wait_without_end(server)
        yield server


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
