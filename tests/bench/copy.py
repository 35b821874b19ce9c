"""How long staging's data take to the target, by what people use and by ours, at several sizes."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench import chart, source
from tests.runtime.stage_copy.servers import BIN, SUPERUSER, PostgresServer, postgres_server
from tests.sources import sources

CHECKOUT = Path(__file__).resolve().parents[2]
FILE = Path("bench-copy.json")
CHART = CHECKOUT / "docs" / "copy-bench.svg"
SIZES = "0.25,0.5,1,2"  # GiB
PASSWORD = "made-up"
FIRST = "pg_dump | psql"
SAMPLE = "ours, a sample of 1 %"
STAGING_READ = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) FROM pg_stat_user_tables"
MASKS = {
    "customer.name": "name",
    "customer.email": "email",
    "customer.phone": "phone",
    **{f"t{k}.email": "email" for k in range(4)},
}


@dataclass
class Run:
    """One way's figures at one size: seconds of each run, and MiB of our processes together."""

    seconds: list[float] = field(default_factory=list)
    serves: list[float] = field(default_factory=list)  # until the target serves, where that is earlier
    peak: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def until_served(self) -> float:
        return statistics.median(self.serves or self.seconds)


class Bench:
    """Two servers with initdb's own settings, a source database of one size, and the ways to copy it."""

    def __init__(self, from_server: PostgresServer, to_server: PostgresServer, folder: Path) -> None:
        self.source, self.target, self.folder = from_server, to_server, folder
        self.name = ""
        for server in (from_server, to_server):
            server.create_role("reader", PASSWORD)
            server.create_role("tester", PASSWORD, "CREATEDB")
        self.project = folder / "project"
        self.project.mkdir()
        (self.project / "manage.py").write_text(_MANAGE)
        self._manage("--mark-disposable", "copy", "--confirm", "copy")

    def ways(self) -> dict[str, Callable[[], tuple[float, float, float]]]:
        dump = "pg_dump --no-owner --no-privileges"
        restore = "pg_restore --no-owner --no-privileges -d copy"
        archive = self.folder / "archive"
        return {
            FIRST: lambda: self._shell(f"{dump} | PIPE psql -qX -v ON_ERROR_STOP=1 -d copy >/dev/null"),
            "pg_dump -Fc -Z0 | pg_restore": lambda: self._shell(f"{dump} -Fc -Z0 | PIPE {restore}"),
            "pg_dump -Fc | pg_restore": lambda: self._shell(f"{dump} -Fc | PIPE {restore}"),
            "pg_dump -Fd -j2 -Z0, pg_restore -j2": lambda: self._shell(
                f"{dump} -Fd -j2 -Z0 -f {archive} && PIPE {restore} -j2 {archive}"
            ),
            "pgcopydb": self._pgcopydb,
            "ours": self._ours,
            "ours, masked": lambda: self._ours(setting={"mask": MASKS}),
            SAMPLE: lambda: self._ours(setting={"sample": dict.fromkeys(("customer", "t36", "t37"), "1%")}),
            "ours, a further branch by clone": lambda: self._further(spare=False),
            "ours, a further branch by spare": lambda: self._further(spare=True),
            "cp of the data directory": self._cp,
        }

    def prepare(self, gib: float) -> None:
        if self.name:
            self.source.run(f"DROP DATABASE {self.name}")
            with self.target.connect() as connection:
                names = connection.execute(
                    "SELECT datname::text FROM pg_database WHERE datname ~ '^stage_copy_g'"
                )
                for (name,) in names.fetchall():
                    connection.execute(f"DROP DATABASE {name}".encode())
        self.name = f"s{int(gib * 1000)}"
        source.make(self.source, self.name, gib, "reader")

    def clean(self) -> None:
        """Before each run: no target, nothing left to write on either side."""
        with self.target.connect() as connection:
            names = connection.execute(
                "SELECT datname::text FROM pg_database WHERE datname = 'copy'"
            ).fetchall()
            for (name,) in names:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute("CREATE DATABASE copy OWNER tester TEMPLATE template0")
        shutil.rmtree(self.folder / "archive", ignore_errors=True)
        shutil.rmtree(self.folder / "cp", ignore_errors=True)
        for server in (self.source, self.target):
            server.run("CHECKPOINT")
        subprocess.run(["sync"], check=True)

    def check(self) -> None:
        """The copy has as many rows as the source."""
        count = "SELECT (SELECT count(*) FROM event) + (SELECT count(*) FROM t37)"
        with self.source.connect(self.name) as theirs, self.target.connect("copy") as ours:
            sent, arrived = theirs.execute(count).fetchone(), ours.execute(count).fetchone()
        if sent != arrived:
            raise RuntimeError(f"the source has {sent} rows, the copy {arrived}")

    def _environment(self, server: PostgresServer, role: str, database: str) -> dict[str, str]:
        return {"PGHOST": str(server.socket), "PGUSER": role, "PGPASSWORD": PASSWORD, "PGDATABASE": database}

    def _shell(self, command: str) -> tuple[float, float, float]:
        """Run a pipe; what follows PIPE talks to the target."""
        there = " ".join(
            f"{key}={value}" for key, value in self._environment(self.target, "tester", "copy").items()
        )
        words = ["bash", "-c", f"set -eo pipefail; {command.replace('PIPE', f'env {there}')}"]
        return self._timed(words, self._environment(self.source, "reader", self.name))

    def _pgcopydb(self) -> tuple[float, float, float]:
        words = ["pgcopydb", "clone", "--table-jobs", "4", "--index-jobs", "2", "--no-owner", "--no-acl"]
        words += ["--split-tables-larger-than", "96MB", "--skip-extensions", "--no-comments", "--restart"]
        words += ["--not-consistent", "--dir", str(self.folder / "pgcopydb")]
        if (
            "--skip-vacuum"
            in subprocess.run(
                ["pgcopydb", "clone", "--help"], capture_output=True, text=True, check=False
            ).stderr
        ):
            words.append("--skip-vacuum")
        variables = {
            "PGCOPYDB_SOURCE_PGURI": self.source.url("reader", PASSWORD, self.name),
            "PGCOPYDB_TARGET_PGURI": self.target.url("tester", PASSWORD, "copy"),
        }
        return self._timed(words, variables)

    def _ours(self, *flags: str, setting: dict[str, Any] | None = None) -> tuple[float, float, float]:
        before = json.dumps(setting or {})
        return self._timed(
            [sys.executable, "manage.py", "copy_stage_db", "--json", *flags],
            self._variables(before),
            ours=True,
        )

    def _further(self, *, spare: bool) -> tuple[float, float, float]:
        """A second branch, when the first has made the golden copy."""
        setting = {"golden": {"max_age": "7d", "spare": spare}}
        self._ours(setting=setting)  # makes what is missing of golden copy and spare
        while spare and not self._spares():
            time.sleep(0.1)
        self.clean()
        before = self._read()
        figures = self._ours(setting=setting)
        if self._read() != before:
            raise RuntimeError("a further branch read staging's tables")
        while spare and not self._spares():  # its clone, which the next branch would get
            time.sleep(0.1)
        if spare:
            self._ours(setting={"golden": {"max_age": "7d", "spare": False}})  # takes it: none is left over
        return figures

    def _spares(self) -> int:
        with self.target.connect() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_spare\\_%'"
            ).fetchone()
        return int(str(row[0])) if row else 0

    def _read(self) -> Any:
        with self.source.connect(self.name) as connection:
            return connection.execute(STAGING_READ).fetchone()

    def _cp(self) -> tuple[float, float, float]:
        """What no way can be faster than: the files, of a server at rest, and of use to nobody here."""
        return self._timed(["cp", "-a", str(self.source.data), str(self.folder / "cp")], {})

    def _variables(self, setting: str) -> dict[str, str]:
        return {
            "SOURCE_HOST": str(self.source.socket),
            "SOURCE": self.name,
            "TARGET_HOST": str(self.target.socket),
            "STAGE_COPY": setting,
            "PYTHONPATH": sources(),
        }

    def _manage(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "manage.py", "copy_stage_db", *arguments],
            cwd=self.project, env={**os.environ, **self._variables("{}")}, check=True, capture_output=True,
        )  # fmt: skip

    def _timed(
        self, words: list[str], variables: dict[str, str], *, ours: bool = False
    ) -> tuple[float, float, float]:
        """Seconds, seconds until the target served, MiB at the peak."""
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **variables}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            began = time.monotonic()
            process = subprocess.Popen(words, cwd=self.project, env=environment, stdout=out, stderr=err)
            with _Memory(process.pid) as memory:
                process.wait()
            seconds = time.monotonic() - began
            err.seek(0)
            if process.returncode:
                raise RuntimeError(f"{words[:3]}: {err.read().decode()[-2000:]}")
            out.seek(0)
            document = json.loads(out.read()) if ours else {}
        served = document["phases"]["until the target serves"] if ours else seconds
        return seconds, served, memory.peak


class _Memory:
    """The largest sum of what a process and its children hold, in MiB, looked at every 20 ms."""

    def __init__(self, pid: int) -> None:
        self.peak = 0.0
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            held = 0
            try:
                for one in (self._process, *self._process.children(recursive=True)):
                    held += one.memory_info().rss
            except psutil.Error:
                continue
            self.peak = max(self.peak, held / 2**20)


_MANAGE = """
import json, os, sys
from django.conf import settings
from django.core.management import execute_from_command_line

def database(name, user, host):
    facts = {"NAME": name, "USER": user, "PASSWORD": "made-up", "HOST": host}
    return {"ENGINE": "django.db.backends.postgresql", **facts}

settings.configure(
    SECRET_KEY="made-up", INSTALLED_APPS=["django_testenv.stage_copy"],
    STAGE_COPY=json.loads(os.environ["STAGE_COPY"]),
    DATABASES={"default": database("copy", "tester", os.environ["TARGET_HOST"]),
               "stage": database(os.environ["SOURCE"], "reader", os.environ["SOURCE_HOST"])},
)
execute_from_command_line(sys.argv)
"""


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("copy", help="copy_stage_db beside pg_dump, pgcopydb and cp")
    parser.add_argument("--sizes", default=SIZES, help="GiB, with commas (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of each way (default: %(default)s)")
    parser.add_argument("--ways", default="", help="parts of their names, with commas (default: all)")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> None:
    """Every way at every size, interleaved; prints a table and JSON, writes the chart."""
    console = Console(stderr=True)
    sizes = [float(size) for size in asked.sizes.split(",")]
    results: dict[float, dict[str, Run]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [stack.enter_context(postgres_server(durable=True)) for _ in range(2)]
        bench = Bench(servers[0], servers[1], folder)
        ways = _chosen(bench, asked.ways.split(","), console)
        facts = _facts(servers[1])
        for size in sizes:
            bench.prepare(size)
            results[size] = {name: Run() for name in ways}
            for number in range(asked.runs):
                for name, way in ways.items():
                    bench.clean()
                    seconds, served, peak = way()
                    if name != SAMPLE and not name.startswith("cp "):
                        bench.check()
                    one = results[size][name]
                    one.seconds.append(seconds)
                    one.serves.append(served)
                    one.peak = max(one.peak, peak)
                    console.print(
                        f"{size} GiB, run {number + 1}: {name}: {seconds:.2f} s, serves after {served:.2f} s"
                    )
    _show(results, facts, complete=not asked.ways and asked.sizes == SIZES)


def _chosen(
    bench: Bench, parts: list[str], console: Console
) -> dict[str, Callable[[], tuple[float, float, float]]]:
    ways = {name: way for name, way in bench.ways().items() if any(part in name for part in parts)}
    if "pgcopydb" in ways and not shutil.which("pgcopydb"):
        console.print("pgcopydb is not installed (apt install pgcopydb): left out")
        del ways["pgcopydb"]
    return ways


def _facts(server: PostgresServer) -> dict[str, str]:
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums",
             "shared_buffers", "max_wal_size", "maintenance_work_mem")  # fmt: skip
    with server.connect(role=SUPERUSER) as connection:
        found = {name: str(connection.execute(f"SHOW {name}".encode()).fetchone()[0]) for name in names}  # type: ignore[index]  # SHOW has one row
    return {**found, "cores": str(os.cpu_count()), "connection": "Unix sockets, two servers on one machine"}


def _show(results: dict[float, dict[str, Run]], facts: dict[str, str], *, complete: bool) -> None:
    document: dict[str, Any] = {"facts": facts, "sizes": {}}
    for size, runs in results.items():
        table = Table("way", "s", "serves after", "of pg_dump | psql", "of ours", "MiB", title=f"{size} GiB")
        first, ours = runs.get(FIRST), runs.get("ours")
        for name, one in runs.items():
            table.add_row(
                name, f"{one.median:.2f}", f"{one.until_served:.2f}",
                f"{one.median / first.median:.2f}" if first else "",
                f"{one.median / ours.median:.2f}" if ours else "", f"{one.peak:.0f}",
            )  # fmt: skip
        Console().print(table)
        document["sizes"][str(size)] = {
            name: {
                "median_s": one.median,
                "serves_s": one.until_served,
                "peak_mib": one.peak,
                "runs": one.seconds,
            }
            for name, one in runs.items()
        }
    if complete:
        CHART.write_text(
            chart.draw({size: {n: r.median for n, r in runs.items()} for size, runs in results.items()})
        )
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
