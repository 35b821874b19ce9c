from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.images.dockerfile import (
    DockerfileError,
    assignments,
    expand,
    instructions,
    parse,
    split_words,
)


def test_continuation_lines_are_joined_and_comments_between_them_left_out() -> None:
    (step,) = instructions("RUN a \\\n  # why\n\n  && b\n")

    assert step.text.split() == ["a", "&&", "b"]
    assert step.line == 1


def test_another_escape_character_is_named_by_a_directive() -> None:
    steps = instructions("# escape=`\nFROM x\nRUN a `\n b\nENV P=C:\\dir\n")

    assert steps[1].text.split() == ["a", "b"]
    assert assignments(steps[2], {}) == [("P", "C:\\dir")]


def test_a_comment_ends_the_directives() -> None:
    assert instructions("# a comment\n# escape=`\nFROM x\\\n:1\n")[0].text == "x:1"


def test_stages_have_names_and_numbers() -> None:
    stages = parse("ARG V=1\nFROM a:$V AS Builder\nFROM --platform=linux/amd64 b\n").stages

    assert [(stage.name, stage.base) for stage in stages] == [("builder", "a:$V"), ("1", "b")]


def test_flags_are_taken_off_the_words() -> None:
    (_, step) = instructions('FROM x\nCOPY --from=b --chown=1:2 --link ["a b", "/c"]\n')

    assert step.flags == (("from", "b"), ("chown", "1:2"), ("link", ""))
    assert step.words({}) == ["a b", "/c"]


def test_a_healthcheck_and_a_command_keep_their_own_flags() -> None:
    (_, check, command) = instructions("FROM x\nHEALTHCHECK --interval=5s CMD true\nCMD --help\n")

    assert check.flag("interval") == "5s"
    assert command.text == "--help"


def test_heredocs_are_taken_in() -> None:
    (_, step, after) = instructions("FROM x\nCOPY <<-EOF <<'RAW' /to/\n\ta $V\n\tEOF\nb $V\nRAW\nUSER me\n")

    assert [(each.name, each.text, each.expand) for each in step.heredocs] == [
        ("EOF", "a $V\n", True),
        ("RAW", "b $V\n", False),
    ]
    assert (after.keyword, after.line) == ("USER", 7)


# https://docs.docker.com/reference/dockerfile/#environment-replacement
@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$A", "1"),
        ("${A}x", "1x"),
        ("$AB", ""),
        ("${A:-d}", "1"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO:-${A}2}", "12"),
        ("${A:+there}", "there"),
        ("${NO:+there}", ""),
        ("${A:?why}", "1"),
        (r"\$A", "$A"),
        ("'$A'", "$A"),
        ('"$A b"', "1 b"),
        (r'"a\"b\c"', r'a"b\c'),
        ("$", "$"),
    ],
)
def test_a_word_is_expanded_as_docker_does(word: str, value: str) -> None:
    assert expand(word, {"A": "1", "EMPTY": ""}) == value


@pytest.mark.parametrize("word", ["${A", "${}", "${A~x}", "${NO:?it is needed}", "${A:-" * 2000])
def test_a_substitution_that_docker_refuses_is_refused(word: str) -> None:
    with pytest.raises(DockerfileError):
        expand(word, {"A": "1"})


def test_env_takes_pairs_or_the_old_form() -> None:
    (_, pairs, old) = instructions('FROM x\nENV A=1 B="two words" C=a\\ b\nENV D all the rest\n')

    assert assignments(pairs, {}) == [("A", "1"), ("B", "two words"), ("C", "a b")]
    assert assignments(old, {}) == [("D", "all the rest")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no FROM"),
        ("RUN x\n", "no build stage"),
        ("FROM x\nRUNN y\n", "line 2: unknown instruction: RUNN"),
        ("FROM x\nCOPY\n", "line 2: COPY requires at least one argument"),
        ("FROM x y\n", "FROM image AS name"),
        ("FROM x\nRUN <<EOF\nnever closed\n", "unterminated heredoc"),
        ("# escape=x\nFROM x\n", "invalid escape token"),
    ],
)
def test_what_docker_refuses_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(DockerfileError, match=why):
        parse(text)


WORDS = st.sampled_from(
    [
        *"a={}$\"'\\\n \t#[],`",
        "FROM ",
        "RUN ",
        "COPY ",
        "ENV ",
        "ARG ",
        ":-",
        "<<E",
        "--from=",
        "escape",
        "\r\n",
    ]
)


@given(st.lists(WORDS, max_size=30).map("".join))
def test_no_text_ends_in_another_error_than_its_own(text: str) -> None:
    try:
        for stage in parse(text).stages:
            for step in stage.instructions:
                step.words({"a": "b"})
                assignments(step, {})
    except DockerfileError as error:
        assert str(error)  # noqa: PT017 - any text may be wrong, or may not


@given(st.lists(st.text(alphabet="abc$=", min_size=1), max_size=5))
def test_words_are_what_stands_between_blanks(words: list[str]) -> None:
    assert split_words("  ".join(words)) == words
