"""Kinds of resources that people's templates have beside Copilot's own, deployed by boto3."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandbox.cloud import Cloud, function, template

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}],
}

MACHINE = {
    "DefinitionString": json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}),
    "RoleArn": "arn:aws:iam::123456789012:role/machine",
}


def made(cloud: Cloud, kind: str, properties: dict[str, Any], *attributes: str) -> dict[str, str]:
    """Create one resource in a stack; return its Ref, and these attributes of it."""
    wanted: dict[str, Any] = {"Ref": {"Value": {"Ref": "It"}}}
    wanted |= {name.replace(".", ""): {"Value": {"Fn::GetAtt": ["It", name]}} for name in attributes}
    status = cloud.create(template({"It": {"Type": kind, "Properties": properties}}, Outputs=wanted))
    assert status == "CREATE_COMPLETE", cloud.stacks.describe_stacks(StackName="s")["Stacks"][0]
    return cloud.outputs()


def test_an_access_point_is_known_by_its_id_and_leaves_with_its_stack(cloud: Cloud) -> None:
    resources = {
        "Files": {"Type": "AWS::EFS::FileSystem"},
        "Point": {"Type": "AWS::EFS::AccessPoint", "Properties": {"FileSystemId": {"Ref": "Files"}}},
    }
    outputs = {
        "Ref": {"Value": {"Ref": "Point"}},
        "Id": {"Value": {"Fn::GetAtt": ["Point", "AccessPointId"]}},
        "Arn": {"Value": {"Fn::GetAtt": ["Point", "Arn"]}},
        "Files": {"Value": {"Fn::GetAtt": ["Files", "FileSystemId"]}},
        "Stack": {"Value": {"Ref": "AWS::StackId"}},
    }
    assert cloud.create(template(resources, Outputs=outputs)) == "CREATE_COMPLETE"
    found = cloud.outputs()
    assert found["Ref"] == found["Id"] == found["Arn"].rpartition("/")[2]
    assert found["Ref"].startswith("fsap-")
    assert found["Files"] == cloud.ids()["Files"]
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.settled(found["Stack"]) == "DELETE_COMPLETE"


def test_a_function_is_called_by_a_rule_and_by_a_queue(cloud: Cloud) -> None:
    resources = {
        "Work": function("nodejs22.x"),
        "Every": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "ScheduleExpression": "rate(1 minute)",
                "Targets": [{"Arn": {"Fn::GetAtt": ["Work", "Arn"]}, "Id": "work"}],
            },
        },
        "May": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": {"Fn::GetAtt": ["Work", "Arn"]},
                "Principal": "events.amazonaws.com",
                "SourceArn": {"Fn::GetAtt": ["Every", "Arn"]},
            },
        },
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Reads": {
            "Type": "AWS::Lambda::EventSourceMapping",
            "Properties": {
                "EventSourceArn": {"Fn::GetAtt": ["Queue", "Arn"]},
                "FunctionName": {"Ref": "Work"},
            },
        },
    }
    assert cloud.create(template(resources)) == "CREATE_COMPLETE"


@pytest.mark.parametrize("more", [{}, {"ContentBasedDeduplication": True}])
def test_a_queue_in_order_without_a_name_gets_one_that_ends_in_fifo(
    cloud: Cloud, more: dict[str, Any]
) -> None:
    ends = made(cloud, "AWS::SQS::Queue", {"FifoQueue": True, **more}, "QueueName")
    assert ends["QueueName"].endswith(".fifo")
    assert ends["Ref"].endswith(ends["QueueName"])


def test_a_topic_in_order_without_a_name_gets_one_that_ends_in_fifo(cloud: Cloud) -> None:
    assert made(cloud, "AWS::SNS::Topic", {"FifoTopic": "true"}, "TopicName")["Ref"].endswith(".fifo")


@pytest.mark.parametrize(
    ("kind", "properties", "attribute", "value"),
    [
        ("AWS::SSM::Parameter", {"Name": "/a", "Type": "String", "Value": "1"}, "Value", "1"),
        ("AWS::IAM::ManagedPolicy", {"PolicyDocument": POLICY}, "PolicyArn", "arn:aws:iam:"),
        ("AWS::EC2::InternetGateway", {}, "InternetGatewayId", "igw-"),
        ("AWS::StepFunctions::StateMachine", MACHINE, "Arn", "arn:aws:states:"),
        ("AWS::CloudFront::Distribution", {"DistributionConfig": {}}, "DomainName", "d"),
        ("AWS::CloudFront::Function", {"Name": "f"}, "FunctionARN", "arn:aws:cloudfront::"),
        ("AWS::CloudFront::Function", {"Name": "f"}, "FunctionMetadata.FunctionARN", "arn:aws:cloudfront::"),
    ],
)
def test_an_attribute_that_aws_has_can_be_read(
    cloud: Cloud, kind: str, properties: dict[str, Any], attribute: str, value: str
) -> None:
    assert made(cloud, kind, properties, attribute)[attribute.replace(".", "")].startswith(value)


@pytest.mark.parametrize("kind", ["AWS::EC2::InternetGateway", "AWS::SQS::Queue", "AWS::SNS::TopicPolicy"])
def test_an_attribute_that_does_not_exist_rolls_the_stack_back(cloud: Cloud, kind: str) -> None:
    wanted = template({"It": {"Type": kind}}, Outputs={"Wrong": {"Value": {"Fn::GetAtt": ["It", "Wrong"]}}})
    assert cloud.create(wanted) == "ROLLBACK_COMPLETE"
    reason = "Requested attribute Wrong must be a readonly property in schema"
    (stack,) = cloud.stacks.describe_stacks(StackName="s")["Stacks"]
    events = cloud.stacks.describe_stack_events(StackName="s")["StackEvents"]
    assert (
        reason in f"{stack.get('StackStatusReason')} {[each.get('ResourceStatusReason') for each in events]}"
    )


def test_the_copy_of_a_certificate_for_cloudfront_is_the_certificate_itself(cloud: Cloud) -> None:
    for number in "12":
        arn = f"arn:aws:acm:us-east-1:123456789012:certificate/{number}"
        copy = {"Type": "Custom::CertificateReplicatorFunction", "Properties": {"CertificateArn": arn}}
        wanted = template({"Copy": copy}, Outputs={"Ref": {"Value": {"Ref": "Copy"}}})
        change = cloud.create if number == "1" else cloud.update
        assert change(wanted).endswith("E_COMPLETE")
        assert cloud.outputs() == {"Ref": arn}


def subscribed(**more: Any) -> dict[str, Any]:
    """Return a topic with two queues, of which one subscribes."""
    reads = {
        "TopicArn": {"Ref": "Topic"},
        "Protocol": "sqs",
        "Endpoint": {"Fn::GetAtt": ["Queue", "Arn"]},
        **more,
    }
    resources = {
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "orders"}},
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Other": {"Type": "AWS::SQS::Queue"},
        "Reads": {"Type": "AWS::SNS::Subscription", "Properties": reads},
    }
    outputs = {name: {"Value": {"Ref": name}} for name in resources}
    return template(resources, Outputs=outputs)


def arrived(cloud: Cloud, queue: str) -> list[str]:
    found = cloud.client("sqs").receive_message(QueueUrl=cloud.outputs()[queue], MaxNumberOfMessages=10)
    return [each["Body"] for each in found.get("Messages", ())]


def test_what_is_published_reaches_the_queue_that_subscribes_as_its_subscription_says(cloud: Cloud) -> None:
    assert cloud.create(subscribed()) == "CREATE_COMPLETE"
    sns, topic = cloud.client("sns"), cloud.outputs()["Topic"]
    sns.publish(TopicArn=topic, Message="one")
    assert [json.loads(body)["Message"] for body in arrived(cloud, "Queue")] == ["one"]
    assert arrived(cloud, "Other") == []
    paid = {"kind": ["paid"]}
    assert cloud.update(subscribed(RawMessageDelivery="true", FilterPolicy=paid)) == "UPDATE_COMPLETE"
    for kind in ("paid", "free"):
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        sns.publish(TopicArn=topic, Message=kind, MessageAttributes=attributes)
    assert arrived(cloud, "Queue") == ["paid"]
    before = cloud.outputs()["Reads"]
    assert cloud.update(subscribed(Endpoint={"Fn::GetAtt": ["Other", "Arn"]})) == "UPDATE_COMPLETE"
    assert cloud.outputs()["Reads"] != before
    sns.publish(TopicArn=topic, Message="two")
    assert len(arrived(cloud, "Other")) == 1
    assert arrived(cloud, "Queue") == []


def test_a_subscription_to_a_topic_that_does_not_exist_fails(cloud: Cloud) -> None:
    missing = "arn:aws:sns:us-east-1:123456789012:missing"
    assert cloud.create(subscribed(TopicArn=missing)) == "ROLLBACK_COMPLETE"
    (failed,) = (
        each["ResourceStatusReason"]
        for each in cloud.stacks.describe_stack_events(StackName="s")["StackEvents"]
        if each["LogicalResourceId"] == "Reads" and each["ResourceStatus"] == "CREATE_FAILED"
    )
    assert f"Topic does not exist: {missing}" in failed


def test_a_topic_has_the_tags_of_its_stack_by_which_copilot_finds_it(cloud: Cloud) -> None:
    tags = [{"Key": "copilot-service", "Value": "web"}]
    cloud.stacks.create_stack(StackName="s", TemplateBody=json.dumps(subscribed()), Tags=tags)
    assert cloud.settled("s") == "CREATE_COMPLETE"
    filters = [{"Key": "copilot-service", "Values": ["web"]}]
    found = cloud.client("resourcegroupstaggingapi").get_resources(
        TagFilters=filters, ResourceTypeFilters=["sns"]
    )
    assert [each["ResourceARN"] for each in found["ResourceTagMappingList"]] == [cloud.outputs()["Topic"]]


def test_a_queue_has_the_policy_that_the_template_gives_it_as_long_as_it_does(cloud: Cloud) -> None:
    def policed(*statements: dict[str, Any]) -> dict[str, Any]:
        made = subscribed()
        if statements:
            properties = {
                "Queues": [{"Ref": "Queue"}],
                "PolicyDocument": {**POLICY, "Statement": list(statements)},
            }
            made["Resources"]["May"] = {"Type": "AWS::SQS::QueuePolicy", "Properties": properties}
        return made

    def actions() -> list[str]:
        sqs, url = cloud.client("sqs"), cloud.outputs()["Queue"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes", {})
        return [each["Action"] for each in json.loads(found.get("Policy", '{"Statement": []}'))["Statement"]]

    reads, purges = (
        {"Effect": "Allow", "Principal": "*", "Action": f"sqs:{action}", "Resource": "*"}
        for action in ("ReceiveMessage", "PurgeQueue")
    )
    assert cloud.create(policed(reads)) == "CREATE_COMPLETE"
    assert actions() == ["sqs:ReceiveMessage"]
    assert cloud.update(policed(reads, purges)) == "UPDATE_COMPLETE"
    assert actions() == ["sqs:ReceiveMessage", "sqs:PurgeQueue"]
    assert cloud.update(policed()) == "UPDATE_COMPLETE"
    assert actions() == []


def test_a_call_that_waits_for_messages_lets_others_send_them(cloud: Cloud) -> None:
    sqs = cloud.client("sqs")
    queue = sqs.create_queue(QueueName="orders")["QueueUrl"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cloud.client("sqs").receive_message, QueueUrl=queue, WaitTimeSeconds=10)
        time.sleep(0.3)
        started = time.monotonic()
        sqs.send_message(QueueUrl=queue, MessageBody="one")
        assert [each["Body"] for each in waiting.result()["Messages"]] == ["one"]
        assert time.monotonic() - started < 5
