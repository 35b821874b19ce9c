"""An embedded AWS for one test, asked by boto3 through its proxy, and small templates to give it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from copilot_sandbox import model
from copilot_sandbox.control_plane import ControlPlaneServer


class Agent:
    """Lets every deployment wait until the test says how it ended."""

    def __init__(self) -> None:
        self.state: model.RolloutState = "COMPLETED"
        self.drains = True
        self.asked: list[tuple[str, str]] = []
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1

    def rollout(self, service_arn: str, deployment_id: str) -> tuple[model.RolloutState, str]:
        self.asked.append((service_arn, deployment_id))
        return self.state, "as told"

    def drained(self, service_arn: str) -> bool:
        return self.drains and bool(service_arn)


_SESSION = boto3.Session(region_name="us-east-1")


def client(aws: Mapping[str, str], service: str, *, retries: int = 1, config: Config | None = None) -> Any:
    """A client of an embedded AWS, whose variables are `aws`."""
    proxied = Config(proxies={"https": aws["HTTPS_PROXY"]}, retries={"max_attempts": retries})
    return _SESSION.client(
        service,
        aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        config=config.merge(proxied) if config else proxied,
        verify=aws["AWS_CA_BUNDLE"],
    )


class Cloud:
    def __init__(self, plane: ControlPlaneServer, agent: Agent) -> None:
        self.plane, self.agent = plane, agent
        self.aws = plane.environment()
        self.stacks = self.client("cloudformation")
        self.ecs = self.client("ecs")

    def client(self, service: str) -> Any:
        return client(self.aws, service)

    @property
    def folder(self) -> Path:
        return self.plane.ca.parent

    def fail(self, *rules: dict[str, Any]) -> None:
        """Let the next calls, or resources, fail by these rules only."""
        draft = self.folder / "faults.new"
        draft.write_text(json.dumps(rules))
        draft.replace(self.folder / "faults.json")

    def move_clock(self, moment: float) -> None:
        """Let schedules see this moment, in Unix seconds, and wait until they were looked at then."""
        draft = self.folder / "clock.new"
        draft.write_text(json.dumps({"ahead": moment - time.time()}))
        draft.replace(self.folder / "clock.json")
        end = time.monotonic() + 20
        while abs(self.plane._scaling._since - moment) > 30:
            assert time.monotonic() < end
            time.sleep(0.01)
        with self.plane._lock:  # the look has ended
            pass

    def watch(self) -> Callable[[], list[str]]:
        """Log the calls from now on; what it returns gives them."""
        log = self.folder / "calls.log"
        log.touch()
        return lambda: log.read_text().splitlines()

    def create(self, template: dict[str, Any], name: str = "s", **parameters: str) -> str:
        self.stacks.create_stack(
            StackName=name, TemplateBody=json.dumps(template), Parameters=listed(parameters)
        )
        return self.settled(name)

    def update(self, template: dict[str, Any], name: str = "s", **parameters: str) -> str:
        self.stacks.update_stack(
            StackName=name, TemplateBody=json.dumps(template), Parameters=listed(parameters)
        )
        return self.settled(name)

    def settled(self, name: str) -> str:
        for _ in range(200):
            status = str(self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])
            if not status.endswith("_IN_PROGRESS"):
                return status
            time.sleep(0.02)
        raise AssertionError(f"{name} stays {status}")

    def status(self, name: str = "s") -> str:
        return str(self.stacks.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])

    def events(self, name: str = "s") -> list[tuple[str, str]]:
        events = self.stacks.describe_stack_events(StackName=name)["StackEvents"]
        return [(event["LogicalResourceId"], event["ResourceStatus"]) for event in reversed(events)]

    def reason(self, logical_id: str, status: str, name: str = "s") -> str:
        return next(
            str(event["ResourceStatusReason"])
            for event in self.stacks.describe_stack_events(StackName=name)["StackEvents"]
            if (event["LogicalResourceId"], event["ResourceStatus"]) == (logical_id, status)
        )

    def outputs(self, name: str = "s") -> dict[str, str]:
        stack = self.stacks.describe_stacks(StackName=name)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def ids(self, name: str = "s") -> dict[str, str]:
        resources = self.stacks.describe_stack_resources(StackName=name)["StackResources"]
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ecs-tasks.amazonaws.com"}}
    ],
}  # what takes a role on


def listed(parameters: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]


def template(resources: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"Resources": resources, **more}


def function(runtime: str) -> dict[str, Any]:
    return {"Type": "AWS::Lambda::Function", "Properties": {"Runtime": runtime}}


def group(retention: Any = 1) -> dict[str, Any]:
    return {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": retention}}


def service(image: str, desired: Any = 1, **more: Any) -> dict[str, Any]:
    return {
        "Cluster": {"Type": "AWS::ECS::Cluster"},
        "Task": {
            "Type": "AWS::ECS::TaskDefinition",
            "Properties": {
                "Family": "web",
                "Cpu": 256,
                "Memory": "512",
                "RequiresCompatibilities": ["FARGATE"],
                "Volumes": [{"Name": "static"}],
                "ContainerDefinitions": [
                    {
                        "Name": "web",
                        "Image": image,
                        "PortMappings": [{"ContainerPort": "8000"}],
                        "Environment": [{"Name": "NUMBER", "Value": 1}],
                        "LogConfiguration": {"LogDriver": "awslogs", "Options": {"awslogs-group": "g"}},
                        **more,
                    }
                ],
            },
        },
        "Service": {
            "Type": "AWS::ECS::Service",
            "Properties": {
                "Cluster": {"Ref": "Cluster"},
                "TaskDefinition": {"Ref": "Task"},
                "DesiredCount": desired,
            },
        },
    }


def report(task: str, service: model.Service, **more: Any) -> model.TaskReport:
    return model.TaskReport(
        **{
            "id": task,
            "service_arn": service.arn,
            "cluster_arn": service.cluster_arn,
            "task_definition_arn": service.task_definition.arn,
            "status": "RUNNING",
            "desired_status": "RUNNING",
            "health": "HEALTHY",
            "address": "10.0.0.9",
            "created_at": time.time(),
            **more,
        }
    )


def manifest(number: int) -> str:
    """The manifest of an image, another for each number."""
    blob = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 2}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {**blob, "digest": f"sha256:{number:064x}"},
            "layers": [],
        }
    )
