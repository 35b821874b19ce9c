"""What the tasks cost on top of a bare `copilot deploy`, and the menu on top of an empty one."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.clone import Clone, get

RUNS = 5
FILE = Path("bench-deploy.json")


def add_to(parsers: Any) -> None:
    """Add this benchmark to the command line."""
    parser = parsers.add_parser("deploy", help="what the tasks cost on top of a bare `copilot deploy`")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each pair (default: %(default)s)")
    parser.add_argument(
        "--smoke", action="store_true", help="run through once, of a light project; no figure counts"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Interleaved runs of each pair; medians in seconds."""
    runs = 1 if options.smoke else options.runs
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder), is_light=options.smoke)
        try:
            results = {
                "a new commit, from command to served page": _interleave(
                    _changed(clone, "bare", _bare), _changed(clone, "task", _task), runs
                ),
                "a new commit, by CloudFormation, against by Copilot": _interleave(
                    _changed(clone, "copilot", _task), _changed(clone, "direct", _directly), runs
                ),
                "the same commit again": _interleave(
                    lambda: _bare(clone, "same"), lambda: _task(clone, "same"), runs, lambda: _prepare(clone)
                ),
                "invoke --list": _interleave(
                    lambda: _list(_empty(Path(folder))), lambda: _list(clone.folder), 4 * runs
                ),
            }
        finally:
            clone.stop()
    _show(results, runs)


Pair = tuple[list[float], list[float]]


def _interleave(
    bare: Callable[[], float],
    ours: Callable[[], float],
    runs: int,
    before: Callable[[], None] | None = None,
) -> Pair:
    if before:
        before()
    if runs > 1:
        bare(), ours()  # a warm-up that is not counted
    pairs = [(bare(), ours()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _changed(clone: Clone, kind: str, deploy: Callable[[Clone, str], float]) -> Callable[[], float]:
    """Each call deploys a commit that was not there before."""
    count = iter(range(1000))

    def once() -> float:
        name = f"{kind}-{next(count)}"
        clone.branch(name, {"demo/bench.txt": name})
        return deploy(clone, name)

    return once


def _prepare(clone: Clone) -> None:
    clone.branch("same", {"demo/bench.txt": "same"})
    _task(clone, "same")


def _directly(clone: Clone, branch: str) -> float:
    return _task(clone, branch, DEPLOY_WITH="cloudformation")


def _task(clone: Clone, branch: str, **variables: str) -> float:
    started = time.monotonic()
    ran = clone.invoke("deploy-test", "--branch", branch, "--yes", **variables)
    if ran.code:
        raise RuntimeError(ran.err)
    poll(ran.out.strip(), clone.git("rev-parse", branch))
    return time.monotonic() - started


def _bare(clone: Clone, branch: str) -> float:
    """What a person types who has the commit checked out, with the page polled until it is served."""
    commit = clone.git("rev-parse", branch)
    folder = clone.folder / ".worktrees" / f"bare-{branch}"
    if not folder.exists():
        clone.git("worktree", "add", "--quiet", "--detach", str(folder), commit)
        (folder / "deployment.json").write_text(
            json.dumps({"branch": branch, "commit": commit, "environment": "test"}, sort_keys=True) + "\n"
        )
    variables = clone.variables()
    url, tags = _deployed(clone, branch, commit)
    started = time.monotonic()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("copilot")), "deploy", "--app=demo", "--name=web", "--env=test",
         f"--tag={commit}", "--deploy-env=false", f"--resource-tags={tags}"],
        cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    url = url or _deployed(clone, branch, commit)[0]
    poll(url, commit)
    return time.monotonic() - started


def _deployed(clone: Clone, branch: str, commit: str) -> tuple[str, str]:
    """The URL, and the tags to deploy with: an unchanged deploy has those of the stack.

    Without them the stack would pass for somebody else's, which the tasks do not replace.
    """
    found = clone.status()
    facts = {"branch": branch, "commit": commit, "deployed_by": "ada@example.org"}
    facts |= {"deployed_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "expires_at": "never"}
    if found and found[0]["commit"] == commit:
        facts = {name: found[0][name] for name in facts}
    return found[0]["url"] if found else "", ",".join(f"{name}={value}" for name, value in facts.items())


def poll(url: str, commit: str) -> None:
    end = time.monotonic() + 120
    while commit not in get(url + "/status.json")[1]:
        if time.monotonic() > end:
            raise RuntimeError(f"{url} does not serve {commit}")
        time.sleep(0.05)


def _empty(folder: Path) -> Path:
    empty = folder / ".worktrees" / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    (empty / "tasks.py").write_text("")
    return empty


def _list(folder: Path) -> float:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "invoke", "--list"], cwd=folder, capture_output=True, check=False
    )  # an empty menu ends with 1: there is nothing to list
    return time.monotonic() - started


def _show(results: dict[str, Pair], runs: int) -> None:
    table = Table("what", "against (s)", "tasks (s)", "ratio", title=f"Medians of {runs} interleaved runs")
    document = {}
    for what, (bare, ours) in results.items():
        one, other = statistics.median(bare), statistics.median(ours)
        table.add_row(what, f"{one:.2f}", f"{other:.2f}", f"{other / one:.2f}")
        document[what] = {
            "bare_s": one, "tasks_s": other, "ratio": other / one, "bare_runs": bare, "tasks_runs": ours,
        }  # fmt: skip
    Console().print(table)
    FILE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document))  # noqa: T201 - the benchmark's result
