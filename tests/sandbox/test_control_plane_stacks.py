"""CloudFormation's behaviour on small templates, by boto3 through the proxy."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from copilot_sandbox.control_plane.functions import refusal
from copilot_sandbox.seed import first_failure
from tests.sandbox.cloud import Cloud, function, group, template


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


def test_a_nested_stack_gets_booleans_as_cloudformation_writes_them(cloud: Cloud) -> None:
    inner = template(
        {"Logs": {**group(), "Condition": "Wanted"}, "Other": group()},
        Parameters={"Make": {"Type": "String", "AllowedValues": [True, False]}},
        Conditions={"Wanted": {"Fn::Equals": [{"Ref": "Make"}, "true"]}},
        Outputs={"Made": {"Value": {"Ref": "Make"}}},
    )
    store = cloud.client("s3")
    store.create_bucket(Bucket="templates")
    store.put_object(Bucket="templates", Key="inner.yml", Body=json.dumps(inner).encode())
    properties = {
        "TemplateURL": "https://templates.s3.us-east-1.amazonaws.com/inner.yml",
        "Parameters": {"Make": False},
    }
    wanted = template({"Inner": {"Type": "AWS::CloudFormation::Stack", "Properties": properties}})
    wanted["Outputs"] = {"Made": {"Value": {"Fn::GetAtt": ["Inner", "Outputs.Made"]}}}
    assert cloud.create(wanted) == "CREATE_COMPLETE"
    assert cloud.outputs() == {"Made": "false"}


def test_an_update_touches_only_what_resolves_differently(cloud: Cloud) -> None:
    wanted = template(
        {"Kept": group(), "Changed": group({"Ref": "Days"})},
        Parameters={"Days": {"Type": "Number"}},
    )
    cloud.create(wanted, Days="1")
    before = cloud.ids()
    assert cloud.update(wanted, Days="3") == "UPDATE_COMPLETE"
    assert first_failure(cloud.stacks, "s") == ""
    touched = {name for name, status in cloud.events() if status == "UPDATE_COMPLETE"}
    assert touched == {"Changed", "s"}
    assert cloud.ids() == before
    groups = cloud.client("logs").describe_log_groups()["logGroups"]
    assert {found["logGroupName"]: found["retentionInDays"] for found in groups}[before["Changed"]] == 3


def test_a_bucket_keeps_versions_where_its_template_says_so(cloud: Cloud) -> None:
    kept = {"VersioningConfiguration": {"Status": "Enabled"}}
    cloud.create(template({"B": {"Type": "AWS::S3::Bucket", "Properties": kept}}))
    s3, bucket = cloud.client("s3"), cloud.ids()["B"]
    for body in (b"1", b"2"):
        s3.put_object(Bucket=bucket, Key="lease", Body=body)
    assert [each["IsLatest"] for each in s3.list_object_versions(Bucket=bucket)["Versions"]] == [True, False]


def test_the_time_of_a_log_streams_last_line_is_known_an_hour_later(cloud: Cloud) -> None:
    logs, now = cloud.client("logs"), int(time.time() * 1000)
    logs.create_log_group(logGroupName="g")
    for name, at in (("new", now), ("old", now - 2 * 3_600_000)):
        logs.create_log_stream(logGroupName="g", logStreamName=name)
        events = [{"timestamp": at, "message": "a line"}]
        logs.put_log_events(logGroupName="g", logStreamName=name, logEvents=events)
    found = logs.describe_log_streams(logGroupName="g")["logStreams"]
    assert {each["logStreamName"]: "lastEventTimestamp" in each for each in found} == {
        "new": False,
        "old": True,
    }


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
    assert first_failure(cloud.stacks, "s") == f"Bad CREATE_FAILED: {cloud.reason('Bad', 'CREATE_FAILED')}"
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
