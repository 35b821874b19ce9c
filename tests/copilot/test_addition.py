from __future__ import annotations

import pytest

from copilot_testenv.copilot import addition, application, cloudformation
from copilot_testenv.core.errors import Failed
from tests.copilot.test_application import template


@pytest.mark.parametrize("services", [(), ("web",), ("web", "worker")])
def test_a_service_is_added_as_copilot_would_and_nothing_else_changes(services: tuple[str, ...]) -> None:
    text = template(*services)
    if not services:
        text = text.replace("  Workloads:\n", "  Workloads: []\n")
    changed, version = addition.with_service(text, "demo/web-mine", "web-mine") or ("", 0)
    found = cloudformation.parse(changed)
    assert version == found["Metadata"]["Version"] == found["Outputs"]["StackSetOpId"]["Value"] == 8
    assert {workload["Name"] for workload in found["Metadata"]["Workloads"]} == {*services, "web-mine"}
    repository = found["Resources"]["ECRRepowebDASHmine"]["Properties"]
    assert repository["RepositoryName"] == "demo/web-mine"
    principals = repository["RepositoryPolicyText"]["Statement"][0]["Principal"]["AWS"]
    assert {"Fn::Sub": "arn:${AWS::Partition}:iam::123456789012:root"} in principals
    assert addition.with_service(changed, "demo/web-mine", "web-mine") is None
    if services:
        removed, _ = application.without(changed, "demo/web-mine", "web-mine") or ("", 0)
        assert cloudformation.parse(removed)["Resources"] == cloudformation.parse(text)["Resources"]


@pytest.mark.parametrize("spoilt", ["", "Metadata: {}", "Metadata: {Workloads: [], Version: 1}"])
def test_a_template_that_is_not_copilots_is_left_as_it_is(spoilt: str) -> None:
    with pytest.raises(Failed, match="not what Copilot"):
        addition.with_service(spoilt, "demo/web", "web")
