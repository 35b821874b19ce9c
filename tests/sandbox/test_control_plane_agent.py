"""The control plane and the real task agent together, asked by boto3."""

from __future__ import annotations

from pathlib import Path

from tests.sandbox.cloud import Cloud, service, template
from tests.sandbox.fake_control_plane import owned, running_agent, until


def test_a_service_scaled_to_nothing_stays_and_its_stack_can_be_deleted(cloud: Cloud, tmp_path: Path) -> None:
    with running_agent(cloud.plane, tmp_path) as agent:
        cloud.plane.agent = agent
        sleeping = {"Command": ["sh", "-c", "exec sleep 60"], "StopTimeout": 2}
        assert cloud.create(template(service("demo", **sleeping))) == "CREATE_COMPLETE"
        (running,) = cloud.plane.services()
        ids = {"cluster": running.cluster_arn}
        (task,) = cloud.ecs.list_tasks(**ids, serviceName=running.name)["taskArns"]
        assert owned(tmp_path)

        cloud.ecs.update_service(**ids, service=running.name, desiredCount=0)
        until(lambda: not cloud.ecs.list_tasks(**ids, serviceName=running.name)["taskArns"])
        until(lambda: not owned(tmp_path))
        (stopped,) = cloud.ecs.describe_tasks(**ids, tasks=[task])["tasks"]
        assert stopped["stopCode"] == "ServiceSchedulerInitiated"
        (described,) = cloud.ecs.describe_services(**ids, services=[running.name])["services"]
        assert (described["status"], described["desiredCount"], described["runningCount"]) == ("ACTIVE", 0, 0)
        assert cloud.status() == "CREATE_COMPLETE"

        identity = cloud.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackId"]
        cloud.stacks.delete_stack(StackName="s")
        assert cloud.settled(identity) == "DELETE_COMPLETE"
        assert cloud.plane.services() == []
