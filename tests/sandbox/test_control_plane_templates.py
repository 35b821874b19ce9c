"""What a template's functions resolve to."""

from __future__ import annotations

from typing import Any

import pytest

from copilot_sandbox.control_plane.errors import TemplateError
from copilot_sandbox.control_plane.templates import (
    ABSENT,
    Scope,
    Unknown,
    in_order,
    read_template,
    references,
    resolve_parameters,
)

TEMPLATE = read_template("""
Parameters: {Name: {Type: String}, Zones: {Type: CommaDelimitedList, Default: "a,b"}}
Mappings: {Size: {small: {cpu: 256}}}
Conditions:
  IsWeb: !Equals [!Ref Name, web]
  IsOther: !Not [!Condition IsWeb]
  Both: !And [!Condition IsWeb, !Condition IsOther]
  Either: !Or [!Condition IsWeb, !Condition IsOther]
  Flag: !Equals [true, "true"]
Resources:
  Bucket: {Type: "AWS::S3::Bucket"}
""")


def scope() -> Scope:
    values = {
        **resolve_parameters(TEMPLATE, {"Name": "web"}, lambda name: f"ssm:{name}"),
        "AWS::Region": "us-east-1",
        "AWS::StackName": "demo",
    }
    exports = {"demo-VpcId": "vpc-1"}
    return Scope(
        TEMPLATE,
        values,
        lambda name: f"id-of-{name}",
        lambda name, key: f"{key}-of-{name}",
        exports.__getitem__,
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("!Ref Name", "web"),
        ("!Ref Zones", ["a", "b"]),
        ("!Ref Bucket", "id-of-Bucket"),
        ("!GetAtt Bucket.Outputs.Name", "Outputs.Name-of-Bucket"),
        ("!GetAtt [Bucket, Arn]", "Arn-of-Bucket"),
        ('!Join ["-", [!Ref Name, 1, true]]', "web-1-true"),
        ('!Split [",", "a,b"]', ["a", "b"]),
        ('!Select [1, !Split [",", "a,b"]]', "b"),
        ("!FindInMap [Size, small, cpu]", 256),
        ("!If [IsWeb, here, there]", "here"),
        ("!If [IsOther, 1, 2]", 2),
        ("!If [Both, 1, 2]", 2),
        ("!If [Either, 1, 2]", 1),
        ("!If [Flag, 1, 2]", 1),
        ("!Base64 text", "dGV4dA=="),
        ("!Select [0, !GetAZs '']", "us-east-1a"),
        ("!Sub '${Name}-${Bucket}-${Bucket.Arn}-${!literal}'", "web-id-of-Bucket-Arn-of-Bucket-${literal}"),
        ("!Sub ['${Own}-${AWS::Region}', {Own: !Ref Name}]", "web-us-east-1"),
        ("Fn::ImportValue: !Sub '${AWS::StackName}-VpcId'", "vpc-1"),
        ("[1, !Ref AWS::NoValue, 2]", [1, 2]),
        ("{a: 1, b: !Ref AWS::NoValue}", {"a": 1}),
        ("{Version: 2012-10-17}", {"Version": "2012-10-17"}),
    ],
)
def test_a_function_resolves_as_on_aws(written: str, expected: Any) -> None:
    node = read_template(f"Resources: {{X: {{Type: T}}}}\nValue:\n  {written}")["Value"]
    assert scope().resolve(node) == expected


def test_no_value_alone_is_absent() -> None:
    assert scope().resolve({"Ref": "AWS::NoValue"}) is ABSENT


def test_imports_are_remembered() -> None:
    resolving = scope()
    resolving.resolve({"Fn::ImportValue": "demo-VpcId"})
    assert resolving.imported == {"demo-VpcId"}


def test_what_a_change_set_cannot_know_stays_unknown_when_it_is_split() -> None:
    resolving = scope()
    resolving.resource = Unknown
    node = {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "Bucket"}]}]}
    assert isinstance(resolving.resolve(node), Unknown)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"Ref": "Nobody"}, "Unresolved resource dependencies \\[Nobody\\]"),
        ({"Fn::GetAtt": ["Nobody", "Arn"]}, "references undefined resource Nobody"),
        ({"Fn::FindInMap": ["Size", "big", "cpu"]}, "Unable to get mapping for Size::big::cpu"),
        ({"Fn::Select": [5, ["a"]]}, "nonexistent value at index 5"),
        ({"Fn::If": ["Unheard", 1, 2]}, "unresolved condition dependency Unheard"),
        ({"Fn::Transform": {}}, "does not know Fn::Transform"),
    ],
)
def test_what_cannot_be_resolved_is_refused(node: Any, words: str) -> None:
    with pytest.raises(TemplateError, match=words):
        scope().resolve(node)


def test_references_are_found_in_every_function() -> None:
    node = {
        "a": {"Ref": "One"},
        "b": [{"Fn::GetAtt": ["Two", "Arn"]}, {"Fn::Sub": "${Three.Arn}-${!Four}"}],
        "c": {"Fn::Sub": ["${Own}", {"Own": {"Ref": "Five"}}]},
    }
    assert {"One", "Two", "Three", "Five"} <= set(references(node))
    assert "Four" not in references(node)


def test_resources_come_after_what_they_depend_on() -> None:
    resources: dict[str, dict[str, Any]] = {
        "Service": {"DependsOn": ["Rule"], "Properties": {"T": {"Ref": "Task"}}},
        "Rule": {},
        "Task": {"DependsOn": "Logs"},
        "Logs": {},
    }
    assert in_order(resources) == ["Rule", "Logs", "Task", "Service"]


def test_a_circle_is_refused() -> None:
    resources: dict[str, dict[str, Any]] = {"A": {"DependsOn": "B"}, "B": {"Properties": {"Ref": "A"}}}
    with pytest.raises(TemplateError, match="Circular dependency between resources"):
        in_order(resources)


def test_parameters_are_checked() -> None:
    template = {"Parameters": {"A": {"Type": "String", "AllowedValues": [True, False]}, "B": {"Default": 1}}}

    def resolve(**given: str) -> dict[str, Any]:
        return resolve_parameters(template, given, str)

    assert resolve(A="true") == {"A": "true", "B": "1"}
    with pytest.raises(TemplateError, match="'A' must be one of AllowedValues"):
        resolve(A="maybe")
    with pytest.raises(TemplateError, match=r"Parameters: \[A\] must have values"):
        resolve()
    with pytest.raises(TemplateError, match=r"\[C\] do not exist in the template"):
        resolve(A="true", C="1")


def test_a_parameter_may_be_read_from_the_parameter_store() -> None:
    template = {"Parameters": {"A": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/a"}}}
    assert resolve_parameters(template, {}, lambda name: f"value of {name}") == {"A": "value of /a"}


@pytest.mark.parametrize("text", ["{", "[1]", "Resources: {}"])
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="Template format error"):
        read_template(text)
