"""CloudFormation's behaviour on small templates, by boto3 through the proxy."""

from __future__ import annotations

import json
import time
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox import model
from copilot_sandbox.control_plane.functions import refusal
from tests.sandbox.cloud import Cloud, function, group, report, service, template


def test_a_stack_is_made_in_order_and_its_outputs_are_exported(cloud: Cloud) -> None:
    wanted = template(
        {"Late": {**group(), "DependsOn": "Early"}, "Early": group()},
        Outputs={
            "Name": {"Value": {"Ref": "Early"}, "Export": {"Name": "the-name"}},
            "Number": {"Value": 0},
            "Never": {"Condition": "No", "Value": {"Fn::GetAtt": ["Absent", "Arn"]}},
        },
        Conditions={"No": {"Fn::Equals": ["a", "b"]}},
    )
    wanted["Resources"]["Absent"] = {**group(), "Condition": "No"}
    assert cloud.create(wanted) == "CREATE_COMPLETE"
    made = [name for name, status in cloud.events() if status == "CREATE_COMPLETE"]
    assert made == ["Early", "Late", "s"]
    assert cloud.outputs() == {"Name": cloud.ids()["Early"], "Number": "0"}
    assert [export["Name"] for export in cloud.stacks.list_exports()["Exports"]] == ["the-name"]


def test_an_update_touches_only_what_resolves_differently(cloud: Cloud) -> None:
    wanted = template(
        {"Kept": group(), "Changed": group({"Ref": "Days"})},
        Parameters={"Days": {"Type": "Number"}},
    )
    cloud.create(wanted, Days="1")
    before = cloud.ids()
    assert cloud.update(wanted, Days="3") == "UPDATE_COMPLETE"
    touched = {name for name, status in cloud.events() if status == "UPDATE_COMPLETE"}
    assert touched == {"Changed", "s"}
    assert cloud.ids() == before
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert {found["logGroupName"]: found["retentionInDays"] for found in groups}[before["Changed"]] == 3


def test_what_the_template_no_longer_has_goes_at_the_end_of_an_update(cloud: Cloud) -> None:
    cloud.create(template({"Old": group(), "Kept": group()}))
    cloud.update(template({"New": group(), "Kept": group()}))
    assert set(cloud.ids()) == {"New", "Kept"}
    events = cloud.events()
    assert events.index(("New", "CREATE_COMPLETE")) < events.index(("Old", "DELETE_COMPLETE"))


def test_a_failed_creation_rolls_back_and_says_why(cloud: Cloud) -> None:
    wanted = template({"Fine": group(), "Bad": {**function("nodejs20.x"), "DependsOn": "Fine"}})
    assert cloud.create(wanted) == "ROLLBACK_COMPLETE"
    words = refusal("nodejs20.x")
    assert words is not None
    assert words in cloud.reason("Bad", "CREATE_FAILED")
    assert cloud.ids() == {}
    assert cloud.client("logs").describe_log_groups()["logGroups"] == []
    with pytest.raises(ClientError, match="ROLLBACK_COMPLETE state and can not be updated"):
        cloud.update(template({"Fine": group()}))


def test_a_failed_update_gives_the_old_properties_back(cloud: Cloud) -> None:
    cloud.create(template({"Logs": group(1), "Code": function("nodejs22.x")}))
    assert cloud.update(template({"Logs": group(3), "New": group(), "Code": function("python3.8")})) == (
        "UPDATE_ROLLBACK_COMPLETE"
    )
    assert "python3.8 is no longer supported" in cloud.reason("Code", "UPDATE_FAILED")
    assert set(cloud.ids()) == {"Logs", "Code"}
    (left,) = cloud.client("logs").describe_log_groups()["logGroups"]
    assert left["retentionInDays"] == 1
    assert "nodejs22.x" in cloud.stacks.get_template(StackName="s")["TemplateBody"].__str__()
    assert cloud.update(template({"Logs": group(5), "Code": function("nodejs22.x")})) == "UPDATE_COMPLETE"


def test_a_change_set_lists_the_changes_and_says_when_there_are_none(cloud: Cloud) -> None:
    wanted = template({"A": group(), "Gone": group()})
    cloud.create(wanted)

    def propose(name: str, wanted: dict[str, Any], tags: list[dict[str, str]]) -> Any:
        cloud.stacks.create_change_set(
            StackName="s",
            ChangeSetName=name,
            TemplateBody=json.dumps(wanted),
            ChangeSetType="UPDATE",
            Tags=tags,
        )
        return cloud.stacks.describe_change_set(StackName="s", ChangeSetName=name)

    same = propose("same", {**wanted, "Metadata": {"Version": 2}}, [])
    assert same["Status"] == "FAILED"
    assert "didn't contain changes" in same["StatusReason"]
    assert propose("tags", wanted, [{"Key": "k", "Value": "v"}])["Status"] == "CREATE_COMPLETE"
    other = propose("other", template({"A": group(3), "New": group()}), [])
    changes = {
        (change["ResourceChange"]["LogicalResourceId"], change["ResourceChange"]["Action"])
        for change in other["Changes"]
    }
    assert changes == {("A", "Modify"), ("New", "Add"), ("Gone", "Remove")}
    cloud.stacks.execute_change_set(StackName="s", ChangeSetName="other")
    assert set(cloud.ids()) == {"A", "New"}
    with pytest.raises(ClientError, match="cannot be executed"):
        cloud.stacks.execute_change_set(StackName="s", ChangeSetName="tags")


def test_an_update_without_changes_is_refused_in_awss_words(cloud: Cloud) -> None:
    cloud.create(template({"A": group()}))
    with pytest.raises(ClientError, match=r"No updates are to be performed\."):
        cloud.update(template({"A": group()}))


def test_an_export_in_use_keeps_its_stack(cloud: Cloud) -> None:
    outputs = {"Name": {"Value": "x", "Export": {"Name": "used"}}}
    cloud.create(template({"A": group()}, Outputs=outputs), "giver")
    taker = {"Type": "AWS::Unheard::Of", "Properties": {"Name": {"Fn::ImportValue": "used"}}}
    cloud.create(template({"B": taker}), "taker")
    cloud.stacks.delete_stack(StackName="giver")
    assert cloud.status("giver") == "DELETE_FAILED"
    assert "Export used cannot be deleted as it is in use by taker" in cloud.reason(
        "giver", "DELETE_FAILED", "giver"
    )
    cloud.stacks.delete_stack(StackName="taker")
    cloud.stacks.delete_stack(StackName="giver")
    assert cloud.stacks.describe_stacks()["Stacks"] == []


def test_a_protected_stack_is_not_deleted(cloud: Cloud) -> None:
    cloud.create(template({"A": group()}))
    cloud.stacks.update_termination_protection(StackName="s", EnableTerminationProtection=True)
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        cloud.stacks.delete_stack(StackName="s")


def test_a_deleted_stack_is_known_by_its_id_only(cloud: Cloud) -> None:
    cloud.create(template({"A": group(), "Kept": {**group(), "DeletionPolicy": "Retain"}}))
    identity = cloud.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackId"]
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.status(identity) == "DELETE_COMPLETE"
    assert ("Kept", "DELETE_SKIPPED") in cloud.events(identity)
    with pytest.raises(ClientError, match="Stack with id s does not exist"):
        cloud.status("s")
    assert len(cloud.client("logs").describe_log_groups()["logGroups"]) == 1


def test_a_record_that_exists_is_not_made_again(cloud: Cloud) -> None:
    route53 = cloud.client("route53")
    zone = route53.create_hosted_zone(Name="example.com", CallerReference="once")["HostedZone"]["Id"]
    record = {
        "Type": "AWS::Route53::RecordSet",
        "Properties": {
            "HostedZoneId": zone.rsplit("/", 1)[-1],
            "Name": "x.example.com",
            "Type": "A",
            "TTL": "60",
            "ResourceRecords": ["127.0.0.1"],
        },
    }
    assert cloud.create(template({"Record": record}), "first") == "CREATE_COMPLETE"
    assert cloud.create(template({"Record": record}), "second") == "ROLLBACK_COMPLETE"
    assert "but it already exists" in cloud.reason("Record", "CREATE_FAILED", "second")
    cloud.stacks.delete_stack(StackName="first")
    listed = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    assert {found["Type"] for found in listed} == {"NS", "SOA"}


def test_a_network_goes_with_its_stack(cloud: Cloud) -> None:
    network = {"VpcId": {"Ref": "Vpc"}}
    subnet = {**network, "CidrBlock": "10.0.1.0/24"}
    pair = {"RouteTableId": {"Ref": "Table"}, "SubnetId": {"Ref": "Subnet"}}
    cloud.create(
        template(
            {
                "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
                "Subnet": {"Type": "AWS::EC2::Subnet", "Properties": subnet},
                "Table": {"Type": "AWS::EC2::RouteTable", "Properties": network},
                "Pair": {"Type": "AWS::EC2::SubnetRouteTableAssociation", "Properties": pair},
            }
        )
    )
    identity = cloud.ids()["Vpc"]
    cloud.stacks.delete_stack(StackName="s")
    vpcs = cloud.client("ec2").describe_vpcs()["Vpcs"]
    assert identity not in [vpc["VpcId"] for vpc in vpcs]


@pytest.mark.parametrize(
    ("sources", "why"),
    [
        (["192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"], ""),
        ([f"192.0.2.{number}/32" for number in range(4)], "A rule can only have '5' condition values"),
        (["192.0.2.0/33"], "'192.0.2.0/33' is not a valid CIDR block"),
    ],
)
def test_a_listener_rule_takes_five_values_and_real_networks(
    cloud: Cloud, sources: list[str], why: str
) -> None:
    kind = "AWS::ElasticLoadBalancingV2::"
    forward = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}]
    listener = {"LoadBalancerArn": {"Ref": "Balancer"}, "Port": 80, "Protocol": "HTTP"}
    conditions = [
        {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a", "/a/*"]}},
        {"Field": "source-ip", "SourceIpConfig": {"Values": sources}},
    ]
    rule = {"ListenerArn": {"Ref": "Listener"}, "Priority": 1, "Actions": forward, "Conditions": conditions}
    network = {"VpcId": {"Ref": "Vpc"}}
    subnets = {
        f"Subnet{zone}": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {
                **network,
                "CidrBlock": f"10.0.{number}.0/24",
                "AvailabilityZone": f"us-east-1{zone}",
            },
        }
        for number, zone in enumerate("ab")
    }
    status = cloud.create(
        template(
            {
                "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
                **subnets,
                "Balancer": {
                    "Type": f"{kind}LoadBalancer",
                    "Properties": {"Subnets": [{"Ref": name} for name in subnets]},
                },
                "Listener": {
                    "Type": f"{kind}Listener",
                    "Properties": {**listener, "DefaultActions": forward},
                },
                "Rule": {"Type": f"{kind}ListenerRule", "Properties": rule},
            }
        )
    )
    assert status == ("ROLLBACK_COMPLETE" if why else "CREATE_COMPLETE")
    if why:
        assert why in cloud.reason("Rule", "CREATE_FAILED")


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


def test_lambdas_own_api_refuses_a_blocked_runtime(cloud: Cloud) -> None:
    functions = cloud.client("lambda")
    with pytest.raises(ClientError, match=r"nodejs20\.x is no longer supported"):
        functions.create_function(
            FunctionName="f", Runtime="nodejs20.x", Role="arn:aws:iam::1:role/r", Handler="h", Code={}
        )
    assert refusal("nodejs22.x") is None


def test_what_the_sandbox_lacks_is_a_clear_400(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match="The sandbox's ECS has no StartTask") as raised:
        cloud.ecs.start_task(cluster="default", taskDefinition="web", containerInstances=["i"])
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError, match="does not have this") as raised:
        cloud.stacks.detect_stack_drift(StackName="s")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_the_certificate_authority_keeps_its_key_to_itself(cloud: Cloud) -> None:
    cloud.create(template({"A": group()}))
    assert [path.name for path in cloud.plane.ca.parent.iterdir()] == ["ca.pem"]
    assert "PRIVATE" not in cloud.plane.ca.read_text()


def test_one_connection_serves_many_requests(cloud: Cloud) -> None:
    pool = Config(proxies={"https": cloud.aws["HTTPS_PROXY"]}, max_pool_connections=1)
    session = boto3.Session(
        cloud.aws["AWS_ACCESS_KEY_ID"], cloud.aws["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1"
    )
    storage = session.client("s3", config=pool, verify=cloud.aws["AWS_CA_BUNDLE"])
    storage.create_bucket(Bucket="things")
    storage.put_object(Bucket="things", Key="a", Body=b"x" * 300_000)
    assert storage.head_object(Bucket="things", Key="a")["ContentLength"] == 300_000
    assert len(storage.get_object(Bucket="things", Key="a")["Body"].read()) == 300_000
    storage.delete_object(Bucket="things", Key="a")
    assert "Contents" not in storage.list_objects_v2(Bucket="things")
