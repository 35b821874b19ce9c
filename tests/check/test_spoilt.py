"""Templates that a patch has made something else of: Copilot applies any, and only AWS refuses it."""

from __future__ import annotations

import pytest

from copilot_testenv.check import project, templates, workflow
from copilot_testenv.copilot import patches
from copilot_testenv.copilot.templates import Template
from copilot_testenv.core.settings import Settings

TASK = "Resources: {TaskDefinition: {Type: 'AWS::ECS::TaskDefinition', Properties: %s}, Service: {Type: [1]}}"
SPOILT = (
    "",
    "[1]",
    "Resources: [1]",
    "Resources: {TaskDefinition: hello, Service: 3, EnvControllerAction: [x]}",
    "Resources: {Service: {Properties: [1]}}",
    "Resources: {L: {Type: 'AWS::ElasticLoadBalancingV2::ListenerRule', Properties: {Actions: 3}}}",
    TASK % "x",
    TASK % "{ContainerDefinitions: 3}",
    TASK % "{ContainerDefinitions: [{'Fn::If': 3}, {Name: [], Command: 3}]}",
)
RULES = tuple(rule for rule in workflow.RENDERED if rule not in templates.RULES)  # cfn-lint takes a second


@pytest.mark.parametrize("text", SPOILT)
def test_the_rules_pass_over_what_a_patch_has_spoilt(settings: Settings, text: str) -> None:
    file = settings.root / "copilot/web" / patches.FILE
    file.parent.mkdir()
    file.write_text("- {op: remove, path: /Resources/TaskDefinition/Properties/ContainerDefinitions/0}\n")
    read = project.read(settings)
    for name in read.names:
        read.rendered["web", name] = read.rendered_environments[name] = Template(text, {}, text)
    told = {found.rule for found in workflow.judge(read, RULES)}
    assert not told & {"position", "runtime", "redis", "reset"}
