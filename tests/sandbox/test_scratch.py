"""Temporary folders of the sandbox: whoever comes next takes away what a killed process has left."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from copilot_sandbox import scratch

HOLD = (
    "import time\n"
    "from copilot_sandbox import scratch\n"
    "with scratch.temporary('one-') as folder:\n    print(folder, flush=True); time.sleep(60)"
)


@pytest.fixture
def temporaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def hold() -> tuple[subprocess.Popen[str], Path]:
    running = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert running.stdout
    return running, Path(running.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_running_one_has_stays(temporaries: Path) -> None:
    (killed, left), (running, kept) = hold(), hold()
    assert left.is_relative_to(temporaries)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        scratch.clear_temporaries()
        assert not left.exists()
        assert kept.is_dir()
    finally:
        for each in (killed, running):
            each.kill()
            each.communicate()
    scratch.clear_temporaries()
    assert [each.name for each in kept.parent.iterdir()] == ["lock"]


def test_nothing_behind_a_link_of_that_name_is_removed(temporaries: Path) -> None:
    with scratch.temporary("one-") as folder:
        parent = folder.parent
    parent.joinpath("lock").unlink()
    parent.rmdir()
    elsewhere = temporaries / "elsewhere"
    (elsewhere / "mine").mkdir(parents=True)
    (elsewhere / "mine.lock").touch()
    parent.symlink_to(elsewhere)
    scratch.clear_temporaries()
    assert (elsewhere / "mine").is_dir()
    with scratch.temporary("one-") as folder:
        assert not folder.is_relative_to(elsewhere)
