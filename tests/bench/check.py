"""What `check` costs on top of the `copilot svc package` calls that it makes."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.clone import Clone

RUNS = 7
FILE = Path("bench-check.json")
ENVIRONMENTS = ("production", "stage", "test")


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("check", help="`invoke check` beside a bare `copilot svc package`")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each (default: %(default)s)")
    parser.add_argument(
        "--smoke", action="store_true", help="run through once, of a light project; no figure counts"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Interleaved runs on a running sandbox; medians in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder) / "clone", is_light=options.smoke)
        clone.stage_megabytes = 1
        runs, unknown = options.runs, {"XDG_CACHE_HOME": f"{folder}/cache"}
        if options.smoke:
            runs, unknown = 1, {}
        try:
            first = _check(clone, **unknown)  # no sandbox runs yet, and no template is known to cfn-lint
            variables = clone.variables()
            if runs > 1:
                _check(clone)  # a warm-up that is not counted
            pairs = [(_package(clone, variables), _check(clone)) for _ in range(runs)]
        finally:
            clone.stop()
    _show([one for one, _ in pairs], [other for _, other in pairs], first)


def _check(clone: Clone, **variables: str) -> float:
    ran = clone.invoke("check", **variables)
    if ran.code:
        raise RuntimeError(ran.out + ran.err)
    return ran.seconds


def _package(clone: Clone, variables: dict[str, str]) -> float:
    """The same calls, one after the other, as a person would make them."""
    started = time.monotonic()
    for environment in ENVIRONMENTS:
        subprocess.run(
            [str(Path(sys.executable).with_name("copilot")), "svc", "package", "--app=demo", "--name=web",
             f"--env={environment}", "--tag=rendered", f"--output-dir={clone.folder}/.worktrees/bench"],
            cwd=clone.folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=True,
        )  # fmt: skip
    return time.monotonic() - started


def _show(package: list[float], check: list[float], first: float) -> None:
    one, other = statistics.median(package), statistics.median(check)
    table = Table("what", "seconds", "ratio", title=f"Medians of {len(check)} interleaved runs")
    table.add_row(f"`copilot svc package`, {len(ENVIRONMENTS)} environments", f"{one:.2f}", "1")
    table.add_row("`invoke check`", f"{other:.2f}", f"{other / one:.2f}")
    table.add_row(
        "the first one: no sandbox runs, no template is known", f"{first:.2f}", f"{first / one:.2f}"
    )
    document = {
        "package_s": one, "check_s": other, "ratio": other / one, "first_s": first,
        "package_runs": package, "check_runs": check,
    }  # fmt: skip
    Console().print(table)
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
