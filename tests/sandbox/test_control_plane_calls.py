"""The control plane refuses what it lacks, keeps its key, and serves many requests on a connection."""

from __future__ import annotations

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox.control_plane.functions import refusal
from tests.sandbox.cloud import Cloud, group, template


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
