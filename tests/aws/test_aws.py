from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import TargetHealth
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import LIFELINE


@dataclass
class Registry(Aws):
    """An AWS whose ECR deletes an image only when no manifest list refers to it any more."""

    lists: dict[str, set[str]] = field(default_factory=dict)  # of images, by the list's digest
    images: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__({})

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        yield self._ask(service, operation, **arguments)

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        assert (service, arguments["repositoryName"]) == ("ecr", "demo/web-x")
        if operation == "list_images":
            return {"imageIds": [{"imageDigest": digest} for digest in sorted({*self.lists, *self.images})]}
        referred = {image for images in self.lists.values() for image in images} | self.stuck
        failures = []
        for digest in (image["imageDigest"] for image in arguments["imageIds"]):
            if digest in referred:
                failures.append(
                    {"failureCode": "ImageReferencedByManifestList", "failureReason": "referred to"}
                )
            self.lists.pop(digest, None)
            self.images -= {digest} - referred
        return {"failures": failures}


def test_images_of_a_manifest_list_go_after_the_list() -> None:
    ecr = Registry(lists={"z": {"a", "b"}}, images={"a", "b", "c"})
    ecr.empty_repository("demo/web-x")
    assert (ecr.lists, ecr.images) == ({}, set())


class LateStreams(Aws):
    """A log group as AWS shows it for up to an hour: the time of the newest stream's last line is missing."""

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        assert (service, operation, "orderBy" in arguments) == ("logs", "describe_log_streams", False)
        yield {"logStreams": [{"logStreamName": "b", "creationTime": 2, "lastEventTimestamp": 9}]}
        yield {"logStreams": [{"logStreamName": "c", "creationTime": 3}]}
        yield {"logStreams": [{"logStreamName": "a", "creationTime": 1, "lastEventTimestamp": 8}]}


def test_the_newest_stream_is_found_before_aws_knows_the_time_of_its_last_line() -> None:
    assert LateStreams({}).newest_streams("/copilot/x", 2) == ["c", "b"]


def test_an_image_that_will_not_go_is_said() -> None:
    ecr = Registry(images={"a", "b"}, stuck={"a"})
    with pytest.raises(
        Failed, match="1 images of the repository demo/web-x could not be deleted: referred to"
    ):
        ecr.empty_repository("demo/web-x")
    assert ecr.images == {"a"}


def test_a_call_is_not_tried_again_once_the_sandbox_has_ended(tmp_path: Path) -> None:
    sent: list[object] = []
    lifeline = tmp_path / "server.lock"
    variables = {
        "HTTPS_PROXY": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1", LIFELINE: str(lifeline),
    }  # fmt: skip
    aws = Aws(variables)
    aws.client("sts").meta.events.register_first("before-send", lambda **_: sent.append("a try"))
    with pytest.raises(Failed, match=r"server has ended: .* Run the same again\."):
        aws.account()
    assert sent == ["a try"]


def test_every_call_has_a_limit() -> None:
    config = Aws({"AWS_PROFILE": None}, "us-east-1").client("sts").meta.config
    tries = config.retries["total_max_attempts"]
    assert config.connect_timeout * tries < 60
    assert config.read_timeout * tries < 60


class Erring(Aws):
    """An AWS that answers every call with one error."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__({})
        self.code, self.text = code, text

    def client(self, service: str, *, quick: bool = False) -> Any:  # type: ignore[override]  # there it is cached
        assert service
        assert not quick
        error = ClientError({"Error": {"Code": self.code, "Message": self.text}}, "Any")
        return Mock(**dict.fromkeys(ASKED, Mock(side_effect=error)), get_paginator=Mock(side_effect=error))


ASKED = (
    *(
        "describe_stacks",
        "describe_stack_resource",
        "describe_stack_resources",
        "list_tasks",
        "get_log_events",
    ),
    *("describe_log_streams", "get_parameter", "list_tags_for_resource", "get_secret_value"),
)
NOTHING: dict[str, tuple[str, Callable[[Aws], object]]] = {
    "stack": ("ValidationError", lambda aws: aws.stack("x")),
    "resource": ("ValidationError", lambda aws: aws.resource("x", "Y")),
    "address": ("ValidationError", lambda aws: aws.address("x")),
    "events": ("ValidationError", lambda aws: aws.events("x", datetime.min.replace(tzinfo=UTC))),
    "tasks": ("ClusterNotFoundException", lambda aws: aws.tasks("x", "y")),
    "service": ("ServiceNotFoundException", lambda aws: aws.tasks("x", "y")),
    "events of a log": ("ResourceNotFoundException", lambda aws: aws.last_events("x", "y", 1)),
    "log group": ("ResourceNotFoundException", lambda aws: aws.has_log_group("x")),
    "log stream": ("ResourceNotFoundException", lambda aws: aws.newest_streams("x", 1)),
    "parameter": ("ParameterNotFound", lambda aws: aws.parameter("x")),
    "tags": ("InvalidResourceId", lambda aws: aws.parameter_tags("x")),
    "secret": ("ResourceNotFoundException", lambda aws: aws.secret_value("x")),
    "images": ("RepositoryNotFoundException", lambda aws: aws.image_tags("x")),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_not_there_is_told_by_awss_code_and_by_no_word(name: str) -> None:
    code, ask = NOTHING[name]
    text = "x does not exist" if code == "ValidationError" else ""
    assert not ask(Erring(code, text))
    with pytest.raises(Failed, match="The AWS call"):
        ask(Erring("AccessDenied", f"{code}: x does not exist"))


class Balanced(Aws):
    """An AWS with one service, its target group and its events."""

    def __init__(self) -> None:
        super().__init__({})

    def resource(self, stack: str, logical_id: str) -> str:
        return f"{stack}/{logical_id}"

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        if (service, operation) == ("ecs", "describe_services"):
            assert arguments == {"cluster": "c", "services": ["s"]}
            ages = ((9, "the newest\x1b[2J"), (5, "older"), (1, "before"))
            events = [
                {"createdAt": datetime(2026, 1, day, tzinfo=UTC), "message": text} for day, text in ages
            ]
            return {"services": [{"events": events}], "failures": []}
        assert (service, operation, arguments["TargetGroupArn"]) == (
            "elbv2",
            "describe_target_health",
            "demo/TargetGroup",
        )
        told = {"State": "unhealthy", "Reason": "Target.ResponseCodeMismatch", "Description": "codes: [500]"}
        begun = {"State": "initial", "Reason": "Elb.InitialHealthChecks"}
        return {
            "TargetHealthDescriptions": [
                {"Target": {"Id": "10.0.0.1", "Port": 8000}, "TargetHealth": health}
                for health in (told, begun, {"State": "healthy"})
            ]
        }


def test_the_load_balancers_word_on_each_target_is_its_sentence_else_its_code() -> None:
    assert Balanced().targets("demo") == [
        TargetHealth(8000, "unhealthy", "codes: [500]"),
        TargetHealth(8000, "initial", "Elb.InitialHealthChecks"),
        TargetHealth(8000, "healthy", ""),
    ]


def test_what_ecs_told_of_a_service_is_read_since_a_moment_oldest_first() -> None:
    since = datetime(2026, 1, 2, tzinfo=UTC)
    older, newest = Balanced().service_events("c", "s", since)
    assert older == "older"
    assert "\x1b" not in newest
