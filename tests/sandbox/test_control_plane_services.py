"""ECS's behaviour on small templates: services, their tasks and one-off tasks."""

from __future__ import annotations

import json
import time

import pytest
from botocore.exceptions import ClientError

from copilot_sandbox import model
from tests.sandbox.cloud import Cloud, report, service, template


def test_a_task_definition_is_registered_in_full(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    described = cloud.ecs.describe_task_definition(taskDefinition="web:1")["taskDefinition"]
    (container,) = described["containerDefinitions"]
    assert container["image"] == "a:1"
    assert container["portMappings"] == [{"containerPort": 8000}]
    assert container["environment"] == [{"name": "NUMBER", "value": "1"}]
    assert container["logConfiguration"]["options"] == {"awslogs-group": "g"}
    assert [volume["name"] for volume in described["volumes"]] == ["static"]
    assert (described["cpu"], described["memory"]) == ("256", "512")


def test_a_changed_task_definition_is_a_new_revision_and_a_new_deployment(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (before,) = cloud.plane.services()
    assert cloud.update(template(service("a:2"))) == "UPDATE_COMPLETE"
    (after,) = cloud.plane.services()
    assert after.arn == before.arn
    assert after.deployment_id != before.deployment_id
    assert after.task_definition.arn.endswith("web:2")
    statuses = [
        cloud.ecs.describe_task_definition(taskDefinition=f"web:{n}")["taskDefinition"]["status"]
        for n in (1, 2)
    ]
    assert statuses == ["INACTIVE", "ACTIVE"]
    assert cloud.agent.woken


def test_a_changed_count_is_no_new_deployment(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (before,) = cloud.plane.services()
    cloud.update(template(service("a:1", desired=3)))
    (after,) = cloud.plane.services()
    assert (after.desired_count, after.deployment_id) == (3, before.deployment_id)


def test_a_stack_waits_for_its_service_and_refuses_a_second_change(cloud: Cloud) -> None:
    cloud.agent.state = "IN_PROGRESS"
    cloud.stacks.create_stack(StackName="s", TemplateBody=json.dumps(template(service("a:1"))))
    assert cloud.status() == "CREATE_IN_PROGRESS"
    with pytest.raises(ClientError, match="is in CREATE_IN_PROGRESS state and can not be updated"):
        cloud.update(template(service("a:2")))
    cloud.agent.state = "COMPLETED"
    assert cloud.settled("s") == "CREATE_COMPLETE"


def test_a_cancelled_update_goes_back(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    cloud.agent.state = "IN_PROGRESS"
    cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(template(service("a:2"))))
    cloud.stacks.cancel_update_stack(StackName="s")
    assert cloud.status() == "UPDATE_ROLLBACK_IN_PROGRESS"
    cloud.agent.state = "COMPLETED"
    assert cloud.settled("s") == "UPDATE_ROLLBACK_COMPLETE"
    assert cloud.plane.services()[0].task_definition.arn.endswith("web:1")
    assert cloud.reason("Service", "UPDATE_FAILED") == "Resource update cancelled"
    with pytest.raises(ClientError, match="cannot be called from current stack status"):
        cloud.stacks.cancel_update_stack(StackName="s")


def test_a_task_of_a_size_that_fargate_does_not_have_is_refused(cloud: Cloud) -> None:
    wanted = template(service("a:1"))
    wanted["Resources"]["Task"]["Properties"]["Memory"] = "700"
    assert cloud.create(wanted) == "ROLLBACK_COMPLETE"
    words = "No Fargate configuration exists for given values: 256 CPU, 700 memory"
    assert words in cloud.reason("Task", "CREATE_FAILED")


def test_a_stack_deleted_while_it_is_made_goes(cloud: Cloud) -> None:
    cloud.agent.state = "IN_PROGRESS"
    cloud.stacks.create_stack(StackName="s", TemplateBody=json.dumps(template(service("a:1"))))
    identity = cloud.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackId"]
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.settled(identity) == "DELETE_COMPLETE"
    assert cloud.plane.services() == []
    assert ("Service", "CREATE_FAILED") in cloud.events(identity)


def test_the_count_and_a_new_deployment_can_be_asked_of_ecs(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (before,) = cloud.plane.services()
    ids = {"cluster": before.cluster_arn, "service": before.arn}
    cloud.ecs.update_service(**ids, desiredCount=0)
    (stopped,) = cloud.plane.services()
    assert (stopped.desired_count, stopped.deployment_id) == (0, before.deployment_id)
    cloud.ecs.update_service(**ids, forceNewDeployment=True)
    (forced,) = cloud.plane.services()
    assert forced.deployment_id != before.deployment_id


def test_reported_tasks_are_listed_running_and_stopped(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (running,) = cloud.plane.services()
    cloud.plane.report_task(report("a" * 32, running))
    ended = model.ContainerReport("web", "a:1", status="STOPPED", exit_code=3, reason="it broke")
    cloud.plane.report_task(
        report(
            "b" * 32,
            running,
            status="STOPPED",
            desired_status="STOPPED",
            stopped_at=time.time(),
            stopped_reason="Essential container in task exited",
            containers=[ended],
        )
    )
    cloud.plane.report_task(
        report("c" * 32, running, desired_status="STOPPED", stopped_at=time.time() - 4000)
    )
    ids = {"cluster": running.cluster_arn}
    (arn,) = cloud.ecs.list_tasks(**ids, serviceName=running.name)["taskArns"]
    assert arn.endswith("a" * 32)
    (stopped,) = cloud.ecs.list_tasks(**ids, desiredStatus="STOPPED")["taskArns"]
    answer = cloud.ecs.describe_tasks(**ids, tasks=[arn, stopped, "d" * 32])
    assert [failure["reason"] for failure in answer["failures"]] == ["MISSING"]
    alive, dead = answer["tasks"]
    assert {"name": "privateIPv4Address", "value": "10.0.0.9"} in alive["attachments"][0]["details"]
    assert alive["startedBy"] == running.deployment_id
    assert dead["stoppedReason"] == "Essential container in task exited"
    (container,) = dead["containers"]
    assert (container["exitCode"], container["reason"]) == (3, "it broke")


def test_a_one_off_task_is_wanted_once_and_told_of_until_it_has_ended(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (kept,) = cloud.plane.services()
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    asked = cloud.ecs.run_task(
        cluster=kept.cluster_arn, taskDefinition=kept.task_definition.arn, startedBy="copilot-task",
        networkConfiguration=network,
    )["tasks"]  # fmt: skip
    (task,) = asked
    identity = task["taskArn"].rsplit("/", 1)[-1]
    assert (task["lastStatus"], task["startedBy"]) == ("PROVISIONING", "copilot-task")
    assert task["group"].startswith("family:")
    (wanted,) = [each for each in cloud.plane.services() if each.only_task]
    assert wanted.only_task == identity
    cloud.plane.report_task(report(identity, wanted, status="STOPPED", desired_status="STOPPED"))
    assert cloud.plane.services() == [kept]
    family = task["group"].removeprefix("family:")
    ids = {"cluster": kept.cluster_arn}
    assert cloud.ecs.list_tasks(**ids, family=family, desiredStatus="STOPPED")["taskArns"] == [
        task["taskArn"]
    ]
    (ended,) = cloud.ecs.describe_tasks(**ids, tasks=[identity])["tasks"]
    assert (ended["lastStatus"], ended["startedBy"]) == ("STOPPED", "copilot-task")
    assert {"name": "subnetId", "value": "subnet-1"} in ended["attachments"][0]["details"]


def test_a_one_off_task_can_be_stopped_and_a_services_task_cannot(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (kept,) = cloud.plane.services()
    ids = {"cluster": kept.cluster_arn}
    (task,) = cloud.ecs.run_task(**ids, taskDefinition=kept.task_definition.arn)["tasks"]
    cloud.ecs.stop_task(**ids, task=task["taskArn"])
    assert cloud.plane.services() == [kept]
    cloud.plane.report_task(report("a" * 32, kept))
    with pytest.raises(ClientError, match="no StopTask for the tasks of a service"):
        cloud.ecs.stop_task(**ids, task="a" * 32)
    with pytest.raises(ClientError, match="was not found"):
        cloud.ecs.stop_task(**ids, task="b" * 32)
    with pytest.raises(ClientError, match="Cluster not found"):
        cloud.ecs.run_task(cluster="other", taskDefinition=kept.task_definition.arn)


def test_a_new_deployment_shows_before_the_agent_has_seen_it(cloud: Cloud) -> None:
    cloud.create(template(service("a:1")))
    (old,) = cloud.plane.services()
    done = model.DeploymentReport(
        old.deployment_id, "PRIMARY", old.task_definition.arn, 1, 1, 0, 0, "COMPLETED", "done", time.time()
    )
    cloud.plane.report_service(old.arn, [done], "has reached a steady state.")
    cloud.ecs.update_service(cluster=old.cluster_arn, service=old.arn, forceNewDeployment=True)
    cloud.plane.report_service(old.arn, [done])
    (described,) = cloud.ecs.describe_services(cluster=old.cluster_arn, services=[old.arn])["services"]
    shown = [(deployment["status"], deployment["rolloutState"]) for deployment in described["deployments"]]
    assert shown == [("PRIMARY", "IN_PROGRESS"), ("ACTIVE", "COMPLETED")]
    assert described["runningCount"] == 1
    assert described["events"][0]["message"].endswith("has reached a steady state.")
