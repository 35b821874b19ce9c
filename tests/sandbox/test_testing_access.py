"""Access control of the embedded AWS: what each call asks for, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.request import Request

from copilot_sandbox.control_plane import ControlPlaneServer
from copilot_sandbox.testing.permissions import read_call, required_permissions
from tests.sandbox.cloud import TRUST

CFN, SSM, ECS, ECR, LOGS = (
    f"arn:aws:{service}:us-east-1:123456789012:"
    for service in ("cloudformation", "ssm", "ecs", "ecr", "logs")
)
CLUSTER = f"{ECS}cluster/demo-test-C"
ROLE = "arn:aws:iam::123456789012:role/demo-test-EnvManagerRole"
ME = "arn:aws:sts::123456789012:assumed-role/ci/sandbox"


class Sent(BaseException):
    """A request that boto3 was about to send; botocore catches nothing of this kind."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        body = request.body or b""
        headers = {
            name: value.decode() if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        self.request = Request.from_primitives(
            str(request.method),
            str(request.url),
            headers | {"Host": str(request.url).split("/")[2]},
            body if isinstance(body, bytes) else body.read() if hasattr(body, "read") else body.encode(),
        )


def sent(name: str, operation: str, parameters: dict[str, Any]) -> Request:
    client = boto3.Session("sandbox", "sandbox", region_name="us-east-1").client(name)

    def send(request: AWSPreparedRequest, **_: Any) -> None:
        raise Sent(request)

    client.meta.events.register("before-send", send)
    with pytest.raises(Sent) as caught:
        getattr(client, operation)(**parameters)
    return caught.value.request


SERVICE = {"cluster": "demo-test-C", "service": "web"}
OBJECT = {"Bucket": "b", "Key": "a/b c.json"}
CHANGE = {"StackName": "s", "ChangeSetName": "c", "TemplateBody": "{}", "RoleARN": ROLE}
STACK_SET = {"StackSetName": "i", "TemplateBody": "{}", "AdministrationRoleARN": ROLE}
TAGS = {"ResourceType": "Parameter", "ResourceId": "/a", "Tags": []}
COMMAND = {"cluster": CLUSTER, "task": "1", "command": "sh", "interactive": True}
STREAM = {"logGroupName": "/copilot/x", "logStreamName": "a/b"}


@pytest.mark.nightly_from(8)
@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"),
    [
        ("cloudformation", "delete_stack", {"StackName": "s"}, [f"DeleteStack {CFN}stack/s/*"]),
        ("cloudformation", "delete_stack", {"StackName": f"{CFN}stack/s/1"}, [f"DeleteStack {CFN}stack/s/1"]),
        ("cloudformation", "describe_stacks", {}, ["DescribeStacks *", "cloudformation:ListStacks *"]),
        ("cloudformation", "list_stacks", {}, ["ListStacks *"]),
        (
            "cloudformation",
            "create_change_set",
            CHANGE,
            [f"iam:PassRole {ROLE}", f"CreateChangeSet {CFN}stack/s/*"],
        ),
        (
            "cloudformation",
            "update_stack_set",
            STACK_SET,
            [f"iam:PassRole {ROLE}", f"UpdateStackSet {CFN}stackset/i:*"],
        ),
        ("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "me"}, [f"AssumeRole {ROLE}"]),
        ("sts", "get_caller_identity", {}, []),
        ("iam", "get_role", {"RoleName": "demo-test-EnvManagerRole"}, [f"GetRole {ROLE}"]),
        ("ssm", "get_parameter", {"Name": "/copilot/a"}, [f"GetParameter {SSM}parameter/copilot/a"]),
        (
            "ssm",
            "get_parameters",
            {"Names": ["/a", "b"]},
            [f"GetParameters {SSM}parameter/a", f"GetParameters {SSM}parameter/b"],
        ),
        ("ssm", "get_parameters_by_path", {"Path": "/a/"}, [f"GetParametersByPath {SSM}parameter/a/"]),
        ("ssm", "add_tags_to_resource", TAGS, [f"AddTagsToResource {SSM}parameter/a"]),
        ("ssm", "describe_parameters", {}, ["DescribeParameters *"]),
        ("ecs", "update_service", SERVICE, [f"UpdateService {ECS}service/demo-test-C/web"]),
        (
            "ecs",
            "stop_task",
            {"cluster": CLUSTER, "task": f"{ECS}task/other/1"},
            [f"StopTask {ECS}task/other/1"],
        ),
        (
            "ecs",
            "describe_tasks",
            {"cluster": CLUSTER, "tasks": ["1", "2"]},
            [f"DescribeTasks {ECS}task/demo-test-C/1", f"DescribeTasks {ECS}task/demo-test-C/2"],
        ),
        ("ecs", "run_task", {"taskDefinition": "x"}, [f"RunTask {ECS}task-definition/x:*"]),
        (
            "ecs",
            "execute_command",
            COMMAND,
            [f"ExecuteCommand {CLUSTER}", f"ExecuteCommand {ECS}task/demo-test-C/1"],
        ),
        ("ecs", "describe_task_definition", {"taskDefinition": "x"}, ["DescribeTaskDefinition *"]),
        ("ecr", "list_images", {"repositoryName": "demo/web"}, [f"ListImages {ECR}repository/demo/web"]),
        ("ecr", "get_authorization_token", {}, ["GetAuthorizationToken *"]),
        ("logs", "get_log_events", STREAM, [f"GetLogEvents {LOGS}log-group:/copilot/x:log-stream:a/b"]),
        ("kms", "describe_key", {"KeyId": "1"}, ["DescribeKey arn:aws:kms:us-east-1:123456789012:key/1"]),
        ("resourcegroupstaggingapi", "get_resources", {}, ["tag:GetResources *"]),
        ("elbv2", "describe_rules", {}, ["elasticloadbalancing:DescribeRules *"]),
        ("ec2", "describe_subnets", {}, ["DescribeSubnets *"]),
        ("s3", "get_object", OBJECT, ["GetObject arn:aws:s3:::b/a/b c.json"]),
        ("s3", "head_object", OBJECT, ["GetObject arn:aws:s3:::b/a/b c.json"]),
        ("s3", "get_object_tagging", OBJECT, ["GetObjectTagging arn:aws:s3:::b/a/b c.json"]),
        ("s3", "delete_object", OBJECT, ["DeleteObject arn:aws:s3:::b/a/b c.json"]),
        (
            "s3",
            "put_object",
            {"Bucket": "b", "Key": "a", "ACL": "private", "Body": b"x"},
            ["PutObject arn:aws:s3:::b/a", "PutObjectAcl arn:aws:s3:::b/a"],
        ),
        (
            "s3",
            "delete_objects",
            {"Bucket": "b", "Delete": {"Objects": [{"Key": "a&b"}, {"Key": "c"}]}},
            ["DeleteObject arn:aws:s3:::b/a&b", "DeleteObject arn:aws:s3:::b/c"],
        ),
        ("s3", "list_objects_v2", {"Bucket": "b", "Prefix": "x"}, ["ListBucket arn:aws:s3:::b"]),
        ("s3", "get_bucket_location", {"Bucket": "b"}, ["GetBucketLocation arn:aws:s3:::b"]),
        ("s3", "list_buckets", {}, ["ListAllMyBuckets *"]),
        ("lambda", "list_functions", {}, ["lambda:ListFunctions *"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_call_asks_for_the_actions_and_resources_that_aws_says(
    service: str, operation: str, parameters: dict[str, Any], expected: list[str]
) -> None:
    call = read_call(sent(service, operation, parameters))
    assert call.key == "sandbox"
    found = [f"{asked.action} {asked.resource}" for asked in required_permissions(call)]
    assert [each.removeprefix(f"{service}:") for each in found] == [
        each.removeprefix(f"{service}:") for each in expected
    ]


def test_a_call_to_ecs_says_which_cluster() -> None:
    for cluster in ("demo-test-C", CLUSTER):
        (asked,) = required_permissions(read_call(sent("ecs", "list_tasks", {"cluster": cluster})))
        assert asked.context == {"ecs:cluster": CLUSTER}


@dataclass
class Cloud:
    plane: ControlPlaneServer
    switch: Path

    def client(self, service: str, taken: dict[str, str] | None = None) -> Any:
        """A client of the sandbox's own key, or of one that STS gave."""
        aws = self.plane.environment()
        own = (aws["AWS_ACCESS_KEY_ID"], aws["AWS_SECRET_ACCESS_KEY"])
        given = (taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"]) if taken else own
        session = boto3.Session(*given, region_name="us-east-1")
        config = Config(proxies={"https": aws["HTTPS_PROXY"]}, retries={"max_attempts": 1})
        return session.client(service, config=config, verify=aws["AWS_CA_BUNDLE"])

    def enforce(self, *statements: dict[str, Any]) -> None:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        self.switch.write_text(json.dumps({"enforce": True, "principal": {"policies": [policy]}}))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("aws")
    plane = ControlPlaneServer(0, folder, None, lambda _: 0)
    plane.start()
    yield Cloud(plane, folder / "iam.json")
    plane.stop()


@pytest.fixture
def cloud(running: Cloud) -> Cloud:
    running.switch.unlink(missing_ok=True)
    return running


def allow(action: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "status"),
    [
        ("cloudformation", "delete_stack", {"StackName": "s"}, "AccessDenied", 403),
        ("ssm", "get_parameter", {"Name": "/x"}, "AccessDeniedException", 400),
        ("ecs", "list_clusters", {}, "AccessDeniedException", 400),
        ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x"}, "AccessDenied", 403),
        ("ec2", "describe_subnets", {}, "UnauthorizedOperation", 403),
        ("lambda", "list_functions", {}, "AccessDeniedException", 403),
        ("iam", "get_role", {"RoleName": "x"}, "AccessDenied", 403),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_call_that_nothing_allows_is_refused_in_its_services_own_form(
    cloud: Cloud, service: str, operation: str, parameters: dict[str, Any], code: str, status: int
) -> None:
    cloud.enforce(allow("nothing:*"))
    with pytest.raises(ClientError) as caught:
        getattr(cloud.client(service), operation)(**parameters)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    said = answer["Error"]["Message"]
    assert said.startswith(f"User: {ME} is not authorized to perform: {service}:")
    assert f" because no identity-based policy allows the {service}:" in said


def test_until_the_switch_is_on_everything_may_be_done_and_when_it_is_off_again_too(cloud: Cloud) -> None:
    ssm = cloud.client("ssm")
    ssm.put_parameter(Name="/x", Value="1", Type="String")
    cloud.enforce({"Effect": "Deny", "Action": "*", "Resource": "*"})
    with pytest.raises(ClientError, match="with an explicit deny in an identity-based policy"):
        ssm.get_parameter(Name="/x")
    assert cloud.client("sts").get_caller_identity()["Account"] == "123456789012"  # nobody can forbid that
    cloud.switch.write_text(json.dumps({"enforce": False, "principal": {"policies": []}}))
    assert ssm.get_parameter(Name="/x")["Parameter"]["Value"] == "1"
    cloud.enforce(allow("ssm:GetParameter", f"{SSM}parameter/x"))
    assert ssm.get_parameter(Name="/x")["Parameter"]["Value"] == "1"
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.delete_parameter(Name="/x")
    cloud.switch.unlink()
    ssm.delete_parameter(Name="/x")


def test_a_start_of_the_control_plane_turns_access_control_off(cloud: Cloud) -> None:
    cloud.enforce(allow("nothing:*"))
    cloud.plane.stop()
    cloud.plane.start()
    assert not cloud.switch.exists()
    cloud.client("ssm").describe_parameters()


def test_a_key_that_nobody_has_is_no_key(cloud: Cloud) -> None:
    cloud.enforce(allow("*"))
    made_up = {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x", "SessionToken": "x"}
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        cloud.client("cloudformation", made_up).list_stacks()


def test_a_role_that_was_taken_on_has_its_own_policies_inline_and_managed(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    role = iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
    inline = {"Version": "2012-10-17", "Statement": [allow("ssm:Get*"), allow("ssm:PutParameter")]}
    iam.put_role_policy(RoleName="r", PolicyName="inline", PolicyDocument=json.dumps(inline))
    deny = {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "ssm:Put*", "Resource": "*"}}
    managed = iam.create_policy(PolicyName="managed", PolicyDocument=json.dumps(deny))["Policy"]["Arn"]
    cloud.client("ssm").put_parameter(Name="/x", Value="1", Type="String")
    cloud.enforce(allow("sts:AssumeRole", role))
    given = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    taken = cloud.client("ssm", given)
    assert taken.get_parameter(Name="/x")["Parameter"]["Value"] == "1"
    taken.put_parameter(Name="/y", Value="1", Type="String")
    with pytest.raises(
        ClientError, match="assumed-role/r/me is not authorized to perform: ssm:DeleteParameter"
    ):
        taken.delete_parameter(Name="/x")
    with pytest.raises(ClientError, match="ssm:GetParameter"):  # what the role may, who took it on may not
        cloud.client("ssm").get_parameter(Name="/x")
    cloud.switch.unlink()
    iam.attach_role_policy(RoleName="r", PolicyArn=managed)
    cloud.enforce(allow("sts:AssumeRole", role))
    with pytest.raises(ClientError, match="explicit deny"):
        taken.put_parameter(Name="/z", Value="1", Type="String")
    with pytest.raises(ClientError, match="sts:AssumeRole"):
        cloud.client("sts").assume_role(RoleArn=f"{role}2", RoleSessionName="me")


def test_a_queues_own_policy_lets_the_roles_in_that_it_names_and_no_others(cloud: Cloud) -> None:
    iam, clients = cloud.client("iam"), {}
    for name in ("mine", "other"):
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]["Arn"]
        given = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
        clients[name] = cloud.client("sqs", given)
    queue = cloud.client("sqs").create_queue(QueueName="orders")["QueueUrl"]
    reads = {
        "Effect": "Allow",
        "Principal": {"AWS": [role.replace("other", "mine")]},
        "Action": ["sqs:ReceiveMessage"],
        "Resource": "arn:aws:sqs:us-east-1:123456789012:orders",
    }
    publishes = {**reads, "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reads, publishes]})
    cloud.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    cloud.enforce(allow("nothing:*"))
    clients["mine"].receive_message(QueueUrl=queue)
    for name, operation in (("mine", "purge_queue"), ("other", "receive_message"), ("other", "purge_queue")):
        with pytest.raises(ClientError, match="is not authorized to perform: sqs:"):
            getattr(clients[name], operation)(QueueUrl=queue)


def test_a_role_is_passed_on_only_by_who_may_by_its_tags(cloud: Cloud) -> None:
    iam = cloud.client("iam")
    for name in ("test", "stage"):
        iam.create_role(
            RoleName=name,
            AssumeRolePolicyDocument=json.dumps(TRUST),
            Tags=[{"Key": "copilot-environment", "Value": name}],
        )
    tagged = {"StringEquals": {"iam:ResourceTag/copilot-environment": "test"}}
    to = {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
    cloud.enforce(
        allow("cloudformation:*"),
        allow("iam:PassRole", Condition=tagged | {"StringLike": to["StringEquals"]}),
    )
    template = json.dumps({"Resources": {"Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {}}}}})
    stacks = cloud.client("cloudformation")
    stacks.create_stack(StackName="a", TemplateBody=template, RoleARN="arn:aws:iam::123456789012:role/test")
    with pytest.raises(ClientError, match="iam:PassRole on resource: arn:aws:iam::123456789012:role/stage"):
        stacks.create_stack(
            StackName="b", TemplateBody=template, RoleARN="arn:aws:iam::123456789012:role/stage"
        )


def test_a_task_without_roles_needs_no_right_to_pass_one(cloud: Cloud) -> None:
    ecs = cloud.client("ecs")
    container = {"name": "a", "image": "b", "memory": 128}
    ecs.register_task_definition(family="plain", containerDefinitions=[container])
    cloud.enforce(allow("ecs:*"))
    with pytest.raises(ClientError, match="ClusterNotFoundException"):  # which is asked after the rights
        ecs.run_task(cluster="none", taskDefinition="plain")


@pytest.mark.nightly
def test_a_condition_may_ask_for_a_resources_tags(cloud: Cloud) -> None:
    ssm = cloud.client("ssm")
    for name in ("test", "stage"):
        ssm.put_parameter(
            Name=f"/{name}", Value="1", Type="String", Tags=[{"Key": "environment", "Value": name}]
        )
    tagged = {"StringEquals": {"aws:ResourceTag/environment": "test"}}
    cloud.enforce(allow("ssm:GetParameter", Condition=tagged))
    ssm.get_parameter(Name="/test")
    with pytest.raises(ClientError, match="AccessDenied"):
        ssm.get_parameter(Name="/stage")


def test_an_object_needs_its_buckets_key_and_a_missing_one_the_right_to_list(cloud: Cloud) -> None:
    s3 = cloud.client("s3")
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.create_bucket(Bucket="bucket")
    s3.put_bucket_encryption(Bucket="bucket", ServerSideEncryptionConfiguration={"Rules": [rule]})
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    objects = allow("s3:*Object", "arn:aws:s3:::bucket/*")
    cloud.enforce(objects, allow("kms:Decrypt", key, Condition=through))
    with pytest.raises(ClientError, match=f"kms:GenerateDataKey on resource: {key}"):
        s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    cloud.enforce(objects, allow("kms:GenerateDataKey", key, Condition=through))
    s3.put_object(Bucket="bucket", Key="k", Body=b"x")
    with pytest.raises(ClientError, match="kms:Decrypt"):
        s3.get_object(Bucket="bucket", Key="k")
    with pytest.raises(ClientError, match="s3:ListBucket on resource: arn:aws:s3:::bucket "):
        s3.get_object(Bucket="bucket", Key="none")
    cloud.enforce(objects, allow("s3:ListBucket", "arn:aws:s3:::bucket"))
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bucket", Key="none")
