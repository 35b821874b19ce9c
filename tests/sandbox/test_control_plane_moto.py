"""What moto answers, where the tasks lean on it: parameters, and objects written on a condition."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto.core.loaders import create_loader as moto_loader

from tests.sandbox.cloud import Cloud


def test_a_parameter_is_deleted_once(cloud: Cloud) -> None:
    ssm = cloud.client("ssm")
    ssm.put_parameter(Name="/a/b", Value="x", Type="SecureString")
    ssm.delete_parameter(Name="/a/b")
    assert ssm.get_parameters(Names=["/a/b"])["InvalidParameters"] == ["/a/b"]
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.delete_parameter(Name="/a/b")
    with pytest.raises(ClientError, match="ParameterNotFound"):
        ssm.get_parameter(Name="/a/b")


def test_of_ten_conditional_writes_at_once_one_wins_each_round(cloud: Cloud) -> None:
    storage, *others = [cloud.client("s3") for _ in range(10)]
    storage.create_bucket(Bucket="things")
    everybody = threading.Barrier(10)
    known: dict[str, str] = {"IfNoneMatch": "*"}

    def write(writer: Any, text: str) -> tuple[str, str]:
        """Write, and return what was written and its tag, or the code of the refusal."""
        everybody.wait()
        try:
            return text, writer.put_object(Bucket="things", Key="lease", Body=text, **known)["ETag"]
        except ClientError as error:
            return text, error.response["Error"]["Code"]

    with ThreadPoolExecutor(10) as pool:
        for number in range(4):
            texts = [f"{writer} in round {number}" for writer in range(10)]
            answers = list(pool.map(write, [storage, *others], texts))
            ((text, tag),) = [answer for answer in answers if answer[1] != "PreconditionFailed"]
            assert storage.get_object(Bucket="things", Key="lease")["Body"].read() == text.encode()
            known = {"IfMatch": tag}
    storage.delete_object(Bucket="things", Key="lease")
    with pytest.raises(ClientError, match="NoSuchKey"):
        storage.put_object(Bucket="things", Key="lease", Body=b"", **known)


def test_sessions_share_what_is_parsed_which_motos_own_loader_does_not() -> None:
    one, other = (botocore.session.Session().get_component("data_loader") for _ in range(2))
    motos, wanted = moto_loader(), ("sqs", "service-2")
    assert one.load_service_model(*wanted) is other.load_service_model(*wanted)
    assert one.load_service_model(*wanted) is not motos.load_service_model(*wanted)
    assert one.list_available_services("service-2") == motos.list_available_services("service-2")
