from __future__ import annotations

import pytest

from copilot_testenv.check.shell_text import Simple, commands, of_words


def words(text: str) -> list[tuple[str, ...]]:
    return [simple.own for simple in commands(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b && c; d | e &\n(f)", [("a", "b"), ("c",), ("d",), ("e",), ("f",)]),
        ("""a 'b c' "d \\"e\\"" f\\ g""", [("a", "b c", 'd "e"', "f g")]),
        ("a \\\n  b # c\n# d\ne#f", [("a", "b"), ("e#f",)]),
        ("X=1 Y='2 3' exec a", [("a",)]),
        ("if a; then b; fi", [("a",), ("b",), ("fi",)]),
        ("sh -c 'a; b' && c", [("a",), ("b",), ("c",)]),
        ("""bash -ec "sh -c 'a b && c'" """, [("a", "b"), ("c",)]),
        ("su app -c 'a b'", [("a", "b")]),
        ("echo -c 'a b'", [("echo", "-c", "a b")]),
        ("it's unbalanced", [("it's", "unbalanced")]),
        ("", []),
        ("X=1", [()]),
    ],
)
def test_a_text_is_taken_apart_as_a_shell_would(text: str, expected: list[tuple[str, ...]]) -> None:
    assert words(text) == expected


def test_each_command_knows_its_line_and_what_it_reads() -> None:
    text = "a \\\n b\n\nc 'd\ne' | f\nsh -c '\ng'\n"
    assert [(simple.words, simple.line, simple.piped) for simple in commands(text)] == [
        (("a", "b"), 1, False),
        (("c", "d\ne"), 4, False),
        (("f",), 5, True),
        (("g",), 7, False),
    ]


def test_a_list_of_words_is_read_by_no_shell_unless_it_names_one() -> None:
    assert of_words(("a", "b; c")) == [Simple(("a", "b; c"))]
    assert [simple.words for simple in of_words(("sh", "-c", "a; b"))] == [("a",), ("b",)]
    assert of_words(()) == []


def test_the_program_is_named_without_its_folder_and_python() -> None:
    assert [simple.program for simple in commands("/usr/bin/env X=1 ./bin/a\npython3 -m celery\n''")] == [
        "a",
        "celery",
        "",
    ]


def test_a_hostile_text_is_taken_apart_in_time() -> None:
    deep = "a"
    for _ in range(12):
        deep = f"sh -c '{deep} b'"
    assert commands(deep)
    assert commands("'\"\\" * 20_000)
    assert commands("a" * 200_000)
    assert len(commands("sh -c " * 20_000)) == 1
