"""Copy the schema with Postgres's own tools: pg_dump writes it, pg_restore restores it, part by part."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import reasons
from .database import base_environment
from .problems import Failed

if TYPE_CHECKING:
    from .database import Database

# A throw-away copy neither needs nor may have the rights of roles that do not exist there, and subscriptions
# that would start to pull from production.
_EXCLUDED = (
    "--no-owner",
    "--no-privileges",
    "--no-tablespaces",
    "--no-security-labels",
    "--no-publications",
    "--no-subscriptions",
)
_LOCK_WAIT = "--lock-wait-timeout=60s"
_TOOLS = ("pg_dump", "pg_restore")
# A line of `pg_restore --list`: number in the dump; oid of the catalogue and the object; kind and the rest.
_ENTRY = re.compile(r"^(\d+); (\d+) (\d+) (.+)$")
_CLASS_RELATION, _CLASS_CONSTRAINT = 1259, 2606  # pg_class and pg_constraint; src/include/catalog
# Passwords of other databases, which a throw-away copy must not reach, and objects that need a superuser.
_NEVER = ("USER MAPPING ", "EVENT TRIGGER ")
_HEADER = re.compile(r"^--\n-- TOC entry (\d+) \(class \d+ OID \d+\)\n", re.MULTILINE)
_META = re.compile(r"^\\(un)?restrict .*\n", re.MULTILINE)


def client_version() -> int:
    """Return the major version of pg_dump. Raise Failed if a Postgres tool is not installed."""
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise Failed(
                f"{tool} is not on PATH: install the Postgres client (postgresql-client) in the image"
            )
    output = subprocess.run(
        ["pg_dump", "--version"],  # noqa: S607  the user's PATH decides which client is used
        env=base_environment(),
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    if (found := re.search(r"\d+", output)) is None:
        raise Failed(f"pg_dump --version prints {output.strip()!r}: repair the Postgres client")
    return int(found[0])


@dataclass(frozen=True)
class Entry:
    """One entry of the archive's table of contents."""

    number: int
    catalogue: int
    oid: int
    line: str  # as pg_restore lists it and accepts it again
    kind: str  # the kind and the rest of the line: "INDEX public shop_order_idx owner"

    def is_one_of(self, indexes: Collection[int], constraints: Collection[int]) -> bool:
        if self.catalogue == _CLASS_RELATION:
            return self.kind.startswith("INDEX ") and self.oid in indexes
        return (
            self.catalogue == _CLASS_CONSTRAINT
            and self.kind.startswith(("CONSTRAINT ", "FK CONSTRAINT "))
            and self.oid in constraints
        )


class Archive:
    """The source's schema in one snapshot, written to a file."""

    def __init__(self, source: Database, snapshot: str, folder: Path) -> None:
        """Write the schema with pg_dump. Raise Failed with pg_dump's own reason."""
        self._file = folder / "schema"
        self._folder = folder
        argv = ["pg_dump", "--format=custom", "--compress=0", "--section=pre-data", "--section=post-data"]
        argv += [*_EXCLUDED, _LOCK_WAIT, f"--snapshot={snapshot}", f"--file={self._file}", *_role(source)]
        _run(argv, "pg_dump of the source failed", source)

    def entries(self, section: str, without_extensions: Collection[str]) -> list[Entry]:
        listed = _run(
            ["pg_restore", "--list", f"--section={section}", str(self._file)], "pg_restore failed"
        ).decode(errors="surrogateescape")
        found = [
            Entry(int(match[1]), int(match[2]), int(match[3]), line, match[4])
            for line in listed.splitlines()
            if (match := _ENTRY.match(line))
        ]
        left = {f"EXTENSION - {name} " for name in without_extensions}
        left |= {f"COMMENT - EXTENSION {name} " for name in without_extensions}
        return [
            entry
            for entry in found
            if not entry.kind.startswith(_NEVER) and not any(f"{entry.kind} ".startswith(e) for e in left)
        ]

    def restore(self, entries: Collection[Entry], target: Database) -> None:
        """Restore the entries in their order, in one transaction. Raise Failed with the server's reason."""
        if entries:
            argv = ["pg_restore", "--single-transaction", "--exit-on-error", *_EXCLUDED]
            argv += [f"--dbname={target.name}", *_role(target), self._list(entries), str(self._file)]
            _run(argv, "the schema could not be restored", target)

    def statements(self, entries: Collection[Entry]) -> Mapping[int, str]:
        """Return the SQL of each entry, by its number in the archive."""
        if not entries:
            return {}
        output = _run(
            ["pg_restore", "--file=-", "--verbose", *_EXCLUDED, self._list(entries), str(self._file)],
            "pg_restore failed",
        ).decode(errors="surrogateescape")
        pieces = _HEADER.split(output)
        by_number = {int(number): text for number, text in zip(pieces[1::2], pieces[2::2])}
        return {number: _META.sub("", text) for number, text in by_number.items()}

    def _list(self, entries: Collection[Entry]) -> str:
        with tempfile.NamedTemporaryFile(
            "w", dir=self._folder, delete=False, encoding="utf-8", errors="surrogateescape"
        ) as file:
            file.writelines(f"{entry.line}\n" for entry in entries)
        return f"--use-list={file.name}"


def copy_large_objects(source: Database, snapshot: str, target: Database) -> None:
    """Copy all large objects, and nothing else. Raise Failed unless both programs succeed."""
    dump = ["pg_dump", "--format=custom", "--compress=0", "--section=data", "--large-objects"]
    dump += ["--exclude-table-data=*.*", *_EXCLUDED, _LOCK_WAIT, f"--snapshot={snapshot}", *_role(source)]
    load = ["pg_restore", "--single-transaction", "--exit-on-error", *_EXCLUDED, f"--dbname={target.name}"]
    load += _role(target)
    what = "the large objects could not be copied"
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(dump, env=source.environment(), stdout=subprocess.PIPE, stderr=errors) as dumping,
    ):
        try:
            _run(load, what, target, stdin=dumping.stdout)
        except BaseException:
            dumping.kill()
            raise
        if dumping.wait():
            errors.seek(0)
            raise Failed(f"{what}: {_why(errors.read())}")


def _role(database: Database) -> list[str]:
    return [f"--role={database.role}"] if database.role else []


def _run(
    argv: list[str], what: str, database: Database | None = None, stdin: IO[bytes] | None = None
) -> bytes:
    """Run a program and return its output. An interruption also ends the program. Raise Failed."""
    done = subprocess.run(
        argv,
        env=database.environment() if database else base_environment(),
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{what}: {_why(done.stderr)}")
    return done.stdout


def _why(errors: bytes) -> str:
    return reasons.of_tool(errors.decode(errors="replace"))
