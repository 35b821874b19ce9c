"""What real containers cost against processes: first deploys from a warm base image, and changed commits."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import engine_images
from tests.bench.deploy import poll
from tests.clone import Clone

ROUNDS = 3
FILE = Path("bench-engine.json")
FIRST, AGAIN = "first deploy, the sandbox's start included", "a changed commit"
KINDS = ("processes", "engine")


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("engine", help="what containers of Podman cost against processes (root)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each (default: %(default)s)")
    parser.add_argument(
        "--smoke", action="store_true", help="run through once, of a light project; no figure counts"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Interleaved rounds, each in a new clone; medians in seconds."""
    engine_images.make()
    with tempfile.TemporaryDirectory() as folder:
        if not options.smoke:
            _round(Path(folder) / "warm", "processes")  # installs the packages, as the base image has them
        rounds = [
            {kind: _round(Path(folder) / f"{kind}-{number}", kind, is_light=options.smoke) for kind in KINDS}
            for number in range(1 if options.smoke else options.rounds)
        ]
    _show(rounds)


def _round(folder: Path, kind: str, *, is_light: bool = False) -> dict[str, float]:
    folder.mkdir()
    clone = Clone(folder, is_light=is_light)
    clone.containers, clone.environments, clone.stage_megabytes = kind, "", 5
    if kind == "engine":
        (folder / "Dockerfile").write_text(engine_images.DOCKERFILE)
        clone.commit("An image without apt")
    try:
        first = _deploy(clone, "main")
        clone.branch("other", {"demo/bench.txt": f"changed in {folder}"})
        return {FIRST: first, AGAIN: _deploy(clone, "other")}
    finally:
        clone.stop()


def _deploy(clone: Clone, branch: str) -> float:
    started = time.monotonic()
    ran = clone.do("deploy-test", "--branch", branch, "--yes")
    poll(ran.out.strip().rstrip("/"), clone.git("rev-parse", branch))
    return time.monotonic() - started


def _show(rounds: list[dict[str, dict[str, float]]]) -> None:
    title = f"Medians of {len(rounds)} interleaved rounds"
    table = Table("what", "processes (s)", "engine (s)", "ratio", title=title)
    document = {}
    for what in (FIRST, AGAIN):
        runs = {kind: [each[kind][what] for each in rounds] for kind in KINDS}
        processes, engine = (statistics.median(runs[kind]) for kind in KINDS)
        table.add_row(what, f"{processes:.2f}", f"{engine:.2f}", f"{engine / processes:.2f}")
        document[what] = {"ratio": engine / processes, **{f"{kind}_runs": runs[kind] for kind in KINDS}}
    Console().print(table)
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
