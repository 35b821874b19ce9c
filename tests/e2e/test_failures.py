"""What an earlier run may have left: a stack in every state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clone import Clone
from tests.e2e.looks import deployed, fail, run, served, stacks, told

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.usefixtures("two_commits", "no_faults")]
BOTH_WAYS = True
LIGHT = True
STACK = "demo-test-web"


def breaking(verb: str, times: int = 1) -> dict[str, Any]:
    return {"resource": "Service", "stack": STACK, "verb": verb, "times": times, "reason": "it broke"}


def state(clone: Clone) -> str | None:
    return stacks(clone).get(STACK)


def test_a_first_deploy_that_was_rolled_back_is_cleared_away_by_the_next(clone: Clone) -> None:
    fail(clone, breaking("create"))
    told(
        clone.invoke("deploy-test", "--branch", "main"),
        4,
        "ROLLBACK_COMPLETE",
        "Service CREATE_FAILED",
        "it broke",
    )
    assert state(clone) == "ROLLBACK_COMPLETE"
    assert "ROLLBACK_COMPLETE" in clone.invoke("status").out
    served(clone.invoke("deploy-test", "--branch", "main"), "main")


def test_an_update_that_could_not_be_rolled_back_is_finished_before_the_next_deploy(clone: Clone) -> None:
    fail(clone, breaking("update", 2))
    told(clone.invoke("deploy-test", "--branch", "other"), 4, "UPDATE_ROLLBACK_FAILED", "it broke")
    assert "UPDATE_ROLLBACK_FAILED" in clone.invoke("status").out
    fail(clone, breaking("update"))
    told(
        clone.invoke("deploy-test", "--branch", "other"),
        4,
        "so it cannot be deployed",
        "invoke teardown",
    )
    fail(clone)
    ran = clone.invoke("deploy-test", "--branch", "other")
    served(ran, "other")
    assert "an earlier roll-back is finished first" in ran.err


def test_a_teardown_that_did_not_get_through_says_why_and_the_next_one_does_the_rest(clone: Clone) -> None:
    fail(clone, breaking("delete"))
    ran = clone.invoke("teardown", "--yes", "--json")
    told(ran, 4, "was deleted: stack demo-test-web, which is DELETE_FAILED: Service: it broke")
    assert json.loads(ran.out)[0]["left"]
    assert state(clone) == "DELETE_FAILED"
    assert "DELETE_FAILED" in clone.invoke("status").out
    clone.do("teardown", "--yes")
    assert state(clone) is None


@pytest.mark.parametrize("left", ["CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_FAILED", "REVIEW_IN_PROGRESS"])
def test_whatever_an_earlier_run_left_of_a_stack_a_deploy_goes_on_from_it(clone: Clone, left: str) -> None:
    clone.invoke("teardown", "--yes")
    if left == "DELETE_FAILED":
        deployed(clone.invoke("deploy-test", "--branch", "main"))
        fail(clone, breaking("delete"))
        clone.invoke("teardown", "--yes")
    elif left == "REVIEW_IN_PROGRESS":
        run(
            clone,
            _MADE + "cloudformation.create_change_set(ChangeSetName='x', ChangeSetType='CREATE', **made)",
        )
        ran = clone.do("deploy-test", "--branch", "main", "--plan")
        assert "is REVIEW_IN_PROGRESS: an earlier run ended before it began" in ran.err
        assert "Would deploy main" in ran.err
        told(clone.invoke("deploy-test", "--branch", "main"), 5, "Another run has just begun to deploy")
        clone.invoke("teardown", "--yes")
        assert state(clone) is None
        return
    else:
        keep = left == "CREATE_FAILED"
        fail(clone, breaking("create"), *([] if keep else [{**breaking("delete"), "resource": "Other"}]))
        run(clone, _MADE + f"cloudformation.create_stack(DisableRollback={keep}, **made)")
    assert state(clone) == left
    fail(clone)
    ran = clone.invoke("deploy-test", "--branch", "main")
    served(ran, "main")
    if left != "ROLLBACK_FAILED":  # that one Copilot clears up itself
        assert f"is {left}, left by an earlier run: it is deleted first" in ran.err


_MADE = """
tags = {"copilot-application": "demo", "copilot-environment": "test", "copilot-service": "web",
        "branch": "main", "commit": "c" * 40, "deployed_by": "ada", "deployed_at": "2026-11-24T10:00:00Z"}
made = dict(StackName="demo-test-web", Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
            TemplateBody=json.dumps({"Resources": {
                "Other": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
                "Service": {"Type": "AWS::CloudFormation::WaitConditionHandle", "DependsOn": "Other"}}}))
"""
