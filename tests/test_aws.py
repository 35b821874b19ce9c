from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scripts.aws import Aws
from scripts.command import LIFELINE
from scripts.errors import Failed


@dataclass
class Registry(Aws):
    """An AWS whose ECR deletes an image only when no manifest list refers to it any more."""

    lists: dict[str, set[str]] = field(default_factory=dict)  # of images, by the list's digest
    images: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__({})

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
