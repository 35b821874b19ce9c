"""What a program in a task may ask the embedded AWS, with its role's key or a user's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.sandbox.cloud import TRUST, Cloud, template

ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "RoleName": "task",
        "AssumeRolePolicyDocument": TRUST,
        "Policies": [
            {
                "PolicyName": "own",
                "PolicyDocument": {
                    "Version": "2012-10-17",
                    "Statement": [
                        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::media*"},
                        {"Effect": "Allow", "Action": "sts:*", "Resource": "*"},
                        {"Effect": "Allow", "Action": "sqs:*", "Resource": "arn:aws:sqs:*:*:jobs"},
                    ],
                },
            }
        ],
    },
}
ARN = "arn:aws:iam::123456789012:role/task"


@pytest.fixture
def cloud(cloud: Cloud) -> Cloud:
    assert cloud.create(template({"Role": ROLE})) == "CREATE_COMPLETE"
    for name in ("media", "stackset-shop", "other"):
        cloud.plane.ensure_bucket(name)
    return cloud


def client(cloud: Cloud, variables: dict[str, str], service: str, region: str = "us-east-1") -> Any:
    return boto3.client(
        service,
        region_name=region,
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=variables.get("AWS_SESSION_TOKEN"),
        config=Config(proxies={"https": cloud.aws["HTTPS_PROXY"]}, retries={"max_attempts": 1}),
        verify=cloud.aws["AWS_CA_BUNDLE"],
    )


def test_a_tasks_key_may_do_what_its_role_may(cloud: Cloud) -> None:
    variables = cloud.plane.task_variables(ARN)
    assert variables == cloud.plane.task_variables(ARN)
    objects = client(cloud, variables, "s3")
    objects.put_object(Bucket="media", Key="a/b.txt", Body=b"hello")
    assert objects.get_object(Bucket="media", Key="a/b.txt")["Body"].read() == b"hello"
    queues = client(cloud, variables, "sqs")
    url = queues.create_queue(QueueName="jobs")["QueueUrl"]
    queues.send_message(QueueUrl=url, MessageBody="one")
    assert queues.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "one"
    refused: list[Callable[[], object]] = [
        lambda: objects.put_object(Bucket="other", Key="a", Body=b""),
        lambda: objects.get_object(Bucket="stackset-shop", Key="a"),
        lambda: queues.create_queue(QueueName="others"),
        lambda: client(cloud, variables, "ssm").get_parameters_by_path(Path="/"),
        lambda: client(cloud, variables, "cloudformation").delete_stack(StackName="s"),
        lambda: client(cloud, variables, "sts").assume_role(RoleArn=ARN, RoleSessionName="out"),
    ]
    for call in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            call()


def policy(action: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::media/*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    return {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": document}}


def test_a_tasks_key_may_do_what_a_managed_policy_of_an_addon_allows_its_role(cloud: Cloud) -> None:
    """Copilot attaches an addon's policy to the task role by its ARN."""
    role: dict[str, Any] = {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "addon"}}
    role["Properties"] |= {"AssumeRolePolicyDocument": TRUST, "ManagedPolicyArns": [{"Ref": "Policy"}]}

    def objects() -> Any:
        return client(cloud, cloud.plane.task_variables(ARN.replace("role/task", "role/addon")), "s3")

    assert cloud.create(template({"Policy": policy("s3:Put*"), "Role": role}), "addons") == "CREATE_COMPLETE"
    objects().put_object(Bucket="media", Key="a", Body=b"one")
    with pytest.raises(ClientError, match="AccessDenied"):
        objects().get_object(Bucket="media", Key="a")
    assert cloud.update(template({"Policy": policy("s3:Get*"), "Role": role}), "addons") == "UPDATE_COMPLETE"
    assert objects().get_object(Bucket="media", Key="a")["Body"].read() == b"one"
    with pytest.raises(ClientError, match="AccessDenied"):
        objects().put_object(Bucket="media", Key="a", Body=b"two")
    identity = cloud.stacks.describe_stacks(StackName="addons")["Stacks"][0]["StackId"]
    cloud.stacks.delete_stack(StackName="addons")
    assert cloud.settled(identity) == "DELETE_COMPLETE"


def test_a_users_key_reaches_media_queues_and_mail_but_nothing_of_copilots(cloud: Cloud) -> None:
    variables = cloud.plane.user_variables()
    objects = client(cloud, variables, "s3")
    objects.put_object(Bucket="other", Key="a", Body=b"x" * 100_000)
    assert len(objects.get_object(Bucket="other", Key="a")["Body"].read()) == 100_000
    elsewhere = client(cloud, variables, "s3", "eu-west-1")
    assert elsewhere.head_object(Bucket="other", Key="a")["ContentLength"] == 100_000
    mail = client(cloud, variables, "ses")
    mail.verify_email_identity(EmailAddress="a@example.org")
    mail.send_email(
        Source="a@example.org",
        Destination={"ToAddresses": ["b@example.org"]},
        Message={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}},
    )
    refused: list[Callable[[], object]] = [
        lambda: objects.get_object(Bucket="stackset-shop", Key="a"),
        lambda: objects.copy_object(Bucket="other", Key="b", CopySource="stackset-shop/a"),
        lambda: objects.put_object(Bucket="stackset-shop", Key="a", Body=b""),
        lambda: client(cloud, variables, "secretsmanager").list_secrets(),
        lambda: client(cloud, variables, "ecs").list_clusters(),
        lambda: client(cloud, variables, "iam").list_roles(),
    ]
    for call in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            call()


def test_a_task_without_a_role_has_a_region_and_no_key(cloud: Cloud) -> None:
    assert cloud.plane.task_variables("") == {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1"}
    assert json.dumps(cloud.plane.user_variables())
