from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from django_testenv.stage_copy import scratch

HOLD = (
    "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
    "from django_testenv.stage_copy.scratch import scratch\n"
    "with scratch() as folder:\n    print(folder, flush=True); time.sleep(60)"
)


def test_a_killed_copys_folder_goes_with_the_next_copy_and_a_running_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    copies = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, living = (Path(each.stdout.readline().strip()) for each in copies if each.stdout)
    copies[0].kill()
    copies[0].communicate(timeout=10)
    (tmp_path / f"{scratch.PREFIX}of-another-kind").mkdir()
    try:
        with scratch.scratch() as folder:
            assert not killed.exists()
            assert living.exists()
        assert not folder.exists()
    finally:
        copies[1].kill()
        copies[1].communicate(timeout=10)
    assert (tmp_path / f"{scratch.PREFIX}of-another-kind").exists()
