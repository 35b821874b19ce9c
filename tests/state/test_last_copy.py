from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest

from copilot_testenv.core.settings import Settings
from copilot_testenv.state import last_copy

EARLY, LATE = "2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"


def test_nothing_is_known_where_nothing_was_copied(settings: Settings) -> None:
    assert last_copy.seconds(settings) is None


def test_the_last_copy_counts_whatever_is_looked_at_later(settings: Settings) -> None:
    last_copy.keep(settings, LATE, 20.0, print)
    last_copy.keep(settings, EARLY, 90.0, print)
    assert last_copy.seconds(settings) == 20.0


def test_of_both_targets_the_longer_copy_counts_and_every_branchs_is_the_services(
    settings: Settings,
) -> None:
    last_copy.keep(settings, LATE, 20.0, print)
    isolated = replace(settings.isolated_for("feature-x"), target="aws")
    last_copy.keep(isolated, EARLY, 300.5, print)
    assert last_copy.seconds(settings) == last_copy.seconds(isolated) == 300.5
    assert last_copy.seconds(replace(settings, service="api")) is None


def test_git_does_not_see_the_note_and_nobody_else_may_read_it(settings: Settings) -> None:
    last_copy.keep(settings, LATE, 20.0, print)
    folder = settings.root / ".sandbox"
    assert (folder / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(file.name for file in folder.iterdir()) == [".gitignore", "last-copy.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"web test sandbox": 3}', '{"web test sandbox": {"seconds": "1"}}']
)
def test_a_note_that_is_none_is_passed_over_and_written_anew(settings: Settings, text: str) -> None:
    (settings.root / ".sandbox").mkdir()
    file = settings.root / ".sandbox/last-copy.json"
    file.write_text(text)
    assert last_copy.seconds(settings) is None
    last_copy.keep(settings, LATE, 20.0, print)
    assert json.loads(file.read_text()) == {"web test sandbox": {"of": LATE, "seconds": 20.0}}


def test_a_note_that_cannot_be_written_is_only_said(settings: Settings) -> None:
    (settings.root / ".sandbox").write_text("in the way")
    said: list[str] = []
    last_copy.keep(settings, LATE, 20.0, said.append)
    assert "could not be saved for `check`" in said[0]


@pytest.mark.parametrize("linked", [".sandbox", ".sandbox/last-copy.json", ".sandbox/.gitignore"])
def test_a_note_is_not_written_through_a_link(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, linked: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "theirs").write_text("theirs")
    place = settings.root / linked
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside if linked == ".sandbox" else outside / "theirs")
    said: list[str] = []
    last_copy.keep(settings, LATE, 20.0, said.append)
    assert "leads elsewhere" in said[0]
    assert [(file.name, file.read_text()) for file in outside.iterdir()] == [("theirs", "theirs")]
