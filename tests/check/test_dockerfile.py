from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import dockerfile
from copilot_testenv.check.dockerfile import Start


def words(start: Start | None) -> list[tuple[str, ...]]:
    return [simple.own for simple in start.simples] if start else []


@pytest.mark.parametrize(
    ("text", "target", "entry_point", "command"),
    [
        ('FROM a\nCMD ["x", "y z"]\n', "", [], [("x", "y z")]),
        ("FROM a\nENTRYPOINT exec x && y\n", "", [("x",), ("y",)], []),
        ('FROM a\nCMD ["x"]\nENTRYPOINT ["e"]\n', "", [("e",)], [("x",)]),
        ('FROM a AS base\nCMD ["x"]\nFROM base\nENTRYPOINT ["e"]\n', "", [("e",)], []),
        ("FROM a AS base\nCMD x\nFROM base\nUSER u\n", "", [], [("x",)]),
        ("FROM a AS base\nCMD x\nFROM b\n", "", [], []),
        ("FROM --platform=p a AS One\nCMD x\nFROM b AS two\nCMD y\n", "one", [], [("x",)]),
        ("from a\ncmd x \\\n# a comment\n  y\n", "", [], [("x", "y")]),
        ("FROM a\n# CMD x\nRUN CMD x\n", "", [], []),
        ("FROM a\nCMD [x\nCMD", "", [], [("[x",)]),
        ("", "", [], []),
    ],
)
def test_the_last_stage_or_the_target_says_what_is_started(
    text: str, target: str, entry_point: list[tuple[str, ...]], command: list[tuple[str, ...]]
) -> None:
    found = dockerfile.starts(text, target)
    assert (words(found.entry_point), words(found.command)) == (entry_point, command)


def test_only_a_text_of_modest_size_in_the_repository_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "large").write_text("x" * (dockerfile.LARGEST + 1))
    (root / "bytes").write_bytes(b"a\0b")
    (root / "latin").write_bytes(b"\xe4")
    (root / "fine").write_text("FROM a\n")
    for path in ("link", "../outside", "large", "bytes", "latin", "missing", ".", "a\0b", str(tmp_path)):
        assert dockerfile.text_of(root, path) is None, path
    assert dockerfile.text_of(root, "fine") == "FROM a\n"
