"""Each benchmark runs through at its smallest size; what it measures is looked at by a person."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_images import NO_ENGINE
from tests.sources import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.nightly]


@pytest.mark.parametrize(
    "words",
    [
        ("deploy", "--smoke"),
        ("check", "--smoke"),
        ("copy", "--sizes", "0.01", "--runs", "1"),
        pytest.param(
            ("engine", "--smoke"),
            marks=NO_ENGINE,
        ),
    ],
    ids=lambda words: words[0],
)
def test_a_benchmark_runs_through(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1])
    (ROOT / f"bench-{words[0]}.json").rename(tmp_path / "result.json")
