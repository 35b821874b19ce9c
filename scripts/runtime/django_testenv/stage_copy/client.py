"""Find Postgres's client programs on this machine, choose one for a server, and run it."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from . import reasons
from .database import base_environment
from .problems import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .database import Database

_TOOLS = ("pg_dump", "pg_restore")
# Where Debian, Red Hat and Alpine install each version beside the others.
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*")


@dataclass(frozen=True)
class Client:
    """A pg_dump with the pg_restore that belongs to it; `version` is its major version."""

    version: int
    pg_dump: str
    pg_restore: str


def for_server(version: int) -> Client:
    """Return the oldest client that is no older than the server of this major version, else the newest.

    pg_dump refuses a newer server; what an older pg_dump writes, more servers understand. Raise Failed if no
    client is installed.
    """
    return _choose(version, base_environment().get("PATH", ""))


@lru_cache(maxsize=4)
def _choose(version: int, _path: str) -> Client:
    found: list[Client] = []
    for client in _installed():
        if client.version == version:
            return client
        found.append(client)
    new_enough = [client for client in found if client.version > version]
    if new_enough:
        return min(new_enough, key=lambda client: client.version)
    if found:
        return max(found, key=lambda client: client.version)
    missing = next((tool for tool in _TOOLS if shutil.which(tool) is None), _TOOLS[0])
    raise Failed(f"{missing} is not on PATH: install the Postgres client (postgresql-client) in the image")


def _installed() -> Iterator[Client]:
    """Yield the clients, those of PATH first."""
    on_path = [Path(folder) for folder in base_environment().get("PATH", "").split(":") if folder]
    known = [folder for pattern in _FOLDERS for folder in sorted(Path("/").glob(pattern[1:]))]
    for folder in dict.fromkeys([*on_path, *known]):
        dump = shutil.which("pg_dump", path=str(folder))
        restore = shutil.which("pg_restore", path=str(folder)) or shutil.which("pg_restore")
        if dump and restore:
            yield Client(_version(dump), dump, restore)


def _version(pg_dump: str) -> int:
    output = run([pg_dump, "--version"], "pg_dump --version failed").decode(errors="replace")
    if (found := re.search(r"\d+", output)) is None:
        raise Failed(f"pg_dump --version prints {output.strip()!r}: repair the Postgres client")
    return int(found[0])


class Program:
    """A program that runs while others work."""

    def __init__(self, argv: list[str], what: str, database: Database | None = None) -> None:
        """Start the program; `what` says what it means if it fails."""
        self._what = what
        self._process = subprocess.Popen(
            argv,
            env=database.environment() if database else base_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def output(self) -> bytes:
        """Wait for the end and return the output. Raise Failed with the program's own reason."""
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise Failed(f"{self._what}: {reasons.of_tool(errors.decode(errors='replace'))}")
        return output

    def close(self) -> None:
        """End the program if it still runs."""
        with self._process:
            self._process.kill()


def run(argv: list[str], what: str, database: Database | None = None) -> bytes:
    """Run a program and return its output. An interruption also ends the program. Raise Failed."""
    with closing(Program(argv, what, database)) as program:
        return program.output()
