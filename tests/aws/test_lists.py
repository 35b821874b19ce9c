"""Ask once for many: the stacks of an environment, functions, ages of objects, parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import SETTLED, UNSETTLED

NOW = datetime.now(UTC)
LAST_WEEK = NOW - timedelta(days=7)
PLACE = {"copilot-application": "demo", "copilot-environment": "test"}


def tags(**more: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in {**PLACE, **more}.items()]


def summary(name: str, status: str = "UPDATE_COMPLETE", at: datetime = LAST_WEEK) -> dict[str, Any]:
    return {"StackName": name, "StackStatus": status, "CreationTime": LAST_WEEK, "LastUpdatedTime": at}


@dataclass
class Listed(Aws):
    """An AWS with these stacks, and with tags that are found late."""

    stacks: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, list[dict[str, str]]] = field(default_factory=dict)  # by ARN
    described: list[str] = field(default_factory=list)
    deleted: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__({})

    def _pages(self, service: str, operation: str, /, **arguments: Any) -> Iterator[dict[str, Any]]:
        if operation == "list_stacks":
            wanted = arguments["StackStatusFilter"]
            yield {"StackSummaries": [each for each in self.stacks if each["StackStatus"] in wanted]}
        elif operation == "get_resources":
            (kind,) = arguments["ResourceTypeFilters"]
            mappings = [
                {"ResourceARN": arn, "Tags": of}
                for arn, of in self.found.items()
                if kind.split(":")[0] in arn
            ]
            yield {"ResourceTagMappingList": mappings}
        else:
            date = {"date": "Sat, 28 Nov 2026 10:00:30 GMT"}
            modified = datetime(2026, 11, 28, 10, 0, 10, tzinfo=UTC)
            assert (service, operation) == ("s3", "list_objects_v2")
            yield {
                "ResponseMetadata": {"HTTPHeaders": date},
                "Contents": [{"Key": "a", "LastModified": modified}],
            }

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        if operation == "delete_parameters":
            self.deleted.append(arguments["Names"])
            return {"DeletedParameters": [name for name in arguments["Names"] if name != "/gone"]}
        assert (service, operation) == ("cloudformation", "describe_stacks")
        name = arguments["StackName"]
        self.described.append(name)
        (stack,) = [each for each in self.stacks if each["StackName"] == name]
        return {"Stacks": [{**stack, "Tags": tags(branch="now")}]}


def test_only_stacks_that_were_changed_lately_or_have_no_tags_yet_are_described() -> None:
    old, young, new = "demo-test-web-old", "demo-test-web-young", "task-demo-test-web-new-copy-db"
    aws = Listed(
        stacks=[
            summary(old),
            summary(young, at=NOW - timedelta(minutes=50)),
            summary(new, "CREATE_IN_PROGRESS"),
            summary("demo-test"),
            summary("demo-stage-web"),
            summary("demo-test-web-gone", "DELETE_COMPLETE"),
        ],
        found={
            f"arn:aws:cloudformation:eu-west-1:1:stack/{name}/1": tags(branch="then")
            for name in (old, young, "demo-test-web-gone", "demo-test")
        },
    )
    stacks = aws.environment_stacks("demo", "test")
    assert list(stacks) == [old, young, new]
    assert aws.described == [young, new]
    assert [each.tags["branch"] for each in stacks.values()] == ["then", "now", "now"]
    assert stacks[new].changing
    assert stacks[old].live


def test_every_status_of_a_stack_that_exists_is_asked_for_once() -> None:
    aws = Listed(stacks=[summary(status, status) for status in (*SETTLED, *UNSETTLED)])
    assert list(aws.every_stack()) == [*SETTLED, *UNSETTLED]
    assert list(aws.unsettled()) == list(UNSETTLED)


def test_functions_are_found_by_the_tags_of_their_service() -> None:
    function = "arn:aws:lambda:eu-west-1:1:function:"
    aws = Listed(
        found={
            f"{function}demo-test-web-a-EnvController-1": tags(**{"copilot-service": "web-a"}),
            f"{function}demo-test-web-a-RulePriority-2": tags(**{"copilot-service": "web-a"}),
            f"{function}demo-test-web-b-EnvController-3": tags(**{"copilot-service": "web-b"}),
        }
    )
    assert aws.functions_of("demo", "test") == {
        "web-a": ["demo-test-web-a-EnvController-1", "demo-test-web-a-RulePriority-2"],
        "web-b": ["demo-test-web-b-EnvController-3"],
    }


def test_an_objects_age_is_by_the_clock_of_s3() -> None:
    assert Listed().object_ages("bucket", "leases/") == {"a": 20.0}
    assert Listed().object_keys("bucket", "leases/") == ["a"]


def test_parameters_are_deleted_ten_at_a_time() -> None:
    aws, names = Listed(), [f"/{number}" for number in range(24)]
    assert aws.delete_parameters([*names, "/gone"]) == set(names)
    assert [len(each) for each in aws.deleted] == [10, 10, 5]
