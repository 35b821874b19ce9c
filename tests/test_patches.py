from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import patches, runtimes
from scripts.errors import Refused, SettingsError

TODAY = date(2026, 11, 24)
WHERE = "copilot/web/overrides/cfn.patches.yml"
TARGET = runtimes.target()


def runtime(function: str, value: str = TARGET) -> str:
    return f"- op: replace\n  path: /Resources/{function}/Properties/Runtime\n  value: {value}\n"


OTHER = "- op: add\n  path: /Resources/Role/Properties/Tags/-   # ours\n  value: {Key: a, Value: 'b'}\n"


def test_a_project_without_patches_gets_one_for_each_function() -> None:
    after = patches.edited("", ["B", "A"], WHERE, TODAY)
    assert after.endswith(runtime("B") + runtime("A"))
    assert after.startswith("# Copilot names Lambda runtimes")


def test_patches_that_are_exact_stay_as_they_are_to_the_byte() -> None:
    text = "# why\n" + runtime("A") + "\n# and\n" + OTHER + runtime("B", "'nodejs22.x'  # still supported")
    assert patches.edited(text, ["A", "B"], WHERE, TODAY) == text


def test_a_runtime_of_yesterday_is_raised_in_its_place_whatever_its_form() -> None:
    text = (
        runtime("A", '"nodejs20.x"   # old')
        + "- {op: add, path: /Resources/B/Properties/Runtime, value: nodejs18.x}\n"
    )
    assert patches.edited(text, ["A", "B"], WHERE, TODAY) == text.replace("nodejs20.x", TARGET).replace(
        "nodejs18.x", TARGET
    )


def test_a_patch_for_a_function_that_is_not_there_goes_and_its_neighbours_comments_stay() -> None:
    text = "# first\n" + runtime("Gone") + "\n# of the other\n" + OTHER + runtime("A")
    assert patches.edited(text, ["A"], WHERE, TODAY) == "# first\n\n# of the other\n" + OTHER + runtime("A")


def test_the_same_function_twice_is_patched_once() -> None:
    assert patches.edited(runtime("A") + runtime("A"), ["A"], WHERE, TODAY) == runtime("A")


def test_line_ends_and_a_missing_last_one_are_kept_or_mended() -> None:
    crlf = OTHER.replace("\n", "\r\n")
    assert patches.edited(crlf, ["A"], WHERE, TODAY) == crlf + runtime("A").replace("\n", "\r\n")
    assert patches.edited(OTHER.rstrip("\n"), ["A"], WHERE, TODAY) == OTHER + runtime("A")


def test_an_empty_list_and_a_file_of_comments_take_patches() -> None:
    assert patches.edited("# none yet\n[]\n", ["A"], WHERE, TODAY) == "# none yet\n" + runtime("A")
    assert patches.edited("# none yet\n", ["A"], WHERE, TODAY) == "# none yet\n" + runtime("A")


def test_a_form_that_cannot_be_edited_is_refused_and_named() -> None:
    flow = "[{op: replace, path: /Resources/Gone/Properties/Runtime, value: x}, {op: remove, path: /A}]\n"
    with pytest.raises(Refused, match="cannot be edited safely"):
        patches.edited(flow, ["A"], WHERE, TODAY)


@pytest.mark.parametrize(
    "text", ["op: add\n", "- just text\n", "- [", "{", "- {op: add, path: 2026-99-99}\n"]
)
def test_a_file_that_is_no_list_of_patches_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SettingsError, match=r"cfn\.patches\.yml"):
        patches.edited(text, ["A"], WHERE, TODAY)


@given(
    st.lists(
        st.sampled_from(
            [
                OTHER,
                "# a comment\n",
                "\n",
                runtime("A"),
                runtime("B", "nodejs18.x"),
                runtime("C", "'nodejs22.x'"),
                runtime("D") + "\n  # below\n",
            ]
        ),
        max_size=9,
    ),
    st.lists(st.sampled_from("ABCDE"), unique=True),
)
def test_whatever_stood_there_the_result_is_exact_and_the_rest_unchanged(
    pieces: list[str], functions: list[str]
) -> None:
    text = "".join(pieces)
    after = patches.edited(text, functions, WHERE, TODAY)
    found = patches.read(after, WHERE)
    assert sorted(patch.function for patch in found if patch.function) == sorted(functions)
    assert all(not runtimes.wrong_with(str(patch.value), TODAY) for patch in found if patch.function)
    assert after.count(OTHER) == text.count(OTHER)
    assert after.count("# a comment\n") == text.count("# a comment\n")
    assert patches.edited(after, functions, WHERE, TODAY) == after
