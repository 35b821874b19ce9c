"""Two services at once in one environment: what Copilot's functions make of it, where updates take time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.sandbox.cloud import Cloud, template

VPC = "10.0.0.0/16"
ENVIRONMENT = template(
    {
        "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": VPC}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"CidrBlock": VPC, "VpcId": {"Ref": "Vpc"}, "AvailabilityZone": "us-east-1a"},
        },
        "Balancer": {
            "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
            "Properties": {"Subnets": [{"Ref": "Subnet"}]},
        },
        "Group": {
            "Type": "AWS::ElasticLoadBalancingV2::TargetGroup",
            "Properties": {"VpcId": {"Ref": "Vpc"}, "Port": 80, "Protocol": "HTTP"},
        },
        "Listener": {
            "Type": "AWS::ElasticLoadBalancingV2::Listener",
            "Properties": {
                "LoadBalancerArn": {"Ref": "Balancer"},
                "Port": 80,
                "Protocol": "HTTP",
                "DefaultActions": [{"Type": "forward", "TargetGroupArn": {"Ref": "Group"}}],
            },
        },
    },
    Parameters={
        "ALBWorkloads": {"Type": "String", "Default": ""},
        "Aliases": {"Type": "String", "Default": ""},
    },
    Outputs={"Listener": {"Value": {"Ref": "Listener"}}, "Group": {"Value": {"Ref": "Group"}}},
)


def service(name: str) -> dict[str, Any]:
    def of_environment(output: str) -> dict[str, Any]:
        return {"Fn::GetAtt": ["Controller", output]}

    return template(
        {
            "Controller": {
                "Type": "Custom::EnvControllerFunction",
                "Properties": {"EnvStack": "env", "Workload": name, "Parameters": ["ALBWorkloads"]},
            },
            "Priority": {
                "Type": "Custom::RulePriorityFunction",
                "Properties": {"ListenerArn": of_environment("Listener"), "RulePath": ["/"]},
            },
            "Rule": {
                "Type": "AWS::ElasticLoadBalancingV2::ListenerRule",
                "Properties": {
                    "ListenerArn": of_environment("Listener"),
                    "Priority": {"Fn::GetAtt": ["Priority", "Priority"]},
                    "Conditions": [{"Field": "host-header", "Values": [f"{name}.example"]}],
                    "Actions": [{"Type": "forward", "TargetGroupArn": of_environment("Group")}],
                },
            },
        }
    )


def begin(cloud: Cloud, name: str) -> None:
    cloud.stacks.create_stack(StackName=name, TemplateBody=json.dumps(service(name)))


@pytest.fixture
def environment(cloud: Cloud) -> Cloud:
    (cloud.folder / "timing.json").write_text(json.dumps({"hurry": 100}))
    assert cloud.create(ENVIRONMENT, "env") == "CREATE_COMPLETE"
    return cloud


def test_an_update_of_an_environment_is_seen_in_each_of_its_states(environment: Cloud) -> None:
    begin(environment, "web-a")
    seen = {environment.status("env")}
    while environment.status("web-a").endswith("_IN_PROGRESS"):
        seen.add(environment.status("env"))
        time.sleep(0.02)
    assert environment.status("web-a") == "CREATE_COMPLETE"
    assert seen >= {"UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE"}


def test_a_service_that_meets_the_clean_up_fails_at_once(environment: Cloud) -> None:
    begin(environment, "web-a")
    while environment.status("env") != "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":
        time.sleep(0.01)
    begin(environment, "web-b")
    assert environment.settled("web-b") == "ROLLBACK_COMPLETE"
    reason = environment.reason("Controller", "CREATE_FAILED", "web-b")
    assert "is in UPDATE_COMPLETE_CLEANUP_IN_PROGRESS state and can not be updated" in reason


def test_of_two_services_that_take_the_same_priority_one_is_rolled_back(environment: Cloud) -> None:
    """Both services are in the environment already, so they read the rules while neither has its own."""
    for name in ("web-a", "web-b"):
        begin(environment, name)
        environment.settled(name)
        while environment.status("env") != "UPDATE_COMPLETE":
            time.sleep(0.01)
    for name in ("web-c", "web-d"):  # they are in the environment already
        environment.create(template({"Controller": service(name)["Resources"]["Controller"]}), f"in-{name}")
        while environment.status("env") != "UPDATE_COMPLETE":
            time.sleep(0.01)
    for name in ("web-c", "web-d"):
        begin(environment, name)
    ended = sorted(environment.settled(name) for name in ("web-c", "web-d"))
    assert ended == ["CREATE_COMPLETE", "ROLLBACK_COMPLETE"]


def test_without_the_file_an_environments_update_takes_no_time(cloud: Cloud) -> None:
    cloud.create(ENVIRONMENT, "env")
    for name in ("web-a", "web-b"):
        begin(cloud, name)
        assert cloud.status(name) == "CREATE_COMPLETE"
        assert cloud.status("env") == "UPDATE_COMPLETE"
