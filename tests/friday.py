"""Friday evening: many isolated slots and the shared one have expired, and one sweep removes them all.

`python -m tests.friday --slots 30 --kills 5` deploys them, kills the sweep at random moments, ends it, and
prints the figures of docs/scale.md. `--folder` keeps the clone: deploys and sweep may then be two runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from copilot_testenv.aws import Aws
from copilot_testenv.core.git import slug
from tests.clone import Clone, Ran
from tests.e2e.looks import query, stacks

HURRY = 60.0  # times as fast as AWS are the updates of the environment
AN_UPDATE = (
    80.0  # seconds on AWS of an update of the environment with its clean-up: control_plane/for_tests.py
)
AT_ONCE = 3  # deploys
# The sweep by a clock that is a week ahead. It counts the requests of the task itself, not Copilot's, each
# with the function below deploys/, copilot/ or state/ that asked for it.
_SWEEP = """
import collections, json, sys
from datetime import datetime, timedelta
from botocore.endpoint import Endpoint
from copilot_testenv.aws import stacks
from copilot_testenv.deploys import teardown
from copilot_testenv.menu import session
class Moved(datetime):
    @classmethod
    def now(cls, zone=None): return datetime.now(zone) + timedelta(days=8)
teardown.datetime = stacks.datetime = Moved
sent, real = collections.Counter(), Endpoint._do_get_response
def asking():
    frame = sys._getframe(1)
    while frame:
        path = frame.f_code.co_filename
        known = any(f"copilot_testenv/{part}/" in path for part in ("deploys", "copilot", "state"))
        if known and not path.endswith("bucket_object.py"):
            return path.rsplit("/", 1)[-1].removesuffix(".py") + "." + frame.f_code.co_name
        frame = frame.f_back
    return "session"
def send(self, request, operation, *more):
    sent[f"{operation.service_model.service_name}:{operation.name} {asking()}"] += 1
    return real(self, request, operation, *more)
Endpoint._do_get_response = send
try:
    teardown.teardown(session(), teardown.Options(expired=True, yes=True, json=True, wait=True))
finally:
    print("requests:", json.dumps(sent), file=sys.stderr)
"""


@dataclass
class Figures:
    """What a Friday took."""

    slots: int
    killed: int = 0
    sweeps: int = 0
    seconds: float = 0.0  # of all sweeps
    updates: int = 0  # of the environment's stack, by all sweeps
    requests: dict[str, int] = field(default_factory=dict)  # of the last sweep, by operation and function
    deleted: int = 0  # slots that the last sweep deleted
    left: list[str] = field(default_factory=list)

    @property
    def on_aws(self) -> float:
        """Return minutes on AWS's clock, of which the updates of the environment are slower there."""
        return (self.seconds + self.updates * (AN_UPDATE - AN_UPDATE / HURRY)) / 60

    def __str__(self) -> str:
        requests = sum(self.requests.values())
        each = requests / self.deleted if self.deleted else 0
        return (
            f"{self.slots} slots and the shared one; {self.killed} kills, {self.sweeps} sweeps, "
            f"{self.updates} updates of the environment: {self.seconds:.0f} s here, "
            f"{self.on_aws:.0f} min on AWS; the last sweep: {self.deleted} slots, {requests} requests "
            f"of its own ({each:.1f} a slot); left: {self.left or 'nothing'}"
        )


def branches(slots: int) -> list[str]:
    return [f"friday/{number}" for number in range(slots)]


def deploy(clone: Clone, names: Sequence[str]) -> None:
    """Deploy these branches to slots of their own, some at once. Raises AssertionError."""
    file = clone.folder / ".sandbox/timing.json"
    file.write_text(json.dumps({"hurry": HURRY}))
    waiting = list(names)
    while waiting:
        now, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        runs = [clone.start("deploy-test", "--branch", name, "--isolated", DEPLOY_TTL="5d") for name in now]
        for name, run in zip(now, runs, strict=True):
            out, err = run.communicate(timeout=280)
            assert run.returncode == 0, (name, out, err)


def sweep(clone: Clone, figures: Figures, *, kill_after: float | None = None) -> Ran:
    """Remove what has expired; with `kill_after`, kill the task after so many seconds."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", _SWEEP],
        cwd=clone.folder, env=clone.importing(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=kill_after or 2400)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # Copilot too: the whole machine of a CI job goes
        out, err = process.communicate()
        figures.killed += 1
    figures.sweeps += 1
    figures.seconds += time.monotonic() - begun
    return Ran(process.returncode, out, err, time.monotonic() - begun)


def friday(clone: Clone, slots: int, kills: int, draw: random.Random) -> tuple[Figures, list[Any]]:
    """Sweep with kills, then to the end; return the figures and the receipts of the last sweep."""
    figures, begun = Figures(slots), datetime.now(UTC)
    for _ in range(kills):
        sweep(clone, figures, kill_after=draw.uniform(2, 6 + 2 * slots / (kills + 1)))
    last = sweep(clone, figures)
    for _ in range(3):  # a deletion that a killed run began may be under way
        if last.code == 0:
            break
        last = sweep(clone, figures)
    assert last.code == 0, last.err
    receipts: list[Any] = json.loads(last.out)
    figures.requests = json.loads(last.err.rsplit("requests: ", 1)[1])
    figures.deleted = len(receipts)
    figures.left = left(clone, slots)
    figures.updates = [
        (event.resource, event.status) for event in Aws(clone.variables()).events("demo-test", begun)
    ].count(("demo-test", "UPDATE_IN_PROGRESS"))
    return figures, receipts


def left(clone: Clone, slots: int) -> list[str]:
    """Return what is still there of the slots: stacks, databases, repositories, names, leases, records."""
    aws = Aws(clone.variables())
    found = [f"stack {name}" for name in stacks(clone) if "test-web" in name]
    services = [f"web-{slug(name)}" for name in branches(slots)]
    sql = "SELECT datname FROM pg_database WHERE datname ~ '^test_friday'"
    found += [f"database {name}" for (name,) in query(clone, sql, database="postgres")]
    repositories = aws._ask("ecr", "describe_repositories")["repositories"]
    found += [
        f"repository {each['repositoryName']}"
        for each in repositories
        if each["repositoryName"].partition("/")[2] in services
    ]
    found += [
        f"name {service}"
        for service in services
        if aws.parameter(f"/copilot/applications/demo/components/{service}") is not None
    ]
    keys = aws.object_keys(aws.application_bucket("demo"), "test-environments/leases/test/web-")
    found += [f"lease {key}" for key in keys]
    return found + [f"record of {each['branch']}" for each in clone.status()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=30)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["deploy", "sweep"])
    parser.add_argument("--begin", type=int, default=0, help="the first slot that is deployed")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp())
    clone = Clone(folder, is_light=True) if not (folder / ".git").exists() else existing(folder)
    if given.only != "sweep":
        prepare(clone, given.slots)
        deploy(clone, branches(given.slots)[given.begin :])
    if given.only != "deploy":
        figures, _ = friday(clone, given.slots, given.kills, random.Random(given.seed))  # noqa: S311 - no secret
        for kind, count in sorted(figures.requests.items(), key=lambda each: -each[1]):
            print(f"{count:6} {kind}")  # noqa: T201
        print(figures)  # noqa: T201
        clone.stop()


def existing(folder: Path) -> Clone:
    """Return the clone that an earlier run has made."""
    clone = Clone.__new__(Clone)
    clone.folder, clone.stage_megabytes = folder, 5
    return clone


def prepare(clone: Clone, slots: int) -> None:
    """Make the branches, and deploy the shared slot."""
    clone.stage_megabytes = 5
    for name in branches(slots):
        clone.branch(name, {"note.txt": name})
    clone.do("deploy-test", "--branch", "main", DEPLOY_TTL="5d")


if __name__ == "__main__":
    main()
