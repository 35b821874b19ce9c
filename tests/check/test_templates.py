"""cfn-lint itself, on small templates; on what Copilot renders of this repository: test_workflow.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from copilot_testenv.check import project, templates
from copilot_testenv.check.finding import Finding
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.settings import load

FAULT = """\
Resources:
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      NoSuchThing: 1
"""
CLEAN = "Resources:\n  Topic:\n    Type: AWS::SNS::Topic\n"


def found(root: Path, text: str, addons: str | None = None) -> list[Finding]:
    read = project.read(load(root, {}))
    read.rendered["web", "test"] = read.rendered["web", "stage"] = Template(text, {}, addons)
    return sorted(templates.linted(read))


PATCHES = """\
- {op: replace, path: /Resources/Other/Properties/Runtime, value: nodejs24.x}
- {op: add, path: /Resources/%s/Properties/NoSuchThing, value: 1}
"""


def test_a_fault_of_a_patch_is_told_once_at_the_patch(workspace: Path) -> None:
    (workspace / "copilot/web/overrides").mkdir()
    (workspace / "copilot/web/overrides/cfn.patches.yml").write_text(PATCHES % "Topic")
    (told,) = found(workspace, FAULT)
    assert (told.path, told.line, told.severity) == ("copilot/web/overrides/cfn.patches.yml", 2, "error")
    assert "E3002 at Resources/Topic/Properties/NoSuchThing" in told.what


def test_copilots_own_text_is_never_told(workspace: Path) -> None:
    assert found(workspace, FAULT) == []
    (workspace / "copilot/web/overrides").mkdir()
    (workspace / "copilot/web/overrides/cfn.patches.yml").write_text(PATCHES % "Another")
    assert found(workspace, FAULT) == []


def test_of_a_list_that_patches_append_to_only_the_users_items_are_told(workspace: Path) -> None:
    (workspace / "copilot/web/overrides").mkdir()
    patch = "- {op: add, path: /Resources/Topic/Properties/Tags/-, value: {Key: %s: b}}\n"
    text = patch % "b, Value" + patch % "c, Users"
    (workspace / "copilot/web/overrides/cfn.patches.yml").write_text(text)
    tags = "Tags: [{Key: a, Copilots: b}, {Key: b, Value: b}, {Key: c, Users: b}]"
    faults = found(workspace, f"{CLEAN}    Properties: {{{tags}}}\n")
    assert {told.line for told in faults} == {2}
    assert not [told for told in faults if "Copilots" in told.what]


def test_a_fault_of_addons_is_told_at_the_key_where_it_is_written(workspace: Path) -> None:
    folder = workspace / "copilot/web/addons"
    folder.mkdir()
    (folder / "a.yml").write_text("Resources:\n  Other: {Type: 'AWS::SNS::Topic'}\n")
    (folder / "b.yml").write_text(f"# the topic\n{FAULT}")
    (told,) = found(workspace, CLEAN, FAULT)
    assert (told.path, told.line) == ("copilot/web/addons/b.yml", 6)


def test_a_hint_of_cfn_lint_is_no_finding(workspace: Path) -> None:
    hint = (
        "Parameters: {Old: {Type: 'AWS::SSM::Parameter::Value<String>'}}\n"
        f"{CLEAN}    Properties: {{TopicName: !Sub 'a-${{Old}}'}}\n    DependsOn: []\n"
    )
    assert found(workspace, CLEAN, hint) == []


def test_an_unchanged_template_is_not_linted_again_and_a_spoiled_note_is(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace / "cache"))
    assert found(workspace, CLEAN, CLEAN) == []
    (kept,) = (workspace / "cache/copilot-testenv/lint").iterdir()
    note = {
        "template": "",
        "line": 3,
        "path": "Resources/Topic",
        "rule": "E9",
        "severity": "error",
        "message": "x",
    }
    kept.write_text(json.dumps([note]))
    assert "E9" in found(workspace, CLEAN, CLEAN)[0].what
    kept.write_text("spoiled")
    assert found(workspace, CLEAN, CLEAN) == []
    assert json.loads(kept.read_text()) == []


def test_where_no_cache_can_be_kept_every_template_is_linted(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace / "cache"))
    assert len(found(workspace, CLEAN, FAULT)) == 1
