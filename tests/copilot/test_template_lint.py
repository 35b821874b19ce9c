from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv.copilot import template_lint
from copilot_testenv.copilot.template_lint import lint
from copilot_testenv.core.errors import SettingsError


def template(**properties: Any) -> str:
    return json.dumps(
        {"Resources": {"Function": {"Type": "AWS::SQS::Queue", "Properties": properties}}}, indent=1
    )


def test_a_finding_names_template_rule_line_and_place() -> None:
    (found,) = lint({"queue": template(DelaySeconds="soon")})
    assert (found.template, found.rule, found.severity) == ("queue", "E3012", "error")
    assert (found.line, found.path) == (6, "Resources/Function/Properties/DelaySeconds")
    assert "soon" in found.message
    assert found.copilots_own is None


def test_several_templates_are_told_in_order_of_their_names() -> None:
    found = lint({"b": template(DelaySeconds="soon"), "a": template(DelaySeconds="late"), "c": template()})
    assert [finding.template for finding in found] == ["a", "b"]


@pytest.mark.parametrize("text", ["", "- a list", "text", "{", "\t", "a: *nowhere", "[" * 5000])
def test_what_is_no_template_is_a_finding_and_no_traceback(text: str) -> None:
    assert [finding.severity for finding in lint({"odd": text})] == ["error"]


def test_a_parameter_of_copilots_own_is_told_apart_from_a_users() -> None:
    parameters = {"RulePath": {"Type": "String"}, "Mine": {"Type": "String"}}
    resources = {"Queue": {"Type": "AWS::SQS::Queue"}}
    found = lint({"t": json.dumps({"Parameters": parameters, "Resources": resources})})
    assert {finding.path: bool(finding.copilots_own) for finding in found} == {
        "Parameters/Mine": False,
        "Parameters/RulePath": True,
    }


def test_a_part_has_the_chosen_resources_and_the_types_of_those_they_refer_to() -> None:
    role, queue = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "a"}}, {"Type": "AWS::SQS::Queue"}
    mine = {"Type": "AWS::SNS::Topic", "Properties": {"A": {"Fn::Sub": "${Role.Arn}"}}, "DependsOn": "Queue"}
    body = {"Resources": {"Mine": mine, "Role": role, "Queue": queue, "Other": role}, "Outputs": {"X": 1}}
    part = json.loads(template_lint.part(body, {"Mine"}))
    assert part == {"Resources": {"Mine": mine, "Role": {"Type": "AWS::IAM::Role"}, "Queue": queue}}


def test_no_configuration_of_the_folder_has_a_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".cfnlintrc").write_text("ignore_checks: [E3012]")
    monkeypatch.chdir(tmp_path)
    template_lint._linter.cache_clear()
    assert lint({"queue": template(DelaySeconds="soon")})


def test_where_cfn_lint_is_missing_the_cure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    template_lint._linter.cache_clear()
    monkeypatch.setitem(sys.modules, "cfnlint.config", None)
    with pytest.raises(SettingsError, match=r"pip install -r requirements-sandbox\.txt"):
        lint({"queue": template()})
