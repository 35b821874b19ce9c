from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from copilot_testenv.core import scratch
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.scratch import Scratch

HOLD = (
    "import sys, time; from pathlib import Path; from copilot_testenv.core.scratch import Scratch\n"
    "with Scratch(Path(sys.argv[1])).folder('held-') as folder:\n"
    "    (folder / 'file').touch(); print(folder, flush=True); time.sleep(60)"
)


def hold(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process of its own with a folder."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(parent)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    return holder, Path(holder.stdout.readline().strip())


def end(holder: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    holder.send_signal(number)
    holder.communicate(timeout=10)


def test_a_folder_goes_with_its_block(tmp_path: Path) -> None:
    with suppress(RuntimeError), Scratch(tmp_path).folder("mine-") as folder:
        assert folder.name.startswith("mine-")
        raise RuntimeError
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


def test_a_killed_runs_folder_goes_with_the_next_one_and_a_running_ones_stays(tmp_path: Path) -> None:
    living, kept = hold(tmp_path)
    killed, left = hold(tmp_path)
    end(killed)
    try:
        assert Scratch(tmp_path).abandoned() == [left]
        with Scratch(tmp_path).folder("mine-"):
            assert not left.exists()
            assert (kept / "file").exists()
    finally:
        end(living)
    with Scratch(tmp_path).alone():
        assert Scratch(tmp_path).clear() == [kept]
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]


def test_a_folder_of_an_earlier_version_goes_after_a_day(tmp_path: Path) -> None:
    fresh, old = tmp_path / "fresh", tmp_path / "old"
    fresh.mkdir()
    old.mkdir()
    yesterday = time.time() - scratch.UNKNOWN_SECONDS - 60
    os.utime(old, (yesterday, yesterday))
    with Scratch(tmp_path).alone():
        assert Scratch(tmp_path).clear() == [old]
    assert fresh.exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim, parent = tmp_path / "victim", tmp_path / "parent"
    victim.mkdir()
    parent.mkdir()
    (victim / "file").touch()
    (parent / "link").symlink_to(victim)
    (parent / "link.lock").touch()
    with Scratch(parent).alone():
        assert Scratch(parent).clear() == []
    assert (victim / "file").exists()


def test_waiting_for_another_run_ends_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "WAIT_SECONDS", 0.1)
    with (
        Scratch(tmp_path).alone(),
        pytest.raises(Failed, match=r"held the folders in .* for 0 s .*try again"),
        Scratch(tmp_path).folder("mine-"),
    ):
        pass


def test_temporary_folders_are_this_users_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch.temporary("rendering-") as folder:
        parent = folder.parent
        assert parent.parent == tmp_path
        assert parent.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    killed, left = hold(parent)
    end(killed)
    scratch.clear_temporaries()
    assert not left.exists()


def test_a_parent_that_others_may_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    parent = tmp_path / f"copilot-testenv-{os.geteuid()}"
    parent.mkdir()
    parent.chmod(0o777)
    with scratch.temporary("rendering-") as folder:
        assert folder.parent == tmp_path
    scratch.clear_temporaries()
