"""Deploys that cannot succeed, with the real Copilot: the true cause is the first line after the summary.

tests/deploys/test_causes.py has all causes, by what AWS answers.
"""

from __future__ import annotations

import itertools
import json
import time

import pytest

from tests.clone import Clone, Ran
from tests.e2e.looks import served, told

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]
LIGHT = True
CASES = {
    "it crashes": (
        {"demo/wsgi.py": "raise RuntimeError('no way')\n"},
        "The container `web` ended with exit code",
    ),
    "its migration fails": (
        {"manage.py": "import sys\n\nprint('RuntimeError: no way')\nsys.exit(3)\n"},
        "The container `startup` ended with exit code 3: RuntimeError: no way",
    ),
}


@pytest.fixture(scope="module", autouse=True)
def sandbox(clone: Clone) -> None:
    clone.stage_megabytes = 5
    clone.do("sandbox")


def first_reason(ran: Ran) -> str:
    """The line after the one that says that the branch was not deployed."""
    lines = ran.err.splitlines()
    return next(after for line, after in itertools.pairwise(lines) if "was not deployed" in line)


@pytest.mark.parametrize("case", CASES)
def test_the_first_line_of_a_failed_deploy_is_its_true_cause(clone: Clone, case: str) -> None:
    files, first = CASES[case]
    name = f"fail/{case.replace(' ', '-')}"
    clone.branch(name, files)
    ran = clone.invoke("deploy-test", "--branch", name)
    told(ran, 4, "was not deployed")
    assert first_reason(ran).startswith(first)


def capacity(clone: Clone, **lacks: object) -> None:
    (clone.folder / ".sandbox/capacity.json").write_text(json.dumps(lacks))


def test_full_subnets_are_told(clone: Clone) -> None:
    capacity(clone, addresses=0)
    ran = clone.invoke("deploy-test", "--branch", "main")
    assert "InsufficientFreeAddressesInSubnet" in first_reason(ran)
    told(ran, 4, "have no address left")
    capacity(clone)


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
    assert time.monotonic() - begun < 90
    out, err = process.communicate(timeout=280)
    said = "".join(lines) + err
    served(Ran(process.returncode, out, said, 0), "main")
    assert "one more try on demand" in said
    capacity(clone)
