from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from copilot_testenv.core import files
from copilot_testenv.core.errors import Failed, Refused


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_new_file_gets_its_folders_and_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a/b.yml", "one\r\n", tmp_path, expected="")
    finally:
        os.umask(before)
    assert (tmp_path / "a/b.yml").read_bytes() == b"one\r\n"
    assert stat.S_IMODE((tmp_path / "a/b.yml").stat().st_mode) == 0o640
    assert names(tmp_path / "a") == ["b.yml"]


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_text("old")
    file.chmod(0o755)
    files.write(file, "new", tmp_path, expected="old")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


@pytest.mark.parametrize("held", ["theirs", None])
def test_a_file_that_was_changed_or_deleted_meanwhile_is_left_alone(tmp_path: Path, held: str | None) -> None:
    file = tmp_path / "a.yml"
    if held is not None:
        file.write_text(held)
    with pytest.raises(Refused, match=r"a\.yml was changed meanwhile"):
        files.write(file, "new", tmp_path, expected="old")
    assert names(tmp_path) == ([] if held is None else ["a.yml"])
    assert held is None or file.read_text() == held


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("of", ["folder", "file", "nothing"])
def test_nothing_is_written_through_a_link(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, of: str, *, inside: bool
) -> None:
    elsewhere = (tmp_path if inside else tmp_path_factory.mktemp("outside")) / "shared"
    elsewhere.mkdir()
    (elsewhere / "a.yml").write_text("theirs")
    way = tmp_path / "copilot/overrides"
    (tmp_path / "copilot").mkdir()
    if of == "folder":
        way.symlink_to(elsewhere)
    else:
        way.mkdir()
        (way / "a.yml").symlink_to(elsewhere / ("a.yml" if of == "file" else "none.yml"))
    with pytest.raises(Refused, match="nothing is written through links"):
        files.write(way / "a.yml", "ours", tmp_path)
    assert names(elsewhere) == ["a.yml"]
    assert (elsewhere / "a.yml").read_text() == "theirs"


def test_a_way_that_leads_up_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="leads elsewhere"):
        files.own(tmp_path / "root/../a.yml", tmp_path)


def test_a_link_to_the_root_itself_is_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to("real")
    files.write(tmp_path / "root/a.yml", "ours", tmp_path / "root")
    assert (tmp_path / "real/a.yml").read_text() == "ours"


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yml").mkdir()
    with pytest.raises(Refused, match=r"a\.yml is not a file"):
        files.write(tmp_path / "a.yml", "ours", tmp_path)


def test_a_file_in_a_folders_place_fails_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("theirs")
    with pytest.raises(Failed, match=r"a/b\.yml could not be written"):
        files.write(tmp_path / "a/b.yml", "ours", tmp_path)
    assert names(tmp_path) == ["a"]
