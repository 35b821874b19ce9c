from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_testenv.copilot import patches, runtimes
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.rendering import Renderer

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
    "text",
    [
        "op: add\n",
        "- just text\n",
        "- [",
        "{",
        "- {op: add, path: 2026-99-99}\n",
        "- &x {op: add, path: /a, value: *x}\n",
        "[" * 5000,
    ],
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
    assert all(not runtimes.why_outdated(str(patch.value), TODAY) for patch in found if patch.function)
    assert after.count(OTHER) == text.count(OTHER)
    assert after.count("# a comment\n") == text.count("# a comment\n")
    assert patches.edited(after, functions, WHERE, TODAY) == after


OURS = "# theirs\n" + runtime("A", "nodejs20.x")
BODY = "Resources:\n  A: {Type: 'AWS::Lambda::Function', Properties: {Runtime: nodejs20.x}}\n"


class Rendered:
    """Renders the same for all; what it was given is kept, as its text."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def service(self, workspace: Path, service: str, _: str) -> Template:
        file = workspace / "copilot" / service / patches.FILE
        self.given.append(file.read_text() if file.exists() else "")
        return Template(BODY, {})


def changes(root: Path, renderer: Rendered) -> list[patches.Change]:
    return list(patches.changes(root, ["web"], ["test"], cast("Renderer", renderer), TODAY))


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("text", [OURS, ""])
@pytest.mark.parametrize(
    "linked", ["copilot/web/overrides", "copilot/web", "copilot/web/overrides/cfn.patches.yml"]
)
def test_nothing_that_a_link_leads_to_is_touched(
    workspace: Path, tmp_path_factory: pytest.TempPathFactory, linked: str, text: str, *, inside: bool
) -> None:
    file = workspace / "copilot/web" / patches.FILE
    file.parent.mkdir()
    file.write_text(text)
    shared = (workspace if inside else tmp_path_factory.mktemp("outside")) / "shared"
    (workspace / linked).rename(shared)
    (workspace / linked).symlink_to(shared)
    rendered = Rendered()
    with pytest.raises(Refused, match=f"^{linked} leads elsewhere"):
        changes(workspace, rendered)
    assert rendered.given == []
    assert file.read_text() == text


def test_an_empty_folder_that_a_link_leads_to_stays(workspace: Path) -> None:
    (workspace / "shared").mkdir()
    (workspace / "copilot/web/overrides").symlink_to(workspace / "shared")
    with pytest.raises(Refused, match="leads elsewhere"):
        changes(workspace, Rendered())
    assert (workspace / "shared").is_dir()


def test_what_other_links_lead_to_is_rendered_and_a_dangling_one_is_passed_over(workspace: Path) -> None:
    file = workspace / "copilot/web" / patches.FILE
    file.parent.mkdir()
    file.write_text(OURS)
    (workspace / "copilot/api").symlink_to(workspace / "copilot/web")
    (workspace / "copilot/gone").symlink_to("nowhere")
    rendered = Rendered()
    (change,) = changes(workspace, rendered)
    assert rendered.given == ["[]\n"]
    assert file.read_text() == OURS
    patches.write(change, workspace)
    assert file.read_text() == OURS.replace("nodejs20.x", TARGET)


def test_a_workspace_that_cannot_be_copied_is_one_clear_line(workspace: Path) -> None:
    os.mkfifo(workspace / "copilot/pipe")
    with pytest.raises(Failed, match="could not be copied"):
        changes(workspace, Rendered())


def test_a_file_that_was_changed_while_copilot_rendered_is_left_alone(workspace: Path) -> None:
    (change,) = changes(workspace, Rendered())
    change.path.parent.mkdir()
    change.path.write_text(OTHER)
    with pytest.raises(Refused, match="changed meanwhile"):
        patches.write(change, workspace)
    assert change.path.read_text() == OTHER
