from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from copilot_testenv.core import cache


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def age(entry: Path, days: int) -> None:
    entry.touch()
    os.utime(entry, (time.time() - days * 86400,) * 2)


def test_what_was_used_within_a_month_stays_and_the_rest_goes(tmp_path: Path) -> None:
    kept = cache.folder("things")
    (kept / "old").mkdir()
    for name, days in (("old", 31), ("older", 60), ("used", 31), ("new", 29)):
        age(kept / name, days)
    assert cache.use(kept / "used")
    assert not cache.use(kept / "missing")
    assert {each.name for each in cache.folder("things").iterdir()} == {"used", "new"}
    assert kept == tmp_path / "copilot-testenv/things"


def test_a_kind_has_a_bound_and_what_was_used_last_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST", 2)
    kept = cache.folder("things")
    for days in range(4):
        age(kept / f"{days}", days)
    assert {each.name for each in cache.folder("things").iterdir()} == {"0", "1"}


def test_a_folder_that_others_may_write_to_is_not_taken() -> None:
    cache.folder("things").chmod(0o777)
    with pytest.raises(PermissionError, match="alone"):
        cache.folder("things")


def test_a_link_is_not_followed(home: Path) -> None:
    (home / "elsewhere").mkdir()
    (home / "copilot-testenv").symlink_to(home / "elsewhere")
    with pytest.raises(PermissionError):
        cache.folder("things")
    assert list((home / "elsewhere").iterdir()) == []


def test_a_path_that_is_not_absolute_is_ignored(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(home))
    assert cache.folder("things") == home / ".cache/copilot-testenv/things"
