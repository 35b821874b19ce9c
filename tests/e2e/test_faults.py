"""What AWS does on its bad days: throttled and dropped calls; and how few calls many deployments take."""

from __future__ import annotations

import json

import pytest

from tests.clone import Clone
from tests.e2e.looks import deployed, fail, run, served, stacks, told

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.usefixtures("two_commits", "no_faults")]
BOTH_WAYS = True
LIGHT = True


def test_calls_that_fail_now_and_then_are_made_again(clone: Clone) -> None:
    rules = [{"call": call, "kind": kind, "times": 1} for call in EACH for kind in ("throttle", "drop")]
    fail(clone, *rules)
    ran = clone.invoke("deploy-test", "--branch", "main")
    assert "Traceback" not in ran.err
    assert ran.code == 0, ran.err
    served(ran, "main")
    fail(clone, *rules)
    (shown,) = clone.status()
    assert shown["branch"] == "main"


# Each fails the first times that it is made in a run.
EACH = (
    "cloudformation:DescribeStacks", "cloudformation:DescribeStackResource",
    "cloudformation:DescribeStackEvents",
    "cloudformation:ListStackInstances", "cloudformation:ListStacks", "ecs:ListTasks", "ecs:DescribeTasks",
    "logs:GetLogEvents", "logs:DescribeLogStreams", "s3:GetObject", "resourcegroupstaggingapi:GetResources",
)  # fmt: skip


@pytest.mark.parametrize(
    "kinds", [("drop-answer", "server-error"), pytest.param(("throttle", "drop"), marks=pytest.mark.nightly)]
)
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
    clone.do("teardown", "--branch", "other", "--yes")


OF_A_TEARDOWN = (
    *EACH, "cloudformation:DescribeStackSet", "cloudformation:UpdateStackSet",
    "cloudformation:DescribeStackSetOperation", "ecs:UpdateService", "ecs:DescribeTaskDefinition",
    "ecr:ListImages", "ecr:BatchDeleteImage", "ssm:DeleteParameters", "s3:PutObject",
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("cloudformation:*", "drop"),
        pytest.param("s3:PutObject", "throttle", marks=pytest.mark.nightly),
        pytest.param("ecs:*", "throttle", marks=pytest.mark.nightly),
    ],
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


def test_two_hundred_deployments_are_shown_by_at_most_eight_calls(clone: Clone) -> None:
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
    entries[service] = DeploymentRecord(name, isolated=True, url=url, data_copied_at=tags["deployed_at"])
from copilot_testenv.state.registry import RegistryContent
store = bucket.registry(here, target).store
store.write(RegistryContent(entries).as_bytes(), store.read().version)
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
    assert 0 < len(calls) <= 8, calls  # a further one for ten ECS services: these stacks have none
