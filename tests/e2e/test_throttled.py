"""AWS throttles requests: the tasks go on, and where it lasts they end with one line that says so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clone import Clone
from tests.e2e.looks import deployed, fail, served, stacks, told

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.usefixtures("two_commits", "no_faults")]
BOTH_WAYS = True
LIGHT = True
CALLED = ("cloudformation", "ecs", "elbv2", "logs", "resourcegroupstaggingapi", "s3", "ssm")


def busy(*, every: int, times: int = 100_000) -> list[dict[str, Any]]:
    return [
        {"call": f"{service}:*", "kind": "throttle", "times": times, "every": every} for service in CALLED
    ]


def test_a_deploy_and_a_teardown_go_through_an_aws_that_throttles_each_third_call(clone: Clone) -> None:
    fail(clone, *busy(every=3))
    deployed(clone.invoke("deploy-test", "--branch", "other", "--isolated"))
    served(clone.invoke("deploy-test", "--branch", "main"), "main")
    ran = clone.invoke("teardown", "--all", "--yes", "--json")
    told(ran, 0)
    fail(clone)
    receipts = json.loads(ran.out)
    assert [receipt["left"] for receipt in receipts] == [[], []]
    assert not [name for name in stacks(clone) if name.startswith("demo-test-web")]


@pytest.mark.parametrize("service", ["cloudformation", "ecs", "ssm", "s3"])
def test_a_deploy_that_is_throttled_without_end_says_so_and_can_be_repeated(
    clone: Clone, service: str
) -> None:
    deployed(clone.invoke("deploy-test", "--branch", "main"))
    fail(clone, {"call": f"{service}:*", "kind": "throttle", "times": 100_000})
    runs = [clone.invoke("deploy-test", "--branch", "other", "--take-over", DEPLOY_TIMEOUT="20s")]
    if service != "ecs":  # the shared slot's teardown does not call it
        runs.append(clone.invoke("teardown", "--yes", DEPLOY_TIMEOUT="20s"))
    for ran in runs:
        told(ran, 4)
        assert "Rate exceeded" in ran.err or "too many requests" in ran.err, ran.err
        assert "Check the credentials" not in ran.err
    fail(clone)
    served(clone.invoke("deploy-test", "--branch", "main", "--take-over", "--wait"), "main")
