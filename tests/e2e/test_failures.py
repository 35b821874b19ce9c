"""What AWS does on its bad days: stacks in every state, throttled and dropped calls, many deployments."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.clone import Clone, Ran, get_json
from tests.e2e.looks import deployed, stacks

pytestmark = pytest.mark.e2e
STACK = "demo-test-web"


@pytest.fixture(scope="module", autouse=True)
def sandbox(clone: Clone) -> None:
    clone.stage_megabytes = 5
    clone.branch("other", {"note.txt": "another commit"})
    assert clone.invoke("sandbox").code == 0


@pytest.fixture(autouse=True)
def no_faults(clone: Clone) -> None:
    fail(clone)


def fail(clone: Clone, *rules: dict[str, Any]) -> None:
    """What fails next on the embedded AWS; nothing where no rule is given."""
    draft = clone.folder / ".sandbox/faults.new"
    draft.write_text(json.dumps(rules))
    draft.replace(clone.folder / ".sandbox/faults.json")


def breaking(verb: str, times: int = 1) -> dict[str, Any]:
    return {"resource": "Service", "stack": STACK, "verb": verb, "times": times, "reason": "it broke"}


def run(clone: Clone, code: str) -> str:
    """Python with a client of the embedded AWS's CloudFormation at hand, and the tasks' own place."""
    start = (
        "import json\nfrom scripts import environment, shelf\nfrom scripts.ledger import Entry\n"
        "from scripts.menu import bench\nhere = bench()\nplace = environment.enter(here)\n"
        "cloudformation = place.aws.client('cloudformation')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=clone.folder, env=clone.environ(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout


def state(clone: Clone) -> str | None:
    return stacks(clone).get(STACK)


def served(ran: Ran, branch: str) -> None:
    assert get_json(deployed(ran) + "/status.json")["branch"] == branch


def told(ran: Ran, code: int, *words: str) -> None:
    """A failure is some lines for a person, and never a traceback."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert all(word in ran.err for word in words), ran.err


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
        "no deploy can go on from there",
        "invoke teardown",
    )
    fail(clone)
    ran = clone.invoke("deploy-test", "--branch", "other")
    served(ran, "other")
    assert "an earlier roll-back is finished first" in ran.err


def test_a_teardown_that_did_not_get_through_says_why_and_the_next_one_does_the_rest(clone: Clone) -> None:
    fail(clone, breaking("delete"))
    ran = clone.invoke("teardown", "--yes", "--json")
    told(ran, 4, "is left: stack demo-test-web, which is DELETE_FAILED: Service: it broke")
    assert json.loads(ran.out)[0]["left"]
    assert state(clone) == "DELETE_FAILED"
    assert "DELETE_FAILED" in clone.invoke("status").out
    assert clone.invoke("teardown", "--yes").code == 0
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
        told(clone.invoke("deploy-test", "--branch", "main"), 5, "Somebody has just begun to deploy")
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
        "branch": "main", "deployed_at": "2026-11-24T10:00:00Z"}
made = dict(StackName="demo-test-web", Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
            TemplateBody=json.dumps({"Resources": {
                "Other": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
                "Service": {"Type": "AWS::CloudFormation::WaitConditionHandle", "DependsOn": "Other"}}}))
"""


@pytest.mark.parametrize(
    ("kinds", "branch"), [(("throttle", "drop"), "other"), (("drop-answer", "server-error"), "main")]
)
def test_calls_that_fail_now_and_then_are_made_again(
    clone: Clone, kinds: tuple[str, ...], branch: str
) -> None:
    rules = [{"call": call, "kind": kind, "times": 1} for call in EACH for kind in kinds]
    words = ("deploy-test", "--branch", branch, "--take-over")
    fail(clone, *rules)
    ran = clone.invoke(*words)
    assert "Traceback" not in ran.err
    assert ran.code == 0, ran.err
    served(ran, words[2])
    fail(clone, *rules)
    (shown,) = json.loads(clone.invoke("status", "--json").out)
    assert shown["branch"] == words[2]


# Each fails the first times that it is made in a run.
EACH = (
    "cloudformation:DescribeStacks", "cloudformation:DescribeStackResource",
    "cloudformation:DescribeStackEvents",
    "cloudformation:ListStackInstances", "cloudformation:ListStacks", "ecs:ListTasks", "ecs:DescribeTasks",
    "logs:GetLogEvents", "logs:DescribeLogStreams", "s3:GetObject", "resourcegroupstaggingapi:GetResources",
)  # fmt: skip


@pytest.mark.parametrize("kinds", [("throttle", "drop"), ("drop-answer", "server-error")])
def test_a_teardown_whose_calls_fail_now_and_then_leaves_nothing(
    clone: Clone, kinds: tuple[str, ...]
) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "other", "--isolated"))
    fail(clone, *({"call": call, "kind": kind, "times": 1} for call in OF_A_TEARDOWN for kind in kinds))
    ran = clone.invoke("teardown", "--branch", "other", "--yes", "--json")
    told(ran, 0)
    fail(clone)
    (receipt,) = json.loads(ran.out)
    assert receipt["left"] == []
    assert {"kind": "database", "name": "test_other"} in receipt["gone"]
    assert "demo-test-web-other" not in stacks(clone)
    assert "web-other" not in clone.copilot("svc", "ls", "--app", "demo").out
    assert clone.invoke("teardown", "--branch", "other", "--yes").code == 0


OF_A_TEARDOWN = (
    *EACH, "cloudformation:DescribeStackSet", "cloudformation:UpdateStackSet",
    "cloudformation:DescribeStackSetOperation", "ecs:UpdateService", "ecs:DescribeTaskDefinition",
    "ecr:ListImages", "ecr:BatchDeleteImage", "ssm:DeleteParameter", "s3:PutObject",
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind"), [("s3:PutObject", "throttle"), ("cloudformation:*", "drop"), ("ecs:*", "throttle")]
)
def test_where_nothing_goes_any_more_that_is_said_and_afterwards_all_is_as_if_nothing_had_been(
    clone: Clone, call: str, kind: str
) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main", "--take-over"))
    fail(clone, {"call": call, "kind": kind, "times": 100_000})
    ran = clone.invoke("deploy-test", "--branch", "other", DEPLOY_TIMEOUT="8s")
    assert ran.code in {4, 5}, ran.err
    assert "Traceback" not in ran.err
    fail(clone)
    served(clone.invoke("deploy-test", "--branch", "other", "--wait"), "other")


def test_two_hundred_deployments_are_shown_by_at_most_six_calls(clone: Clone) -> None:
    clone.invoke("teardown", "--yes")
    run(
        clone,
        """
entries = {}
for number in range(200):
    name = f"branch-number-{number}"
    service = f"web-{name}"
    tags = {"copilot-application": "demo", "copilot-environment": "test", "copilot-service": service,
            "branch": name, "commit": "c" * 40, "deployed_by": "ada", "deployed_at": "2026-11-24T10:00:00Z",
            "expires_at": "2999-01-01T00:00:00Z", "isolated": "yes"}
    cloudformation.create_stack(
        StackName=f"demo-test-{service}", Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
        TemplateBody=json.dumps({"Resources": {"W": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}}))
    url = f"http://{name}.localhost"
    entries[service] = Entry(name, isolated=True, url=url, data_copied_at=tags["deployed_at"])
from scripts.ledger import Book
store = shelf.ledger(here, place).store
store.write(Book(entries).as_bytes(), store.read().version)
""",
    )
    log = clone.folder / ".sandbox/calls.log"
    log.touch()
    ran = clone.invoke("status", "--json")
    calls = log.read_text().split()
    log.unlink()
    found = json.loads(ran.out)
    assert len(found) == 200
    assert all(each["url"] and each["data_copied_at"] and each["expires_at"] for each in found)
    assert 0 < len(calls) <= 6, calls
