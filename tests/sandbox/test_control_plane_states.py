"""Every state a stack can be in, how it gets there, what is refused there and how it gets out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.cloud import Cloud, group, service, template
from tests.sandbox.fake_control_plane import until

ONE = template({"A": group(1), "B": {**group(1), "DependsOn": "A"}})
TWO = template({"A": group(3), "B": {**group(3), "DependsOn": "A"}})


def fault(verb: str, times: int = 1, resource: str = "B") -> dict[str, Any]:
    return {"resource": resource, "verb": verb, "times": times, "reason": f"no {verb} of {resource}"}


def retentions(cloud: Cloud) -> dict[str, int]:
    """How long each log group of the stack keeps its lines, as the logs' own API says."""
    kept = {found["logGroupName"]: found for found in cloud.client("logs").describe_log_groups()["logGroups"]}
    return {name: kept[physical]["retentionInDays"] for name, physical in cloud.ids().items()}


def change(cloud: Cloud, wanted: dict[str, Any], **more: Any) -> str:
    cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(wanted), **more)
    return cloud.settled("s")


def make(cloud: Cloud, wanted: dict[str, Any] = ONE, **more: Any) -> None:
    cloud.stacks.create_stack(StackName="s", TemplateBody=json.dumps(wanted), **more)


def gone(cloud: Cloud) -> bool:
    return bool(cloud.stacks.describe_stacks()["Stacks"] == [])


def cannot_be_updated(cloud: Cloud, words: str) -> None:
    for ask in (cloud.stacks.update_stack, cloud.stacks.create_change_set):
        named = {"ChangeSetName": "c"} if ask == cloud.stacks.create_change_set else {}
        with pytest.raises(ClientError, match=words):
            ask(StackName="s", TemplateBody=json.dumps(TWO), **named)


def test_review_in_progress(cloud: Cloud) -> None:
    body = json.dumps(ONE)
    cloud.stacks.create_change_set(
        StackName="s", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=body
    )
    assert cloud.status() == "REVIEW_IN_PROGRESS"
    cannot_be_updated(cloud, r"Stack \[s\] does not exist")
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)


def test_create_failed_keeps_what_was_made_and_is_updated_only_without_rollback(cloud: Cloud) -> None:
    cloud.fail(fault("create"))
    make(cloud, DisableRollback=True)
    assert cloud.status() == "CREATE_FAILED"
    assert set(cloud.ids()) == {"A"}
    assert cloud.reason("B", "CREATE_FAILED") == "no create of B"
    with pytest.raises(ClientError, match=r"non-terminal \[CREATE_FAILED\] state"):
        cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(TWO))
    assert change(cloud, ONE, DisableRollback=True) == "UPDATE_COMPLETE"
    assert retentions(cloud) == {"A": 1, "B": 1}


def test_create_failed_by_doing_nothing_can_only_be_deleted(cloud: Cloud) -> None:
    cloud.fail(fault("create"))
    make(cloud, OnFailure="DO_NOTHING")
    assert cloud.status() == "CREATE_FAILED"
    with pytest.raises(ClientError, match=r"contains \[on-failure: DO_NOTHING\]"):
        cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(TWO), DisableRollback=True)
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)


def test_a_failed_creation_may_delete_its_stack(cloud: Cloud) -> None:
    cloud.fail(fault("create"))
    make(cloud, OnFailure="DELETE")
    assert gone(cloud)
    with pytest.raises(ClientError, match="not both"):
        make(cloud, OnFailure="DELETE", DisableRollback=True)


def test_a_service_that_never_settled_is_replaced_when_its_creation_is_tried_again(cloud: Cloud) -> None:
    cloud.agent.state = "FAILED"
    make(cloud, template(service("a:1")), DisableRollback=True)
    assert cloud.settled("s") == "CREATE_FAILED"
    (broken,) = cloud.plane.services()
    cloud.agent.state = "COMPLETED"
    assert change(cloud, template(service("a:1")), DisableRollback=True) == "UPDATE_COMPLETE"
    (running,) = cloud.plane.services()
    assert running.arn != broken.arn


def test_rollback_complete(cloud: Cloud) -> None:
    cloud.fail(fault("create"))
    make(cloud)
    assert cloud.status() == "ROLLBACK_COMPLETE"
    assert cloud.ids() == {}
    cannot_be_updated(cloud, "is in ROLLBACK_COMPLETE state and can not be updated")
    with pytest.raises(ClientError, match="AlreadyExistsException"):
        make(cloud)
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)


def test_rollback_failed(cloud: Cloud) -> None:
    cloud.fail(fault("create"), fault("delete", resource="A"))
    make(cloud)
    assert cloud.status() == "ROLLBACK_FAILED"
    assert set(cloud.ids()) == {"A"}
    cannot_be_updated(cloud, "is in ROLLBACK_FAILED state and can not be updated")
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)
    assert cloud.client("logs").describe_log_groups()["logGroups"] == []


def test_update_rollback_complete(cloud: Cloud) -> None:
    make(cloud)
    cloud.fail(fault("update"))
    assert change(cloud, TWO) == "UPDATE_ROLLBACK_COMPLETE"
    assert retentions(cloud) == {"A": 1, "B": 1}
    assert change(cloud, TWO) == "UPDATE_COMPLETE"
    assert retentions(cloud) == {"A": 3, "B": 3}


def test_update_failed_keeps_what_was_changed_and_is_tried_again(cloud: Cloud) -> None:
    make(cloud)
    cloud.fail(fault("update"))
    assert change(cloud, TWO, DisableRollback=True) == "UPDATE_FAILED"
    assert retentions(cloud) == {"A": 3, "B": 1}
    with pytest.raises(ClientError, match=r"non-terminal \[UPDATE_FAILED\] state"):
        cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(ONE))
    assert change(cloud, TWO, DisableRollback=True) == "UPDATE_COMPLETE"
    assert retentions(cloud) == {"A": 3, "B": 3}


@pytest.mark.parametrize("ending", ["update", "delete"])
def test_what_a_half_done_update_replaced_goes_with_the_next_operation(cloud: Cloud, ending: str) -> None:
    assert cloud.create(template(service("a:1"))) == "CREATE_COMPLETE"
    cloud.fail(fault("update", resource="Service"))
    assert change(cloud, template(service("a:2")), DisableRollback=True) == "UPDATE_FAILED"

    def revisions() -> list[str]:
        listed = cloud.ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
        return [arn.rsplit("/", 1)[-1] for arn in listed]

    assert revisions() == ["web:1", "web:2"]
    if ending == "update":
        change(cloud, template(service("a:2")), DisableRollback=True)
        assert revisions() == ["web:2"]
    else:
        identity = cloud.stacks.describe_stacks(StackName="s")["Stacks"][0]["StackId"]
        cloud.stacks.delete_stack(StackName="s")
        assert cloud.settled(identity) == "DELETE_COMPLETE"
        assert revisions() == []


def test_update_rollback_failed_is_continued_until_it_succeeds(cloud: Cloud) -> None:
    make(cloud)
    cloud.fail(fault("update", times=3))
    assert change(cloud, TWO) == "UPDATE_ROLLBACK_FAILED"
    assert retentions(cloud) == {"A": 1, "B": 1}
    cannot_be_updated(cloud, "is in UPDATE_ROLLBACK_FAILED state and can not be updated")
    cloud.stacks.continue_update_rollback(StackName="s")
    assert cloud.settled("s") == "UPDATE_ROLLBACK_FAILED"
    cloud.stacks.continue_update_rollback(StackName="s")
    assert cloud.settled("s") == "UPDATE_ROLLBACK_COMPLETE"
    assert change(cloud, TWO) == "UPDATE_COMPLETE"
    with pytest.raises(ClientError, match="only the rollback of a stack in UPDATE_ROLLBACK_FAILED"):
        cloud.stacks.continue_update_rollback(StackName="s")


def test_a_resource_is_skipped_when_a_rollback_is_continued(cloud: Cloud) -> None:
    make(cloud)
    new = {"A0": group(), "A": {**group(3), "DependsOn": "A0"}, "B": TWO["Resources"]["B"]}
    cloud.fail(fault("update", times=99))
    assert change(cloud, template(new)) == "UPDATE_ROLLBACK_FAILED"
    assert set(cloud.ids()) == {"A0", "A", "B"}
    with pytest.raises(ClientError, match=r"rollback of \[A\] did not fail"):
        cloud.stacks.continue_update_rollback(StackName="s", ResourcesToSkip=["A", "B"])
    cloud.stacks.continue_update_rollback(StackName="s", ResourcesToSkip=["B"])
    assert cloud.settled("s") == "UPDATE_ROLLBACK_COMPLETE"
    assert cloud.events()[-4:] == [
        ("s", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
        ("A0", "DELETE_IN_PROGRESS"),
        ("A0", "DELETE_COMPLETE"),
        ("s", "UPDATE_ROLLBACK_COMPLETE"),
    ]
    assert ("B", "UPDATE_COMPLETE") in cloud.events()
    assert retentions(cloud) == {"A": 1, "B": 1}


def test_update_rollback_failed_can_be_deleted(cloud: Cloud) -> None:
    make(cloud)
    cloud.fail(fault("update", times=2))
    assert change(cloud, TWO) == "UPDATE_ROLLBACK_FAILED"
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)


def test_delete_failed_is_deleted_again_or_with_resources_retained(cloud: Cloud) -> None:
    make(cloud)
    with pytest.raises(ClientError, match="only of a stack in DELETE_FAILED state"):
        cloud.stacks.delete_stack(StackName="s", RetainResources=["B"])
    cloud.fail(fault("delete", times=2, resource="A"))
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.status() == "DELETE_FAILED"
    assert cloud.reason("A", "DELETE_FAILED") == "no delete of A"
    cannot_be_updated(cloud, "is in DELETE_FAILED state and can not be updated")
    cloud.stacks.delete_stack(StackName="s")
    assert cloud.status() == "DELETE_FAILED"
    with pytest.raises(ClientError, match="Do not specify resources that are in the DELETE_COMPLETE state"):
        cloud.stacks.delete_stack(StackName="s", RetainResources=["A", "B"])
    with pytest.raises(ClientError, match="does not have this: DeletionMode"):
        cloud.stacks.delete_stack(StackName="s", DeletionMode="FORCE_DELETE_STACK")
    kept = cloud.ids()["A"]
    cloud.stacks.delete_stack(StackName="s", RetainResources=["A"])
    assert gone(cloud)
    assert [found["logGroupName"] for found in cloud.client("logs").describe_log_groups()["logGroups"]] == [
        kept
    ]


def test_what_is_in_progress_is_neither_updated_nor_continued(cloud: Cloud) -> None:
    """Each state in which a stack waits for the agent, and where it gets to from there."""
    seen = []

    def look(status: str) -> None:
        assert cloud.status() == status
        cannot_be_updated(cloud, f"is in {status} state and can not be updated")
        with pytest.raises(ClientError, match=f"is in {status} state"):
            cloud.stacks.continue_update_rollback(StackName="s")
        seen.append(status)

    cloud.agent.state, cloud.agent.drains = "IN_PROGRESS", False
    make(cloud, template(service("a:1")))
    look("CREATE_IN_PROGRESS")
    cloud.agent.state = "FAILED"
    until(lambda: cloud.status() != "CREATE_IN_PROGRESS")
    look("ROLLBACK_IN_PROGRESS")
    cloud.agent.drains = True
    assert cloud.settled("s") == "ROLLBACK_COMPLETE"
    cloud.stacks.delete_stack(StackName="s")

    cloud.agent.state = "COMPLETED"
    assert cloud.create(template(service("a:1"))) == "CREATE_COMPLETE"
    cloud.agent.state = "IN_PROGRESS"
    cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(template(service("a:2"))))
    look("UPDATE_IN_PROGRESS")
    cloud.stacks.cancel_update_stack(StackName="s")
    look("UPDATE_ROLLBACK_IN_PROGRESS")
    cloud.agent.state, cloud.agent.drains = "COMPLETED", False
    assert cloud.settled("s") == "UPDATE_ROLLBACK_COMPLETE"
    without = {name: found for name, found in service("a:1").items() if name != "Service"}
    cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(template(without)))
    look("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    cloud.agent.drains = True
    assert cloud.settled("s") == "UPDATE_COMPLETE"

    cloud.agent.state, cloud.agent.drains = "FAILED", False
    cloud.stacks.update_stack(StackName="s", TemplateBody=json.dumps(template(service("a:1"))))
    until(lambda: cloud.status() == "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    look("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS")
    cloud.agent.state, cloud.agent.drains = "COMPLETED", True
    assert cloud.settled("s") == "UPDATE_ROLLBACK_COMPLETE"
    assert change(cloud, template(service("a:1"))) == "UPDATE_COMPLETE"
    cloud.agent.drains = False
    cloud.stacks.delete_stack(StackName="s")
    look("DELETE_IN_PROGRESS")
    assert len(set(seen)) == 7


def test_a_stack_is_protected_from_its_creation_on(cloud: Cloud) -> None:
    make(cloud, EnableTerminationProtection=True)
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        cloud.stacks.delete_stack(StackName="s")
    cloud.stacks.update_termination_protection(StackName="s", EnableTerminationProtection=False)
    cloud.stacks.delete_stack(StackName="s")
    assert gone(cloud)
