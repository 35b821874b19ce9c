"""A one-off task: its stack, with the names that `copilot task run` gives, and its log while it runs."""

from __future__ import annotations

import time
from typing import Any

from copilot_testenv.aws import Aws
from copilot_testenv.copilot.commands import OneOff
from copilot_testenv.core import display
from copilot_testenv.core.process import Result
from copilot_testenv.deployers.deployer import Hear, SignalDue

_KEPT_DAYS = 1  # of its log, as Copilot keeps it
_MOST = 10_000  # events in an answer


def template(group: str, task: OneOff, region: str) -> dict[str, Any]:
    """Return the stack's template: a log group and a task definition, without a role or repository.

    The task is started with the execution role of the service whose image it runs. Source:
    internal/pkg/template/templates/task/cf.yml of aws/copilot-cli 1.34.
    """
    container: dict[str, Any] = {
        "Name": group,
        "Image": task.image,
        "Command": list(task.command),
        "Environment": [{"Name": name, "Value": value} for name, value in sorted(task.variables.items())],
        "Secrets": [{"Name": name, "ValueFrom": value} for name, value in sorted(task.secrets.items())],
        "LogConfiguration": {
            "LogDriver": "awslogs",
            "Options": {
                "awslogs-region": region,
                "awslogs-group": {"Ref": "LogGroup"},
                "awslogs-stream-prefix": "copilot-task",
            },
        },
    }
    if task.entry_point:
        container["EntryPoint"] = list(task.entry_point)
    definition: dict[str, Any] = {
        "Family": f"copilot-{group}",
        "NetworkMode": "awsvpc",
        "RequiresCompatibilities": ["FARGATE"],
        "Cpu": task.cpu,
        "Memory": task.memory,
        "ExecutionRoleArn": task.execution_role,
        "ContainerDefinitions": [container],
    }
    if task.role:
        definition["TaskRoleArn"] = task.role
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "A one-off task of the test environment, without Copilot",
        "Resources": {
            "LogGroup": {
                "Type": "AWS::Logs::LogGroup",
                "Properties": {"LogGroupName": f"/copilot/{group}", "RetentionInDays": _KEPT_DAYS},
            },
            "TaskDefinition": {"Type": "AWS::ECS::TaskDefinition", "Properties": definition},
        },
    }


def follow(
    aws: Aws, group: str, cluster: str, arn: str, hear: Hear, signal_due: SignalDue, *, pause: float
) -> Result:
    """Give each line of the task's log to `hear`, until the task has stopped or a signal is due."""
    identity = arn.rsplit("/", 1)[-1]
    stream, token = f"copilot-task/{group}/{identity}", ""
    while True:
        tasks = aws.tasks_of_family(cluster, f"copilot-{group}")
        ended = not any(task.id == identity and task.status != "STOPPED" for task in tasks)
        events, token = aws.raw_events(f"/copilot/{group}", stream, _MOST, token, from_start=True)
        for _, message in events:
            hear(f"{stream} {display.log_line(message)}")
        if ended:
            return Result(0)
        if due := signal_due():
            return Result(-due)
        time.sleep(pause)
