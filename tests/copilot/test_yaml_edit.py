from __future__ import annotations

from itertools import pairwise

import pytest

from copilot_testenv.copilot import yaml_edit
from copilot_testenv.copilot.yaml_edit import ANYTHING
from copilot_testenv.core.errors import Refused, SettingsError

BLOCK = "name: web\nenvironments:\n  test:\n    cpu: 256\n    variables:\n      A: b\n  stage:\n    cpu: 1\n"


def added(text: str, **patch: object) -> str:
    return yaml_edit.add(text, {"environments": {"test": patch}}, "manifest.yml")


def removed(text: str, **patch: object) -> tuple[str, list[yaml_edit.Path]]:
    return yaml_edit.remove(text, {"environments": {"test": patch}}, "manifest.yml", keep=2)


def test_a_key_goes_behind_the_last_one_of_its_mapping() -> None:
    assert added(BLOCK, variables={"C": "d"}) == BLOCK.replace("A: b\n", "A: b\n      C: d\n")


def test_a_missing_mapping_is_made_with_the_indentation_of_its_neighbours() -> None:
    text = BLOCK.replace("  ", "   ")
    assert added(text, image={"depends_on": {"redis": "start"}}) == text.replace(
        "A: b\n", "A: b\n      image:\n         depends_on:\n            redis: start\n"
    )


def test_a_list_is_written_in_one_line_and_a_text_in_quotes_where_it_would_be_read_as_something_else() -> (
    None
):
    after = added(BLOCK, command=["sh", "-c", "a: b"], variables={"PORT": "25", "TLS": "off"})
    assert "    command: [sh, -c, 'a: b']\n" in after
    assert "      PORT: '25'\n      TLS: 'off'\n" in after


def test_in_a_flow_mapping_what_is_added_goes_behind_a_comma() -> None:
    text = "environments: {test: {variables: {A: b } } }\n"
    assert added(text, variables={"C": "d"}) == "environments: {test: {variables: {A: b, C: d } } }\n"


def test_an_environment_that_is_an_empty_flow_mapping_gets_what_is_added_and_is_empty_again() -> None:
    text = "environments: {test: { }}\n"
    after = added(text, variables={"A": "b"})
    assert after == "environments: {test: {variables: {A: b} }}\n"
    assert removed(after, variables={"A": "b"}) == (text, [])


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ("A: other", "environments.test.variables.A exists already (line 5)"),
        ("A:", "environments.test.variables.A exists already, empty (line 5)"),
    ],
)
def test_what_stands_already_is_not_overwritten(there: str, why: str) -> None:
    text = f"environments:\n  test:\n    cpu: 1\n    variables:\n      {there}\n"
    with pytest.raises(Refused) as caught:
        added(text, variables={"A": "b"})
    assert why in str(caught.value)


@pytest.mark.parametrize("empty", ["", " {}", " ~", " # nothing", " []", " text"])
def test_a_mapping_that_stands_empty_or_is_none_is_refused(empty: str) -> None:
    with pytest.raises(Refused, match=r"environments\.test\.variables exists already.*\(line 4\)"):
        added(f"environments:\n  test:\n    cpu: 1\n    variables:{empty}\n", variables={"A": "b"})


def test_what_two_environments_share_is_not_edited_for_one() -> None:
    text = "environments:\n  stage: &shared\n    cpu: 1\n    memory: 2\n  test: *shared\n"
    with pytest.raises(Refused, match=r"anchor `&shared` \(line 2\).*in place of `\*shared`"):
        added(text, variables={"A": "b"})
    with pytest.raises(Refused, match="anchor `&shared`"):
        removed(text, cpu=ANYTHING)


def test_what_two_containers_share_is_edited_once_where_both_get_it() -> None:
    text = "environments:\n  test:\n    variables: &v\n      A: b\n    sidecars: {x: {variables: *v}}\n"
    patch = {"variables": {"C": "d"}, "sidecars": {"x": {"variables": {"C": "d"}}}}
    after = added(text, **patch)
    assert after == text.replace("A: b\n", "A: b\n      C: d\n")
    assert removed(after, **patch) == (text, [])


def test_what_comes_through_a_merge_is_neither_hidden_nor_taken_out() -> None:
    text = "x: &x\n  variables: {A: b}\nenvironments:\n  test:\n    <<: [*x]\n    cpu: 1\n"
    with pytest.raises(Refused, match=r"environments\.test\.variables comes through `<<` on line 5"):
        added(text, variables={"C": "d"})
    with pytest.raises(Refused, match="comes through `<<`"):
        removed(text, variables={"A": "b"})


def test_a_key_that_does_not_begin_its_line_is_left_to_people() -> None:
    with pytest.raises(Refused, match=r"does not begin its line \(3\).*by hand"):
        added("environments:\n  test:\n    ? cpu\n    : 1\n", variables={"A": "b"})


def test_an_edit_that_would_mean_something_else_is_refused() -> None:
    text = (
        "environments:\n  test:\n    command: |\n      x"  # the line break would become part of the command
    )
    with pytest.raises(Refused, match="cannot be edited without changing something else"):
        added(text, variables={"A": "b"})


def test_what_differs_stays_and_is_told() -> None:
    after, kept = removed(BLOCK, variables={"A": "other"}, cpu=256, memory=1)
    assert after == BLOCK.replace("    cpu: 256\n", "")
    assert kept == [("environments", "test", "variables", "A")]


def test_a_mapping_that_becomes_empty_goes_too() -> None:
    assert removed(BLOCK, variables={"A": ANYTHING}) == (
        BLOCK.replace("    variables:\n      A: b\n", ""),
        [],
    )


def test_an_environment_is_not_left_without_a_block() -> None:
    with pytest.raises(Refused, match="Copilot would deploy the base manifest"):
        removed(BLOCK, variables={"A": ANYTHING}, cpu=ANYTHING)


@pytest.mark.parametrize(
    ("gone", "left"),
    [
        ("a", "{ b: 2, c: 3 }"), ("b", "{ a: 1, c: 3 }"), ("c", "{ a: 1, b: 2 }"), ("ab", "{ c: 3 }"),
        ("ac", "{ b: 2 }"), ("bc", "{ a: 1 }"),
    ],
)  # fmt: skip
def test_from_a_flow_mapping_entries_go_with_their_commas(gone: str, left: str) -> None:
    text = "environments: {test: {variables: %s}}\n"
    found, _ = removed(text % "{ a: 1, b: 2, c: 3 }", variables=dict.fromkeys(gone, ANYTHING))
    assert found == text % left


def test_at_the_end_of_a_file_without_a_line_break_there_is_none_afterwards() -> None:
    text = "environments:\r\n  test:\r\n    cpu: 1"
    after = added(text, variables={"A": "b"}, memory=2)
    assert after == f"{text}\r\n    variables:\r\n      A: b\r\n    memory: 2"
    assert removed(after, variables={"A": "b"}, memory=2) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        "environments: [\n",
        "environments: {test: " + "[" * 5000 + "]" * 5000 + "}\n",
        "a: &a {a: *a}\nenvironments: {test: {b: *a}}\n",
        "a: *nothing\n",
        "environments: {test: {a: 1}}\n---\nenvironments: {}\n",
        "\0",
        "- a\n",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in pairwise("abcdefg"))
        + "environments: {test: {b: 1}}\n",
    ],
)
def test_a_hostile_manifest_gives_one_clear_line(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        added(text, variables={"A": "b"})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("The manifest")
