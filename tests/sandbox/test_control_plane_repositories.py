"""ECR's images and repositories, by themselves and in a stack set as Copilot keeps them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.cloud import Cloud, manifest, template

REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def push(cloud: Cloud, number: int, *tags: str, repository: str = "demo/web") -> str:
    """Push an image under tags as the sandbox's `docker push` does; its digest."""
    text = manifest(number)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    for tag in tags:
        cloud.client("ecr").put_image(
            repositoryName=repository, imageManifest=text, imageTag=tag, imageDigest=digest
        )
    return digest


def images(cloud: Cloud) -> set[tuple[str, str | None]]:
    listed = cloud.client("ecr").list_images(repositoryName="demo/web")["imageIds"]
    return {(image["imageDigest"], image.get("imageTag")) for image in listed}


def delete(cloud: Cloud, *ids: dict[str, str]) -> Any:
    return cloud.client("ecr").batch_delete_image(repositoryName="demo/web", imageIds=ids)


def test_an_image_is_deleted_by_its_last_tag_or_by_its_digest(cloud: Cloud) -> None:
    cloud.client("ecr").create_repository(repositoryName="demo/web")
    one, two = push(cloud, 1, "a", "b"), push(cloud, 2, "c", "d")
    assert images(cloud) == {(one, "a"), (one, "b"), (two, "c"), (two, "d")}
    assert cloud.plane.has_image(f"{REGISTRY}/demo/web:a")
    assert delete(cloud, {"imageTag": "a"})["failures"] == []
    assert images(cloud) == {(one, "b"), (two, "c"), (two, "d")}
    assert not cloud.plane.has_image(f"{REGISTRY}/demo/web:a")
    assert cloud.plane.has_image(f"{REGISTRY}/demo/web@{one}")
    delete(cloud, {"imageTag": "b"})
    assert not cloud.plane.has_image(f"{REGISTRY}/demo/web@{one}")
    delete(cloud, {"imageDigest": two})
    assert images(cloud) == set()
    assert not cloud.plane.has_image(f"{REGISTRY}/demo/web:c")
    (failure,) = delete(cloud, {"imageDigest": two})["failures"]
    assert failure["failureCode"] == "ImageNotFound"
    assert not cloud.plane.has_image("public.ecr.aws/docker/library/redis:7")


def test_a_tag_that_goes_to_a_new_image_leaves_the_old_one_untagged(cloud: Cloud) -> None:
    cloud.client("ecr").create_repository(repositoryName="demo/web")
    one, two = push(cloud, 1, "latest"), push(cloud, 2, "x", "latest")
    assert images(cloud) == {(one, None), (two, "x"), (two, "latest")}
    untagged = cloud.client("ecr").list_images(repositoryName="demo/web", filter={"tagStatus": "UNTAGGED"})
    assert untagged["imageIds"] == [{"imageDigest": one}]
    push(cloud, 1, "latest")
    assert images(cloud) == {(one, "latest"), (two, "x")}
    push(cloud, 2, "latest")
    delete(cloud, {"imageDigest": one})
    assert images(cloud) == {(two, "x"), (two, "latest")}


def test_no_more_than_a_hundred_images_are_deleted_in_a_call(cloud: Cloud) -> None:
    cloud.client("ecr").create_repository(repositoryName="demo/web")
    with pytest.raises(ClientError, match="Member must have length less than or equal to 100"):
        delete(cloud, *({"imageTag": str(number)} for number in range(101)))
    assert len(delete(cloud, *({"imageTag": str(number)} for number in range(100)))["failures"]) == 100


def test_a_repository_with_images_is_not_deleted_unless_by_force(cloud: Cloud) -> None:
    ecr = cloud.client("ecr")
    ecr.create_repository(repositoryName="demo/web")
    push(cloud, 1, "a")
    with pytest.raises(ClientError, match="still contains images") as raised:
        ecr.delete_repository(repositoryName="demo/web")
    assert raised.value.response["Error"]["Code"] == "RepositoryNotEmptyException"
    ecr.delete_repository(repositoryName="demo/web", force=True)
    with pytest.raises(ClientError, match="RepositoryNotFoundException"):
        images(cloud)


def application(*workloads: str) -> str:
    """What Copilot's stack set has for an application's workloads: a repository for each."""
    return json.dumps(
        template(
            {
                f"Repo{workload}": {
                    "Type": "AWS::ECR::Repository",
                    "Properties": {"RepositoryName": f"demo/{workload}"},
                }
                for workload in workloads
            }
        )
    )


def repositories(cloud: Cloud) -> set[str]:
    described = cloud.client("ecr").describe_repositories()["repositories"]
    return {repository["repositoryName"] for repository in described}


def instance(cloud: Cloud) -> str:
    (found,) = cloud.stacks.list_stack_instances(StackSetName="demo")["Summaries"]
    return str(found["StackId"])


@pytest.fixture
def kept(cloud: Cloud) -> Cloud:
    """A cloud whose stack set keeps the repositories of two workloads."""
    cloud.stacks.create_stack_set(StackSetName="demo", TemplateBody=application("web", "worker"))
    cloud.stacks.create_stack_instances(StackSetName="demo", Accounts=["123456789012"], Regions=["us-east-1"])
    return cloud


def test_a_stack_set_that_loses_a_repository_takes_it_from_its_instance(kept: Cloud) -> None:
    assert repositories(kept) == {"demo/web", "demo/worker"}
    push(kept, 1, "a", repository="demo/web")
    update = kept.stacks.update_stack_set(StackSetName="demo", TemplateBody=application("web"))
    operation = kept.stacks.describe_stack_set_operation(
        StackSetName="demo", OperationId=update["OperationId"]
    )["StackSetOperation"]
    assert operation["Status"] == "SUCCEEDED"
    assert repositories(kept) == {"demo/web"}
    assert kept.status(instance(kept)) == "UPDATE_COMPLETE"
    assert set(kept.ids(instance(kept))) == {"Repoweb"}


def test_a_repository_with_images_stays_behind_when_its_stack_set_loses_it(kept: Cloud) -> None:
    """As on AWS the update succeeds all the same, and the repository is nobody's afterwards."""
    push(kept, 1, "a", repository="demo/worker")
    kept.stacks.update_stack_set(StackSetName="demo", TemplateBody=application("web"))
    assert repositories(kept) == {"demo/web", "demo/worker"}
    stack = kept.stacks.describe_stacks(StackName=instance(kept))["Stacks"][0]
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    assert stack["StackStatusReason"] == "Update successful. One or more resources could not be deleted."
    assert kept.events(instance(kept)).count(("Repoworker", "DELETE_FAILED")) == 3
    assert "still contains images" in kept.reason("Repoworker", "DELETE_FAILED", instance(kept))
    assert set(kept.ids(instance(kept))) == {"Repoweb"}
    kept.stacks.update_stack_set(StackSetName="demo", TemplateBody=application("web", "worker"))
    assert kept.status(instance(kept)) == "UPDATE_ROLLBACK_COMPLETE"
    assert "already exists" in kept.reason("Repoworker", "CREATE_FAILED", instance(kept))
    assert outcome(kept) == ("OUTDATED", "FAILED")


def outcome(cloud: Cloud) -> tuple[str, str]:
    """How the instance stands, and how the last operation ended."""
    (found,) = cloud.stacks.list_stack_instances(StackSetName="demo")["Summaries"]
    last = cloud.stacks.list_stack_set_operations(StackSetName="demo")["Summaries"][0]
    return found["Status"], last["Status"]


def test_an_instance_that_cannot_be_updated_fails_the_operation_and_not_the_call(kept: Cloud) -> None:
    assert outcome(kept) == ("CURRENT", "SUCCEEDED")
    kept.fail({"resource": "Repoworker", "verb": "delete", "times": 1, "reason": "no"})
    kept.stacks.delete_stack(StackName=instance(kept))
    assert kept.status(instance(kept)) == "DELETE_FAILED"
    kept.stacks.update_stack_set(StackSetName="demo", TemplateBody=application("web"))
    assert outcome(kept) == ("OUTDATED", "FAILED")


def test_a_stack_with_a_repository_that_has_images_is_not_deleted(cloud: Cloud) -> None:
    cloud.stacks.create_stack(StackName="s", TemplateBody=application("web"))
    push(cloud, 1, "a")
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.status() == "DELETE_FAILED"
    delete(cloud, {"imageTag": "a"})
    cloud.stacks.delete_stack(StackName="s")
    assert repositories(cloud) == set()
