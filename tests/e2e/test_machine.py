"""On a machine that lacks what the sandbox would use, that is said with its cost, and a branch is served."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clone import Clone, get
from tests.e2e.looks import deployed

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.nightly,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("setpriv"), reason="setpriv takes root's rights away"
    ),
]


class Poor(Clone):
    """A clone whose commands may make no namespaces."""

    containers = "auto"

    def start(self, *words: str, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-m", "invoke", *words],
            cwd=self.folder, env=self.environ(**more), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    made = Poor(tmp_path, is_light=True)
    made.stage_megabytes = 1
    yield made
    made.stop()


def test_without_namespaces_a_branch_is_served_and_what_is_missing_is_said(clone: Clone) -> None:
    started = clone.do("sandbox").err.splitlines()
    for begins, cost in (
        (
            "containers run as processes of this machine, without an engine: ",
            "CPU and memory are not limited",
        ),
        ("a branch that is deployed here is built and run on this machine with your rights", "run by hand"),
        ("tasks have no network of their own", "reaches no embedded AWS"),
    ):
        (line,) = (each for each in started if each.startswith(f"  sandbox: {begins}"))
        assert cost in line
    url = deployed(clone.invoke("deploy-test", "--branch", "main"))
    assert get(url)[0] == 200
    clone.do("teardown", "--yes")
