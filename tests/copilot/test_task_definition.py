from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import yaml

from copilot_testenv.copilot.task_definition import Container, Difference, containers, diagram, differences
from copilot_testenv.copilot.templates import Template

TEXT = """\
Resources:
  TaskDefinition:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: !Ref WorkloadName
          Image: !Ref ContainerImage
          Environment:
            - {Name: COPILOT_ENVIRONMENT_NAME, Value: !Sub '${EnvName}'}
            - {Name: PASSWORD, Value: hidden}
            - !If [HasMore, {Name: MORE, Value: hidden}, !Ref AWS::NoValue]
          Secrets:
            - {Name: SECRET_KEY, ValueFrom: hidden}
            - {Name: BUCKET, ValueFrom: !GetAtt AddonsStack.Outputs.Bucket}
          DependsOn:
            - {Condition: SUCCESS, ContainerName: startup}
            - {Condition: HEALTHY, ContainerName: nginx}
          PortMappings: [{ContainerPort: !Ref ContainerPort, Protocol: tcp, Name: target}]
        - Name: startup
          Image:
          Essential: false
          DependsOn: [{Condition: START, ContainerName: nginx}]
        - Name: nginx
          Image: !Sub '${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/${EnvName}/nginx:1'
          PortMappings: [{ContainerPort: 80}, {ContainerPort: 53, Protocol: udp}]
        - Name: firelens_log_router
          Image: !Join ['/', ['public.ecr.aws', !If [Own, 'own:1', 'aws:2']]]
  Service:
    Type: AWS::ECS::Service
"""
PARAMETERS = {"WorkloadName": "web", "ContainerImage": "", "ContainerPort": "8000", "EnvName": "test"}


def shown(text: str = TEXT, parameters: Mapping[str, str] = PARAMETERS) -> tuple[Container, ...]:
    return containers(Template(text, parameters))


def one(name: str, **more: object) -> Container:
    plain = Container(
        name, "x:1", essential=True, starts=1, depends_on={}, ports=(), variables=(), secrets=()
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def test_containers_come_in_their_order_of_start() -> None:
    assert [(each.name, each.starts) for each in shown()] == [
        ("firelens_log_router", 1), ("nginx", 1), ("startup", 2), ("web", 3),
    ]  # fmt: skip


def test_each_is_told_as_the_task_definition_has_it_and_no_value_with_it() -> None:
    by_name = {each.name: each for each in shown()}
    assert by_name["web"] == Container(
        name="web",
        image=None,
        essential=True,
        starts=3,
        depends_on={"startup": "success", "nginx": "healthy"},
        ports=("8000/tcp",),
        variables=("COPILOT_ENVIRONMENT_NAME", "MORE", "PASSWORD"),
        secrets=("BUCKET", "SECRET_KEY"),
    )
    assert by_name["startup"] == one(
        "startup", image=None, essential=False, starts=2, depends_on={"nginx": "start"}
    )
    assert by_name["nginx"].ports == ("80/tcp", "53/udp")
    assert "hidden" not in str([each.as_document() for each in shown()])


def test_what_only_a_deploy_knows_is_shown_by_its_name() -> None:
    by_name = {each.name: each for each in shown()}
    assert by_name["nginx"].image == (
        "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/test/nginx:1"
    )
    assert by_name["firelens_log_router"].image == "public.ecr.aws/own:1 or aws:2"
    assert {each.name: each.image for each in shown(parameters={})}["${WorkloadName}"] == "${ContainerImage}"


def test_an_image_that_copilot_was_given_is_shown() -> None:
    assert shown(parameters={**PARAMETERS, "ContainerImage": "x:2"})[-1].image == "x:2"


def test_a_stack_without_tasks_has_no_containers() -> None:
    assert shown("Resources: {Bucket: {Type: 'AWS::S3::Bucket'}}") == ()
    assert shown("Resources: {T: {Type: 'AWS::ECS::TaskDefinition'}}") == ()


@pytest.mark.parametrize("text", ["", "[1]", "text", "Resources: [1]", "Resources: {A: hello, B: [1], C: }"])
def test_what_is_no_template_any_more_has_no_containers(text: str) -> None:
    assert shown(text) == ()


@pytest.mark.parametrize("properties", ["x", "[1]", *(f"{{ContainerDefinitions: {it}}}" for it in
                                        ("3", "x", "[x, [1]]", "{'Fn::If': 3}"))])  # fmt: skip
def test_a_task_definition_that_a_patch_has_spoilt_has_no_containers(properties: str) -> None:
    assert shown(f"Resources: {{T: {{Type: 'AWS::ECS::TaskDefinition', Properties: {properties}}}}}") == ()


def test_of_a_spoilt_container_the_rest_is_shown() -> None:
    spoilt = {"Name": "a", "Environment": [{"Fn::If": 3}, "x"], "Secrets": 3, "DependsOn": {"Fn::If": []}}
    definition = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": [spoilt]}}
    assert shown(yaml.safe_dump({"Resources": {"T": definition}})) == (one("a", image=None),)


def test_a_circle_that_a_patch_made_is_shown_and_ends() -> None:
    a = {"Name": "a", "DependsOn": [{"ContainerName": "b", "Condition": "START"}]}
    b = {"Name": "b", "DependsOn": [{"ContainerName": "a", "Condition": "START"}]}
    definition = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": [a, b]}}
    assert {each.name for each in shown(yaml.safe_dump({"Resources": {"T": definition}}))} == {"a", "b"}


def test_what_differs_between_environments_is_told_and_nothing_else() -> None:
    stage = (one("web", variables=("A", "B"), depends_on={"startup": "success"}), one("startup"))
    test = (one("web", variables=("B", "C"), depends_on={"startup": "success"}), one("startup", image="x:2"))
    assert differences({"stage": stage, "test": (*test, one("redis"))}) == [
        Difference("web", "variables", {"stage": ["A"], "test": ["C"]}),
        Difference("startup", "image", {"stage": "x:1", "test": "x:2"}),
        Difference("redis", "container", {"stage": False, "test": True}),
    ]
    assert differences({"stage": stage, "test": stage}) == []


def test_a_container_that_not_all_environments_have_is_compared_among_the_others() -> None:
    found = differences({"a": (one("x", ports=("1/tcp",)),), "b": (), "c": (one("x", ports=("2/tcp",)),)})
    assert found == [
        Difference("x", "container", {"a": True, "b": False, "c": True}),
        Difference("x", "ports", {"a": ["1/tcp"], "b": None, "c": ["2/tcp"]}),
    ]


def test_the_diagram_has_an_arrow_to_whom_waits_and_round_corners_for_whom_may_end() -> None:
    held = (
        one('a"b', essential=False, ports=("80/tcp",)),
        one("web", depends_on={'a"b': "success", "x": "start"}),
    )
    assert diagram({"test": held}).splitlines() == [
        "flowchart LR",
        '  subgraph e0["test"]',
        '    e0c0("a#quot;b<br/>80/tcp")',
        '    e0c1["web"]',
        '    e0c0 -->|"success"| e0c1',
        "  end",
    ]
