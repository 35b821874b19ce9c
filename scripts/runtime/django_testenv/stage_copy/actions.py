"""Carry out the flags of copy_stage_db. Raise CopyError where that is not possible."""

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

from django_testenv.media import places as media_places

from . import (
    after,
    blockers,
    branches,
    catalogue,
    database_url,
    disposable_registry,
    forecast,
    guards,
    large_objects,
    login,
    personal,
    plan,
    preflight,
    previous,
    progress,
    protection,
    swap,
)
from .database import Connection, Database, reason
from .options import Options
from .problems import Failed, Misconfigured, Refused
from .transfer import Copy, Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from .model import Progress, Table

_RELEASE_FILE = "deployment.json"
_MAINTENANCE = "postgres"  # every server has this database, also RDS; the target itself will be replaced
_HOW = {
    "copied": "Copied",
    "cloned": "Cloned the golden copy of",
    "spare": "Took the spare clone of",
    "kept": "Kept",
    "put back": "Put back",
}


class Actions:
    """Runs one command. `write` prints results on stdout, `say` prints progress and warnings."""

    def __init__(self, write: Callable[[str], object], say: Callable[[str], None]) -> None:
        self._write, self._say = write, say

    def run(self, flags: dict[str, Any]) -> None:
        """Carry out the flags. Raise CopyError, also for a server's error."""
        try:
            self._dispatch(flags)
        except psycopg.Error as error:
            why = f"a server failed: {reason(error)}"
        else:
            return
        raise Failed(why)  # not raised above: it would keep the server's error as its context

    def _dispatch(self, flags: dict[str, Any]) -> None:
        if flags["mark_disposable"] is not None or flags["confirm"] is not None:
            self._mark(flags["mark_disposable"], flags["confirm"])
        elif flags["drop_database"] is not None:
            self._drop(flags["drop_database"], json_wanted=flags["json"])
        elif flags["drop_own_database"]:
            self._drop([_branch_database()], json_wanted=flags["json"])
        elif flags["test_user"] is not None:
            self._make_user(flags["test_user"])
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
                # Either the branch is about production, or the suffix disguises production's database.
                guards.require_shared_mark(server, name, name.removesuffix(suffix))
            disposable_registry.mark(server, name, suffix=suffix)
        self._write(f'Database "{name}" is marked as disposable: copy_stage_db may replace it.')

    def _drop(self, names: list[str], *, json_wanted: bool) -> None:
        target, suffix = _target()
        _require_environment()
        disposable_registry.require_name(
            target.name, target.name.removesuffix(suffix), "the one to drop others beside"
        )
        with _server(target) as server:
            dropped = branches.drop(server, target.name.removesuffix(suffix), names, self._say)
            previous.drop_all_old(server)
        if json_wanted:
            found = [{"database": name, "dropped": was_there} for name, was_there in dropped.items()]
            self._write(json.dumps(found))

    def _make_user(self, name: str) -> None:
        target, _ = _target()
        _require_environment()
        with _server(target) as server:
            deployment = _deployment(Options(), target.name)
            login.make(name, target, server, deployment, os.environ, self._say)

    def _list(self, *, json_wanted: bool) -> None:
        target, suffix = _target()
        with _server(target) as server:
            found = json.dumps(branches.existing(server, target.name.removesuffix(suffix)))
        # One line, because other tasks read it from the container's log.
        self._say(f"databases {found}")
        if json_wanted:
            self._write(found)

    def _plan(self, options: Options, flags: dict[str, Any]) -> None:
        (target, suffix), source = _target(), _database("stage").read_only()
        with _server(target) as server, closing(source.connect()) as staging:
            found = plan.make(staging, server, options, source.connect)
            ahead = forecast.make("stage")
            marked = branches.accepts_copy(server, target, suffix)
            copy = self._prepared(target, source, server, options, progress.Lines(self._say))
            would = copy.would(fresh=flags["fresh"])
            left, cut, obstacles = self._ahead(copy, staging, server, options, marked=marked)
            found = plan.with_sample(found, cut)
        if flags["json"]:
            document = {**asdict(found), **asdict(ahead), "marked": marked, "would": would}
            document |= {"left": left, "obstacles": obstacles}
            self._write(json.dumps(document))
            return
        first = [f'"{source.name}" would go to "{target.name}":']
        stays = [f"{what} stays behind." for what in left if not what.startswith("extension ")]
        ends = [f"A copy would fail: {what}." for what in obstacles]
        last = [*stays, *ends, would]
        if options.sample and not cut:
            last.append("What the sample takes is not known, because the copy could not be tried out.")
        last += [] if marked else [f'"{target.name}" carries no disposable mark yet: refused (3).']
        for line in (*first, *plan.lines(found), *forecast.lines(ahead), *last):
            self._write(line)

    def _ahead(
        self, copy: Copy, staging: Connection, server: Connection, options: Options, *, marked: bool
    ) -> tuple[list[str], list[Table], list[str]]:
        """Return what a copy would leave behind, what a sample cuts, and what would end the copy.

        Change nothing that is there.
        """
        name = copy.target.name
        obstacles = preflight.obstacles(staging, server, copy.target, options)
        left = preflight.lost(server, name)
        if obstacles or not marked:  # an unmarked target's names beside it may be taken
            return left, [], obstacles
        try:
            rehearsal = copy.rehearse(staging)
        except Failed as error:
            return left, [], [str(error)]
        return left + rehearsal.left, rehearsal.cut, []

    def _copy(self, options: Options, flags: dict[str, Any]) -> None:
        (target, suffix), source = _target(), _database("stage").read_only()
        _require_environment()
        disposable_registry.require_name(target.name, target.name.removesuffix(suffix), "overwritten")
        with _server(target) as server, progress.choose(sys.stderr, self._say) as reporter:
            copy = self._prepared(target, source, server, options, reporter)

            @contextlib.contextmanager
            def guarded() -> Iterator[Connection]:
                with closing(source.connect()) as staging:
                    self._guard(source, staging, target, server, options, flags)
                    yield staging

            claim = partial(branches.claim, server, target, suffix)
            try:
                receipt = copy.run(claim, guarded, fresh=flags["fresh"])
            except KeyboardInterrupt:
                raise KeyboardInterrupt(copy.state) from None
        if receipt.how != "kept":
            self._clear_media()
        self._write(json.dumps(asdict(receipt)) if flags["json"] else _sentence(receipt))
        if not flags["json"] and receipt.left:
            self._write(f"Not in the copy: {'; '.join(receipt.left)}.")
        if receipt.bytes:  # it is 0 after a clone, or if the data were kept
            self._say(f"the copy took {receipt.seconds:.1f} s")
        # `invoke status` reads these lines from the container's log.
        kept = ", kept" if receipt.how in {"kept", "put back"} else ""
        self._say(f'data of {receipt.copied_at} in "{receipt.target}"{kept}')

    def _clear_media(self) -> None:
        """Delete the branch's own media, because the new data are staging's. An error is only reported."""
        if not media_places.is_wanted():
            return
        from django_testenv.media import own  # noqa: PLC0415  few projects have media

        try:
            found = media_places.read()
            count = own.clear(found) if found else 0
        except Exception as error:  # noqa: BLE001  AWS's SDK is the project's, in any version
            self._say(f"WARNING: not all of the branch's own media could be deleted: {error}")
        else:
            if count:
                self._say(f"deleted {count} objects of the branch's own media")

    def _prepared(
        self,
        target: Database,
        source: Database,
        server: Connection,
        options: Options,
        reporter: Progress,
    ) -> Copy:
        maintenance = target.named(_MAINTENANCE).able_to_create()
        suffix = branches.suffix_in(os.environ)
        shared = target.name.removesuffix(suffix) if suffix else ""
        deployment = _deployment(options, target.name)
        after.require(options.after, deployment)

        def finish(incoming: Database) -> None:
            after.run(options.after, deployment, incoming, reporter)

        release = _release(options)
        return Copy(
            source,
            target,
            maintenance,
            server,
            options,
            release,
            reporter,
            shared=shared,
            finish=finish,
        )

    def _guard(
        self,
        source: Database,
        staging: Connection,
        target: Database,
        server: Connection,
        options: Options,
        flags: dict[str, Any],
    ) -> None:
        blockers.require_sessions(staging, source.connect, source.alias)
        guards.require_two_databases(staging, source.name, server, target.name)
        reasons = guards.writable_reasons(staging)
        if flags["allow_writable_source"] and reasons:
            self._say(
                "WARNING: --allow-writable-source: the role of the source could change staging: it "
                f"{guards.listed(reasons)}. Its sessions are read-only for this copy."
            )
        else:
            guards.require_reader(reasons, staging.info.user)
        guards.require_current_client(staging)
        preflight.require_none(staging, server, options)
        if flags["require_mask"]:
            left = catalogue.extensions_to_leave(staging, server)
            tables = catalogue.tables(staging, left)
            personal.require_rules(staging, tables, options, source.connect)
            large_objects.require_decision(staging, options)


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
    """Return branch, commit and deploy of the image; None outside an image."""
    found = _deployed(options.release_file)
    if not found.get("deploy"):
        return None  # without its id, another deploy of the same commit would look like a restarted task
    return {str(key): str(value) for key, value in found.items()}


def _deployment(options: Options, database: str) -> after.Deployment:
    """Return what the database is copied for, as the image and its environment say it."""
    release, host = _deployed(options.release_file), os.environ.get("DEPLOYMENT_HOST", "")
    return after.Deployment(
        branch=str(release.get("branch", "")),
        commit=str(release.get("commit", "")),
        host=host or os.environ.get("COPILOT_LB_DNS", "").partition(":")[0],
        environment=os.environ.get("COPILOT_ENVIRONMENT_NAME") or str(release.get("environment", "")),
        database=database,
    )


def _deployed(release_file: str) -> dict[str, Any]:
    """Return the content of the file that deploy-test wrote into the image; empty outside an image."""
    path = Path(getattr(settings, "BASE_DIR", ".")) / (release_file or _RELEASE_FILE)
    beside = Path(sys.argv[0]).with_name(_RELEASE_FILE)  # BASE_DIR can be any folder; this is manage.py's
    if not release_file and not path.exists() and Path(sys.argv[0]).name == "manage.py":
        path = beside
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
    """Raise Refused in a Copilot environment that is not the disposable one of this image."""
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
    if receipt.how == "put back":
        return (
            f'Put back the data of {receipt.copied_at} in "{receipt.target}", with what testers changed: the '
            "release after this one is rolled back."
        )
    rate = f", {progress.size(round(receipt.bytes / receipt.seconds))}/s" if receipt.bytes else ""
    return (
        f'{what} to "{receipt.target}": {receipt.tables} tables, {receipt.rows} rows'
        f"{f', {progress.size(receipt.bytes)}' if receipt.bytes else ''} in {receipt.seconds:.2f} s{rate}."
    )


def _target() -> tuple[Database, str]:
    """Return the default database and its suffix; raise Refused if the name lacks the suffix."""
    target, suffix = _database("default"), branches.suffix_in(os.environ)
    guards.require_suffix(target.name, suffix)
    return target, suffix


def _branch_database() -> str:
    """Return the name of the branch's database; raise Refused if no suffix names a branch."""
    target, suffix = _target()
    if not suffix:
        raise Refused(
            f"nothing is dropped: {branches.VARIABLE} is not set, so the default database is the shared one, "
            f'"{target.name}", which is only ever copied afresh'
        )
    return target.name


@contextlib.contextmanager
def _server(target: Database) -> Iterator[Connection]:
    """Open a session without timeouts on the target's server, in its maintenance database."""
    with closing(target.named(_MAINTENANCE).able_to_create().connect()) as server:
        swap.disable_timeouts(server)
        blockers.require_sessions(server, target.named(_MAINTENANCE).connect, target.alias)
        yield server


def _database(alias: str) -> Database:
    found = settings.DATABASES.get(alias)
    if not found and alias == "stage":
        raise Misconfigured(
            'DATABASES has no "stage": set STAGE_DATABASE_URL to the address of staging\'s database, with a '
            "role that may only read it"
        )
    if not found or not database_url.is_postgres(found.get("ENGINE", "")):
        raise Misconfigured(
            f'DATABASES["{alias}"] is not a Postgres database: set its variable to postgres://...'
        )
    return Database.from_django(alias, found).named_by_service()
