from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import document
from copilot_testenv.check.document import Document
from copilot_testenv.core.errors import SettingsError

TEXT = """\
name: web
shared: &shared
  LOG: info
sidecars:
  redis: {image: redis, port: 6379}
rules:
  - path: /a
  - path: /b
environments:
  test:
    variables:
      <<: *shared
      HERE: yes
"""


@pytest.fixture
def found(tmp_path: Path) -> Document:
    (tmp_path / "manifest.yml").write_text(TEXT)
    return document.read(tmp_path / "manifest.yml", tmp_path)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ((), 1),
        (("name",), 1),
        (("sidecars", "redis", "port"), 5),
        (("rules", 1, "path"), 8),
        (("environments", "test", "variables", "HERE"), 13),
        (("environments", "test", "variables", "LOG"), 3),
        (("sidecars", "redis", "missing", "deeper"), 5),
        (("nowhere",), 1),
        (("rules", 9), 6),
    ],
)
def test_keys_lead_to_their_line_or_to_the_last_one_there_is(
    found: Document, keys: tuple[str | int, ...], line: int
) -> None:
    assert found.line(*keys) == line


def test_what_is_not_there_is_none(found: Document) -> None:
    assert found.get("rules", 1, "path") == "/b"
    assert found.get("rules", 9) is None
    assert found.get("name", "deeper") is None
    assert found.get("environments", "test", "variables", "LOG") == "info"


def test_an_environments_value_is_below_its_block_where_it_is_there(found: Document) -> None:
    assert found.nearest("test", "variables") == ("environments", "test", "variables")
    assert found.nearest("test", "sidecars", "redis") == ("sidecars", "redis")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a list", b"a: [", b"when: 2026-99-99", b"[" * 5000])
def test_a_file_that_is_no_mapping_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.yml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"manifest\.yml"):
        document.read(tmp_path / "manifest.yml", tmp_path)
