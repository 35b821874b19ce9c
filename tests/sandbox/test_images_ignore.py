from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.images.ignore import Ignore, IgnoreError, read_ignore


def left_out(text: str, *paths: str) -> list[str]:
    ignored = Ignore(text)
    return [path for path in paths if ignored(path)]


# The rows of https://docs.docker.com/build/concepts/context/#syntax
@pytest.mark.parametrize(
    ("pattern", "out", "kept"),
    [
        ("*/temp*", ["somedir/temporary.txt", "somedir/temp"], ["temp", "a/b/temp"]),
        ("*/*/temp*", ["somedir/subdir/temporary.txt"], ["somedir/temp"]),
        ("temp?", ["tempa", "tempb"], ["temp", "tempab"]),
        ("**/*.go", ["a.go", "deep/down/a.go"], ["a.gox"]),
        ("foo/bar", ["foo/bar", "foo/bar/below"], ["foo/barn", "x/foo/bar"]),
        ("/foo/bar", ["foo/bar"], ["x/foo/bar"]),
        ("foo/", ["foo", "foo/a"], ["food"]),
        ("foo/**", ["foo/a", "foo/a/b"], ["foo", "food/a"]),
        ("**/node_modules", ["node_modules/x", "a/node_modules/x/y"], ["a/node_modules2"]),
        ("a/../b", ["b"], ["a"]),
        ("[a-c]x", ["ax", "cx/below"], ["dx"]),
        ("[^a]x", ["bx"], ["ax", "/x"]),
        ("a.c+", ["a.c+"], ["abc+", "a.cc"]),
        (r"\*x", ["*x"], ["ax"]),
        ("[&&a]x", ["&x", "ax"], ["bx"]),
        ("  spaced  ", ["spaced"], []),
        ("# a comment", [], ["# a comment"]),
    ],
)
def test_a_pattern_matches_what_docker_documents(pattern: str, out: list[str], kept: list[str]) -> None:
    assert left_out(pattern, *out, *kept) == out


def test_the_last_pattern_that_matches_wins() -> None:
    text = "*.md\n!README*.md\nREADME-secret.md"

    assert left_out(text, "a.md", "README.md", "README-secret.md") == ["a.md", "README-secret.md"]


def test_a_part_of_a_left_out_folder_is_taken_in_again() -> None:
    assert left_out("*\n!demo", "demo/a/b.py", "other.py", "demo") == ["other.py"]


@pytest.mark.parametrize(
    ("pattern", "folder", "answer"),
    [
        ("!demo/a", "demo", True),
        ("!demo", "demo/deep", True),
        ("!demo", "other", False),
        ("!**/a", "other", True),
        ("!de*/a", "demo", True),
        ("demo/a", "demo", False),
    ],
)
def test_a_left_out_folder_is_looked_into_only_where_a_rule_may_take_a_part_in_again(
    pattern: str, folder: str, *, answer: bool
) -> None:
    assert Ignore(f"*\n{pattern}").keeps_below(folder) == answer


@given(st.text(alphabet="ab/*?", min_size=1), st.lists(st.sampled_from("ab"), min_size=2, max_size=4))
def test_nothing_that_is_taken_in_again_lies_in_a_folder_that_is_not_looked_into(
    pattern: str, names: list[str]
) -> None:
    ignore = Ignore(f"*\n!{pattern}")
    path = "/".join(names)

    assert ignore(path) or all(
        not ignore(above) or ignore.keeps_below(above)
        for above in ("/".join(names[:count]) for count in range(1, len(names)))
    )


def test_the_dockerfiles_own_ignore_file_is_read_instead_of_the_contexts(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("a")
    (tmp_path / "web.Dockerfile.dockerignore").write_text("b")

    assert read_ignore(tmp_path, tmp_path / "Dockerfile")("a")
    assert not read_ignore(tmp_path, tmp_path / "web.Dockerfile")("a")
    assert read_ignore(tmp_path, tmp_path / "web.Dockerfile")("b")


@pytest.mark.parametrize("text", ["!", "ok\n! ", "[a", "[?--]"])
def test_a_pattern_that_docker_refuses_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(IgnoreError, match="line"):
        Ignore(text)


@given(st.text(alphabet="ab/*?[]^!-\\. #\n"), st.text(alphabet="ab/.-", min_size=1))
def test_no_text_ends_in_another_error_than_its_own(text: str, path: str) -> None:
    try:
        ignored = Ignore(text)
    except IgnoreError:
        return
    assert ignored(path) in (True, False)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_what_lies_below_a_left_out_path_is_left_out(names: list[str]) -> None:
    path = "/".join(names)

    assert left_out(path, path, f"{path}/below") == [path, f"{path}/below"]
