"""Calls and resources that fail because a test asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ProxyConnectionError

from copilot_sandbox.testing.faults import Faults, InvalidFaults
from tests.sandbox.cloud import Cloud, client, group, template

THROTTLED = {
    "cloudformation:DescribeStacks": "Throttling",
    "ec2:DescribeVpcs": "RequestLimitExceeded",
    "ecr:DescribeRepositories": "ThrottlingException",
    "ecs:ListClusters": "ThrottlingException",
    "elbv2:DescribeLoadBalancers": "Throttling",
    "iam:ListRoles": "Throttling",
    "lambda:ListFunctions": "TooManyRequestsException",
    "logs:DescribeLogGroups": "ThrottlingException",
    "resourcegroupstaggingapi:GetResources": "ThrottledException",
    "route53:ListHostedZones": "Throttling",
    "s3:ListBuckets": "SlowDown",
    "ssm:DescribeParameters": "ThrottlingException",
    "sts:GetCallerIdentity": "Throttling",
}

# One for each form of errors and each word for being throttled.
OF_EACH_FORM = {
    *("cloudformation:DescribeStacks", "ec2:DescribeVpcs", "ecs:ListClusters", "lambda:ListFunctions"),
    *("resourcegroupstaggingapi:GetResources", "route53:ListHostedZones", "s3:ListBuckets"),
}


def ask(cloud: Cloud, call: str, *, retries: int) -> Any:
    service, operation = call.split(":")
    asking = client(cloud.aws, service, retries=retries)
    names: dict[str, str] = {name: method for method, name in asking.meta.method_to_api_mapping.items()}
    return getattr(asking, names[operation])()


def test_a_plain_start_imports_nothing_that_only_tests_need(tmp_path: Path) -> None:
    code = (
        "import sys, boto3; from pathlib import Path; from tests.sandbox.cloud import Agent, Cloud\n"
        "from copilot_sandbox.control_plane import ControlPlaneServer\n"
        "plane = ControlPlaneServer(0, Path(sys.argv[1]), None, lambda _: 0); plane.start()\n"
        "cloud = Cloud(plane, Agent())\n"
        "def ours(): return any(name.startswith('copilot_sandbox.testing') for name in sys.modules)\n"
        "cloud.stacks.list_stacks(); print(ours())\n"
        "cloud.watch(); cloud.stacks.list_stacks(); print(ours())\n"
        "plane.stop()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == ["False", "True"]


@pytest.mark.nightly_from(3)
@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param(call, code, marks=[] if call in OF_EACH_FORM else [pytest.mark.nightly])
        for call, code in THROTTLED.items()
    ],
)
def test_a_throttled_call_says_so_in_its_services_words_and_the_next_try_succeeds(
    cloud: Cloud, call: str, code: str
) -> None:
    cloud.fail({"call": call, "kind": "throttle", "times": 2})
    calls = cloud.watch()
    with pytest.raises(ClientError, match=r"[Rr]ate|limit exceeded") as raised:
        ask(cloud, call, retries=0)
    assert raised.value.response["Error"]["Code"] == code
    assert ask(cloud, call, retries=1)["ResponseMetadata"]["RetryAttempts"] == 1
    assert calls() == [call] * 3


@pytest.mark.parametrize("call", ["cloudformation:DescribeStacks", "ec2:DescribeVpcs", "ecs:ListClusters"])
def test_a_broken_service_is_tried_again(cloud: Cloud, call: str) -> None:
    cloud.fail({"call": call, "kind": "server-error", "times": 2})
    with pytest.raises(ClientError, match="InternalFailure") as raised:
        ask(cloud, call, retries=0)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert ask(cloud, call, retries=1)["ResponseMetadata"]["RetryAttempts"] == 1


def test_s3_breaks_by_a_code_of_its_own(cloud: Cloud) -> None:
    cloud.fail({"call": "s3:*", "kind": "server-error", "times": 1})
    with pytest.raises(ClientError, match="InternalError"):
        ask(cloud, "s3:ListBuckets", retries=0)


def test_a_connection_is_dropped_before_or_after_the_call_is_done(cloud: Cloud) -> None:
    storage = client(cloud.aws, "s3", retries=0)
    storage.create_bucket(Bucket="things")
    cloud.fail({"call": "s3:PutObject", "kind": "drop", "times": 1})
    with pytest.raises(ProxyConnectionError):
        storage.put_object(Bucket="things", Key="undone", Body=b"x")
    cloud.fail({"call": "s3:PutObject", "kind": "drop-answer", "times": 1})
    with pytest.raises(ProxyConnectionError):
        storage.put_object(Bucket="things", Key="done", Body=b"x")
    assert [found["Key"] for found in storage.list_objects_v2(Bucket="things")["Contents"]] == ["done"]
    cloud.fail({"call": "*", "kind": "drop", "times": 2})
    answer = ask(cloud, "cloudformation:DescribeStacks", retries=2)
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2


def test_objects_and_buckets_have_calls_of_their_own(cloud: Cloud) -> None:
    calls = cloud.watch()
    storage = cloud.client("s3")
    storage.create_bucket(Bucket="things")
    storage.put_object(Bucket="things", Key="a/b c", Body=b"x")
    storage.copy_object(Bucket="things", Key="d", CopySource="things/a/b c")
    storage.head_object(Bucket="things", Key="d")
    storage.get_object(Bucket="things", Key="d")["Body"].read()
    storage.list_objects_v2(Bucket="things")
    storage.delete_objects(Bucket="things", Delete={"Objects": [{"Key": "d"}]})
    storage.delete_object(Bucket="things", Key="a/b c")
    storage.delete_bucket(Bucket="things")
    assert calls() == [
        "s3:CreateBucket",
        "s3:PutObject",
        "s3:CopyObject",
        "s3:HeadObject",
        "s3:GetObject",
        "s3:ListObjectsV2",
        "s3:DeleteObjects",
        "s3:DeleteObject",
        "s3:DeleteBucket",
    ]


def test_without_its_file_no_call_is_logged(cloud: Cloud) -> None:
    ask(cloud, "sts:GetCallerIdentity", retries=0)
    assert [path.name for path in cloud.folder.iterdir()] == ["ca.pem"]


def test_a_resource_fails_with_the_reason_that_was_asked_for(cloud: Cloud) -> None:
    wanted = template({"Fine": group(), "Logs": {**group(), "DependsOn": "Fine"}})
    cloud.fail({"resource": "Logs", "stack": "s", "verb": "create", "times": 1, "reason": "no more room"})
    assert cloud.create(wanted, "other") == "CREATE_COMPLETE"
    assert cloud.create(wanted) == "ROLLBACK_COMPLETE"
    assert cloud.reason("Logs", "CREATE_FAILED") == "no more room"
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.create(wanted) == "CREATE_COMPLETE"


def test_each_third_call_fails_where_the_rule_says_so(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    rule = {"call": "ecs:*", "kind": "throttle", "times": 2, "every": 3}
    (tmp_path / "faults.json").write_text(json.dumps([rule]))
    taken = [faults.take_call_fault("ecs:ListTasks") for _ in range(9)]
    assert taken == [None, None, "throttle", None, None, "throttle", None, None, None]


def test_rules_are_used_up_in_their_order_and_begin_anew_when_the_file_changes(tmp_path: Path) -> None:
    faults = Faults(tmp_path)
    file = tmp_path / "faults.json"

    def write(*rules: dict[str, Any]) -> None:
        draft = tmp_path / "draft"
        draft.write_text(json.dumps(rules))
        draft.replace(file)

    once: dict[str, Any] = {"call": "s3:*", "kind": "throttle", "times": 1}
    assert faults.take_call_fault("s3:GetObject") is None
    write(once, {"call": "s3:PutObject", "kind": "drop", "times": 2})
    assert [faults.take_call_fault("s3:PutObject") for _ in range(4)] == ["throttle", "drop", "drop", None]
    assert faults.take_call_fault("s3:GetObject") is None
    write(once)
    assert faults.take_call_fault("ecs:ListTasks") is None
    assert [faults.take_call_fault("s3:GetObject") for _ in range(2)] == ["throttle", None]
    file.unlink()
    assert faults.take_call_fault("s3:GetObject") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "is not a list of rules"),
        ("[", "cannot be read"),
        ("[3]", "cannot be read"),
        ('[{"call": "*", "kind": "explode", "times": 1}]', "'explode', which is not one of throttle"),
        ('[{"call": "*", "kind": "drop"}]', "a rule without 'times'"),
        ('[{"call": "*", "kind": "drop", "times": 1, "often": true}]', "unknown 'often'"),
        ('[{"resource": "A", "verb": "eat", "times": 1, "reason": ""}]', "'eat', which is not one of create"),
    ],
)
def test_a_rule_that_is_not_understood_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "faults.json").write_text(text)
    with pytest.raises(InvalidFaults, match=words):
        Faults(tmp_path).take_call_fault("s3:GetObject")


def test_a_file_that_is_not_understood_fails_the_call_that_meets_it(cloud: Cloud) -> None:
    (cloud.folder / "faults.json").write_text("[")
    with pytest.raises(ClientError, match=r"faults\.json cannot be read") as raised:
        ask(cloud, "cloudformation:DescribeStacks", retries=4)
    assert raised.value.response["ResponseMetadata"]["RetryAttempts"] == 0
