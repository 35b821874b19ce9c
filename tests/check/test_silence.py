from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.check import silence
from copilot_testenv.check.finding import Finding

FILE = "copilot/web/manifest.yml"


def finding(
    line: int, rule: str = "limit", what: str = "AWS takes no `31` for `logging.retention`"
) -> Finding:
    return Finding(FILE, line, rule, "error", what, "write `30`")


def told(root: Path, text: str, *found: Finding) -> list[tuple[int, str]]:
    (root / FILE).parent.mkdir(parents=True, exist_ok=True)
    (root / FILE).write_text(text)
    return [(one.line, one.rule) for one in silence.finish(root, found)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n", [(1, "limit")]),
        ("a: 1  # check: ignore[limit] our account has a quota\n", []),
        ("a: 1  # check: ignore[size, limit] our account has a quota\n", []),
        ("a: 1  # check: ignore[size] our account has a quota\n", [(1, "limit")]),
        ("a: 1  # check: ignore[limit]\n", [(1, "ignore"), (1, "limit")]),
    ],
)
def test_a_comment_with_a_reason_silences_its_rule_in_its_line(
    tmp_path: Path, text: str, expected: list[tuple[int, str]]
) -> None:
    assert told(tmp_path, text, finding(1)) == expected


def test_a_comment_alone_in_a_line_is_about_the_next(tmp_path: Path) -> None:
    text = "# check: ignore[limit] our account has a quota\na: 1\nb: 1\n"
    assert told(tmp_path, text, finding(2), finding(3)) == [(3, "limit")]


def test_the_column_is_that_of_the_key_which_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_text("logging: {retention: 31}\n  - {name: a}\n")
    first, second = silence.finish(
        tmp_path, [finding(1, what="no `31` for `retention`"), finding(2, what="x")]
    )
    assert (first.column, second.column) == (11, 5)


def test_findings_of_one_cause_are_one_with_their_number(tmp_path: Path) -> None:
    many = [finding(number, "lacks", f"startup lacks the secret KEY_{number}") for number in range(1, 41)]
    few = [finding(50 + number, "lacks", f"worker lacks the secret KEY_{number}") for number in range(2)]
    found = silence.finish(tmp_path, [*many, *few])
    assert [one.what for one in found] == [
        "startup lacks the secret KEY_1 (and 39 more like it, to line 40)",
        "worker lacks the secret KEY_0",
        "worker lacks the secret KEY_1",
    ]


def test_copilots_verdict_is_left_out_where_a_rule_tells_the_cause(tmp_path: Path) -> None:
    assert told(tmp_path, "a: 1\n", finding(1, "copilot", "no"), finding(1)) == [(1, "limit")]
    assert told(tmp_path, "a: 1\n", finding(1, "copilot", "no")) == [(1, "copilot")]
