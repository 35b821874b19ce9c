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
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import chart, latency, source
from tests.bench.usage import Figures, measure
from tests.runtime.stage_copy.servers import BIN, DEBIAN, SUPERUSER, PostgresServer, postgres_server
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


Way = Callable[[], Figures]


@dataclass
class Run:
    """One way's figures at one size."""

    figures: list[Figures] = field(default_factory=list)

    def median(self, name: str) -> float:
        return statistics.median(float(getattr(one, name)) for one in self.figures)

    @property
    def seconds(self) -> float:
        return self.median("seconds")

    @property
    def peak(self) -> float:
        return max(one.peak for one in self.figures)


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

    def ways(self) -> dict[str, Way]:
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

    def prepare(self, name: str, statements: Iterable[str]) -> None:
        """Make the source database in the place of the one before."""
        if self.name:
            self.source.run(f"DROP DATABASE {self.name}")
            with self.target.connect() as connection:
                names = connection.execute(
                    "SELECT datname::text FROM pg_database WHERE datname ~ '^stage_copy_g'"
                )
                for (left,) in names.fetchall():
                    connection.execute(f"DROP DATABASE {left}".encode())
        self.name = name
        source.make(self.source, name, statements, "reader")

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
        sent, arrived = _rows(self.source, self.name), _rows(self.target, "copy")
        if sent != arrived:
            raise RuntimeError(f"the source has {sent} rows, the copy {arrived}")

    def _environment(self, server: PostgresServer, role: str, database: str) -> dict[str, str]:
        where = {f"PG{name.upper()}": value for name, value in server.address.items()}
        return {**where, "PGUSER": role, "PGPASSWORD": PASSWORD, "PGDATABASE": database}

    def _shell(self, command: str) -> Figures:
        """Run a pipe; what follows PIPE talks to the target."""
        there = " ".join(
            f"{key}={value}" for key, value in self._environment(self.target, "tester", "copy").items()
        )
        words = ["bash", "-c", f"set -eo pipefail; {command.replace('PIPE', f'env {there}')}"]
        return self._timed(words, self._environment(self.source, "reader", self.name))

    def _pgcopydb(self) -> Figures:
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

    def _ours(self, *flags: str, setting: dict[str, Any] | None = None) -> Figures:
        before = json.dumps(setting or {})
        return self._timed(
            [sys.executable, "manage.py", "copy_stage_db", "--json", *flags],
            self._variables(before),
            ours=True,
        )

    def _further(self, *, spare: bool) -> Figures:
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

    def _cp(self) -> Figures:
        """What no way can be faster than: the files, of a server at rest, and of use to nobody here."""
        return self._timed(["cp", "-a", str(self.source.data), str(self.folder / "cp")], {})

    def _variables(self, setting: str) -> dict[str, str]:
        return {
            "SOURCE": json.dumps({"NAME": self.name, **self.source.entry}),
            "TARGET": json.dumps({"NAME": "copy", **self.target.entry}),
            "STAGE_COPY": setting,
            "PYTHONPATH": sources(),
            # pip compiles what it installs into an image.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": str(self.folder / "compiled"),
        }

    def _manage(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "manage.py", "copy_stage_db", *arguments],
            cwd=self.project, env={**os.environ, **self._variables("{}")}, check=True, capture_output=True,
        )  # fmt: skip

    def _timed(self, words: list[str], variables: dict[str, str], *, ours: bool = False) -> Figures:
        path = f"{self.source.bin}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **variables}
        figures, out = measure(words, self.project, environment, (self.source, self.target))
        if ours:
            return replace(figures, served=json.loads(out)["phases"]["until the target serves"])
        return figures


def _rows(server: PostgresServer, database: str) -> int:
    of_tables = "relkind = 'r' AND relnamespace = 'public'::regnamespace"
    rows = 0
    with server.connect(database) as connection:
        names = connection.execute(f"SELECT oid::regclass::text FROM pg_class WHERE {of_tables}".encode())
        for (name,) in names.fetchall():
            count = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
            rows += int(str(count[0])) if count else 0
    return rows


_MANAGE = """
import json, os, sys
from django.conf import settings
from django.core.management import execute_from_command_line

def database(entry, user):
    facts = {**json.loads(os.environ[entry]), "USER": user, "PASSWORD": "made-up"}
    return {"ENGINE": "django.db.backends.postgresql", **facts}

settings.configure(
    SECRET_KEY="made-up", INSTALLED_APPS=["django_testenv.stage_copy"],
    STAGE_COPY=json.loads(os.environ["STAGE_COPY"]),
    DATABASES={"default": database("TARGET", "tester"), "stage": database("SOURCE", "reader")},
)
execute_from_command_line(sys.argv)
"""


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("copy", help="copy_stage_db beside pg_dump, pgcopydb and cp")
    parser.add_argument("--sizes", default=SIZES, help="GiB, with commas (default: %(default)s)")
    parser.add_argument("--shapes", default="", help=f"of {', '.join(source.SHAPES)}: instead of sizes")
    parser.add_argument("--runs", type=int, default=3, help="of each way (default: %(default)s)")
    parser.add_argument("--ways", default="", help="names or parts of names, with commas (default: all)")
    parser.add_argument("--tls", action="store_true", help="over TCP on loopback, with TLS")
    parser.add_argument(
        "--latency", type=float, default=0, metavar="MS", help="of each round trip, with TLS (default: none)"
    )
    parser.add_argument(
        "--server", default="18", metavar="VERSION",
        help="15 (Debian's), 18 (PyPI's, without TLS) or a folder with programs (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> None:
    """Every way at every size, interleaved; prints a table and JSON, writes the chart."""
    console = Console(stderr=True)
    if asked.shapes:
        made = {name: source.SHAPES[name] for name in asked.shapes.split(",")}
    else:
        made = {f"{size} GiB": source.statements(float(size)) for size in asked.sizes.split(",")}
    results: dict[str, dict[str, Run]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tls = asked.tls or bool(asked.latency)
        programs = {"15": DEBIAN, "18": BIN}.get(asked.server, Path(asked.server))
        if tls and programs == BIN:
            sys.exit("PyPI's server 18 has no TLS: take --server 15, or a folder with other programs")
        servers = [
            stack.enter_context(postgres_server(durable=True, folder=programs, tls=tls)) for _ in range(2)
        ]
        for server in servers if asked.latency else ():
            server.front = stack.enter_context(latency.in_front_of(server.port, asked.latency / 1000))
        bench = Bench(servers[0], servers[1], folder)
        ways = _chosen(bench, asked.ways.split(","), console)
        facts = _facts(servers[1], asked.latency)
        for number, (which, statements) in enumerate(made.items()):
            bench.prepare(f"s{number}", statements)
            results[which] = {name: Run() for name in ways}
            for _ in range(asked.runs):
                for name, way in ways.items():
                    bench.clean()
                    figures = way()
                    if name != SAMPLE and not name.startswith("cp "):
                        bench.check()
                    results[which][name].figures.append(figures)
                    console.print(
                        f"{which}: {name}: {figures.seconds:.2f} s, serves after "
                        f"{figures.served:.2f} s, CPU {figures.client:.2f} + {figures.servers:.2f} s"
                    )
    ordinary = not (asked.ways or tls or asked.shapes) and asked.server == "18"
    _show(results, facts, complete=ordinary and asked.sizes == SIZES)


def _chosen(bench: Bench, parts: list[str], console: Console) -> dict[str, Way]:
    every = bench.ways()
    ways = {
        name: way
        for name, way in every.items()
        if any(part == name if part in every else part in name for part in parts)
    }
    if "pgcopydb" in ways and not shutil.which("pgcopydb"):
        console.print("pgcopydb is not installed (apt install pgcopydb): left out")
        del ways["pgcopydb"]
    return ways


def _facts(server: PostgresServer, latency_ms: float) -> dict[str, str]:
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "data_checksums",
             "shared_buffers", "max_wal_size", "maintenance_work_mem")  # fmt: skip
    with server.connect(role=SUPERUSER) as connection:
        found = {name: str(connection.execute(f"SHOW {name}".encode()).fetchone()[0]) for name in names}  # type: ignore[index]  # SHOW has one row
    way = "TLS on loopback" if server.port else "Unix sockets"
    way += f", {latency_ms:g} ms" if latency_ms else ""
    return {**found, "cores": str(os.cpu_count()), "connection": f"{way}, two servers on one machine"}


def _show(results: dict[str, dict[str, Run]], facts: dict[str, str], *, complete: bool) -> None:
    document: dict[str, Any] = {"facts": facts, "sources": {}}
    for which, runs in results.items():
        ratios = ("of pg_dump | psql", "of ours")
        table = Table("way", "s", "serves after", *ratios, "MiB", "client CPU", "servers' CPU", title=which)
        first, ours = runs.get(FIRST), runs.get("ours")
        for name, one in runs.items():
            table.add_row(
                name, f"{one.seconds:.2f}", f"{one.median('served'):.2f}",
                f"{one.seconds / first.seconds:.2f}" if first else "",
                f"{one.seconds / ours.seconds:.2f}" if ours else "", f"{one.peak:.0f}",
                f"{one.median('client'):.2f}", f"{one.median('servers'):.2f}",
            )  # fmt: skip
        Console().print(table)
        document["sources"][which] = {
            name: {"median_s": one.seconds, "runs": [asdict(figures) for figures in one.figures]}
            for name, one in runs.items()
        }
    if complete:
        CHART.write_text(
            chart.draw({which: {n: r.seconds for n, r in runs.items()} for which, runs in results.items()})
        )
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
