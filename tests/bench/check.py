"""The processor time of `check` beside that of bare `copilot svc package` calls for the same stacks."""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.clone import Clone

RUNS = 5
FILE = Path("bench-check.json")
ENVIRONMENTS = ("production", "stage", "test")
SERVICES = (1, 2, 20)


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("check", help="`invoke check` beside a bare `copilot svc package`")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one run, of one service; no figure counts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure each number of services: first run, unchanged, and after one edit; then the bare calls."""
    runs, sizes = (1, SERVICES[:1]) if options.smoke else (options.runs, SERVICES)
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "clone", is_light=options.smoke)
        clone.stage_megabytes = 1
        cache = Path(folder) / "cache"
        try:
            for size in sizes:
                _make_services(clone, size)
                for _ in range(runs):
                    for what, seconds in _checks(clone, cache).items():
                        measured.setdefault(f"{size} {what}", []).append(seconds)
            variables = clone.variables()  # Copilot needs a sandbox for the bare calls; `check` needs none
            measured["package"] = [_package(clone, variables) for _ in range(runs)]
        finally:
            clone.stop()
    _show({what: statistics.median(seconds) for what, seconds in measured.items()}, runs)


def _make_services(clone: Clone, number: int) -> None:
    """Copy the service `web` until there are so many services, each with its own path."""
    web = clone.folder / "copilot/web"
    for count in range(1, number):
        copy = web.with_name(f"web{count}")
        if not copy.exists():
            shutil.copytree(web, copy)
            text = (web / "manifest.yml").read_text(encoding="utf-8")
            text = text.replace("name: web\n", f"name: web{count}\n", 1)
            text = text.replace("path: '/'\n", f"path: '/web{count}'\n", 1)
            (copy / "manifest.yml").write_text(text, encoding="utf-8")
    clone.commit(f"{number} services")


def _checks(clone: Clone, cache: Path) -> dict[str, float]:
    """Return the seconds of a first run, of the same again, and of one after an edit of one manifest."""
    shutil.rmtree(cache, ignore_errors=True)
    manifest = clone.folder / "copilot/web/manifest.yml"
    text = manifest.read_text(encoding="utf-8")
    found = {"first": _check(clone, cache), "unchanged": _check(clone, cache)}
    manifest.write_text(text.replace("count: 2\n", "count: 3\n", 1), encoding="utf-8")
    found["edited"] = _check(clone, cache)
    manifest.write_text(text, encoding="utf-8")
    return found


def _check(clone: Clone, cache: Path) -> float:
    before = _used()
    ran = clone.invoke("check", XDG_CACHE_HOME=str(cache))
    if ran.code:
        raise RuntimeError(ran.out + ran.err)
    return _used() - before


def _used() -> float:
    """Return the processor time of all children that have ended, user and system, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _package(clone: Clone, variables: dict[str, str]) -> float:
    """The calls for one service, as a person would make them."""
    before = _used()
    for environment in ENVIRONMENTS:
        subprocess.run(
            [str(Path(sys.executable).with_name("copilot")), "svc", "package", "--app=demo", "--name=web",
             f"--env={environment}", "--tag=rendered", f"--output-dir={clone.folder}/.worktrees/bench"],
            cwd=clone.folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=True,
        )  # fmt: skip
    return _used() - before


def _show(medians: dict[str, float], runs: int) -> None:
    bare = medians.pop("package")
    table = Table("what", "seconds", "ratio", title=f"Processor time, medians of {runs} runs")
    table.add_row(f"`copilot svc package`, {len(ENVIRONMENTS)} environments, a service", f"{bare:.2f}", "1")
    ratios = {}
    for what, seconds in medians.items():
        services = int(what.split()[0])
        ratios[what] = seconds / (services * bare)
        name = f"`invoke check`, {services} service{'s' * (services > 1)}: {what.split()[1]}"
        table.add_row(name, f"{seconds:.2f}", f"{ratios[what]:.2f}")
    document = {"package_s": bare, "check_s": medians, "ratios": ratios}
    Console().print(table)
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
