"""Deploys that cannot succeed, with the real Copilot: each is told with its true cause, and soon.

tests/deploys/test_causes.py has all causes, by what AWS answers.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from tests.clone import ROOT, Clone, Ran, interrupt
from tests.e2e.looks import served
from tests.light import SETTINGS, WSGI

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(300)]
LIGHT = True
SOON = 90.0  # seconds on AWS's clock, from the start of the deploy: the cause shows later
MANIFEST = "copilot/web/manifest.yml"


def manifest(**test: Any) -> dict[str, str]:
    """Return the manifest with other keys in the test environment; sidecars are merged."""
    content = yaml.safe_load((ROOT / MANIFEST).read_text())
    sidecars = content["environments"]["test"]["sidecars"]
    for name, keys in test.pop("sidecars", {}).items():
        sidecars[name] = {**sidecars.get(name, {}), **keys}
    content["environments"]["test"] |= test
    return {MANIFEST: yaml.safe_dump(content, sort_keys=False)}


def page(status: str, location: str = "") -> dict[str, str]:
    more = f', ("Location", "{location}")' if location else ""
    text = WSGI.replace("200 OK", status).replace('"application/json")]', f'"text/plain"){more}]')
    return {"demo/wsgi.py": text}


@dataclass(frozen=True)
class Case:
    """A branch's files, the line that tells the cause while the deploy waits, and the first of its end."""

    files: dict[str, str]
    told: str
    first: str = ""  # empty: the deploy is interrupted when the cause is told, as it waits on for minutes
    lacks: dict[str, Any] = field(default_factory=dict)  # what capacity.json says


def database(key: str, value: object) -> dict[str, str]:
    return {"demo/light.py": f"{SETTINGS}DATABASES['default']['{key}'] = {value!r}\n"}


UNHEALTHY = r"and is not healthy: Health checks failed with these codes: \[{}\]"
UNREACHED = "4: CommandError: cannot connect to database"
ENDED = "The container `{}` ended with exit code {}"
CASES = {
    "the program crashes": Case(
        {"demo/wsgi.py": "raise RuntimeError('no way')\n"}, "exit code", ENDED.format("web", "")
    ),
    "a migration fails": Case(
        {"manage.py": "import sys\n\nprint('RuntimeError: no way')\nsys.exit(3)\n"},
        "exit code 3", ENDED.format("startup", "3: RuntimeError: no way"),
    ),
    "the database's name is not known": Case(
        database("HOST", "nowhere.invalid"), "failed to resolve host", ENDED.format("startup", UNREACHED)
    ),
    "the database is not reached": Case(
        database("PORT", "1"), "connection is bad", ENDED.format("startup", UNREACHED)
    ),
    "it is killed for want of memory": Case(
        {"demo/wsgi.py": "import os\n\nos.kill(os.getppid(), 9)\n"},
        "exit code 137", ENDED.format("web", "137"),
    ),
    "the page answers 500": Case(page("500 Internal Server Error"), UNHEALTHY.format(500)),
    "ALLOWED_HOSTS refuses the health check": Case(page("400 Bad Request"), UNHEALTHY.format(400)),
    "the health check is redirected": Case(
        page("301 Moved Permanently", "https://example.org/"), UNHEALTHY.format(301)
    ),
    "no page at the health check's path": Case(page("404 Not Found"), UNHEALTHY.format(404)),
    "the server listens on another port": Case(
        {"Dockerfile": (ROOT / "Dockerfile").read_text().replace("0.0.0.0:8000", "0.0.0.0:8080")},
        "the server listens on port 8080",
    ),
    "no room on Spot": Case(
        {"note.txt": "spot"}, "ECS places no task: .*Capacity is unavailable",
        lacks={"capacity": {"FARGATE_SPOT": 0}},
    ),
    "the account's vCPUs are used up": Case(
        {"note.txt": "quota"}, "ECS places no task: .*limit on the number of vCPUs",
        lacks={"vcpus": {"FARGATE_SPOT": 0.1}},
    ),
    "the subnets have no address left": Case(
        {"note.txt": "addresses"}, "InsufficientFreeAddressesInSubnet",
        "The task stopped: Unexpected EC2 error", lacks={"addresses": 0},
    ),
    "a sidecar ends without an error": Case(
        manifest(sidecars={"redis": {"command": ["true"]}}), "redis.*exit code 0", ENDED.format("redis", "0")
    ),
    "the command is not in the image": Case(
        manifest(command=["no-such-program"]),
        "CannotStartContainerError|exit code 127", "The container `web`",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def sandbox(clone: Clone) -> None:
    clone.stage_megabytes = 5
    clone.do("sandbox")


@pytest.fixture(autouse=True)
def nothing_lacks(clone: Clone) -> Any:
    yield
    capacity(clone)


def capacity(clone: Clone, **lacks: object) -> None:
    (clone.folder / ".sandbox/capacity.json").write_text(json.dumps(lacks))


def first_reason(err: str) -> str:
    """The line after the one that says that the branch was not deployed."""
    return next(after for line, after in itertools.pairwise(err.splitlines()) if "was not deployed" in line)


@pytest.mark.parametrize("cause", CASES)
def test_the_true_cause_is_told_within_ninety_seconds_and_first_at_the_end(clone: Clone, cause: str) -> None:
    case = CASES[cause]
    name = f"fail/{re.sub('[^a-z0-9]+', '-', cause.lower())[:40].strip('-')}"
    clone.branch(name, case.files)
    capacity(clone, **case.lacks)
    begun, seconds, lines = time.monotonic(), None, list[str]()
    process = clone.start("deploy-test", "--branch", name)
    assert process.stderr
    for line in process.stderr:
        lines.append(line)
        if seconds is None and re.search(case.told, line):
            seconds = time.monotonic() - begun
            if not case.first:
                interrupt(process)
    process.communicate(timeout=60)
    err = "".join(lines)
    assert seconds is not None, err
    assert seconds < SOON, err
    assert "\nTraceback" not in err
    if case.first:
        assert process.returncode == 4, err
        assert first_reason(err).startswith(case.first), err
    else:
        assert process.returncode == 130, err


def test_without_room_on_spot_a_deploy_says_so_within_seconds_and_goes_on_demand_where_asked(
    clone: Clone,
) -> None:
    capacity(clone, capacity={"FARGATE_SPOT": 0})
    begun = time.monotonic()
    process = clone.start("deploy-test", "--branch", "main", TEST_CAPACITY="spot-first")
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "ECS places no task" in line:
            break
    assert time.monotonic() - begun < SOON
    out, err = process.communicate(timeout=280)
    said = "".join(lines) + err
    served(Ran(process.returncode, out, said, 0), "main")
    assert "one more try on demand" in said
