"""Lists come in pages as long as AWS's, and boto3's paginators read them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from copilot_sandbox.control_plane.paging import InvalidToken, page
from tests.sandbox.cloud import Cloud, group, manifest, report, service, template


def pages(client: Any, operation: str, key: str, **asked: Any) -> list[list[Any]]:
    return [answer[key] for answer in client.get_paginator(operation).paginate(**asked)]


def lengths(found: list[list[Any]], name: Callable[[Any], str] = str) -> list[int]:
    """How long each page is, after a look that nothing came twice."""
    names = [name(item) for one in found for item in one]
    assert len(names) == len(set(names))
    return [len(one) for one in found]


@given(st.sets(st.text(min_size=1, max_size=3), max_size=30), st.integers(1, 12), st.booleans())
def test_pages_put_together_are_the_list(keys: set[str], limit: int, backwards: bool) -> None:  # noqa: FBT001  # hypothesis fills it
    seen: list[str] = []
    token: str | None = None
    while True:
        shown, token = page(keys, str, limit=limit, token=token, backwards=backwards)
        seen += shown
        if token is None:
            break
        assert len(shown) == limit
    assert seen == sorted(keys, reverse=backwards)


def test_what_is_taken_away_between_two_pages_hides_nothing_else() -> None:
    shown, token = page("abcdef", str, limit=2, token=None)
    assert shown == ["a", "b"]
    assert page("cdef", str, limit=2, token=token)[0] == ["c", "d"]
    with pytest.raises(InvalidToken):
        page("abc", str, limit=2, token="no token")


def test_stacks_and_their_tags_come_a_hundred_at_a_time(cloud: Cloud) -> None:
    body = json.dumps(template({"A": {"Type": "AWS::Unheard::Of"}}))
    for number in range(201):
        tags = [{"Key": "kind", "Value": str(number % 2)}]
        cloud.stacks.create_stack(StackName=f"s{number}", TemplateBody=body, Tags=tags)

    def name(stack: Any) -> str:
        return str(stack["StackName"])

    described = pages(cloud.stacks, "describe_stacks", "Stacks")
    assert lengths(described, name) == [100, 100, 1]
    listed = pages(cloud.stacks, "list_stacks", "StackSummaries", StackStatusFilter=["CREATE_COMPLETE"])
    assert lengths(listed, name) == [100, 100, 1]
    tagging = cloud.client("resourcegroupstaggingapi")
    even = {"TagFilters": [{"Key": "kind", "Values": ["0"]}]}
    found = pages(tagging, "get_resources", "ResourceTagMappingList", **even)
    assert lengths(found, lambda resource: str(resource["ResourceARN"])) == [100, 1]
    short = pages(tagging, "get_resources", "ResourceTagMappingList", ResourcesPerPage=70)
    assert lengths(short, lambda resource: str(resource["ResourceARN"])) == [70, 70, 61]


def test_a_stacks_events_resources_and_exports_come_a_hundred_at_a_time(cloud: Cloud) -> None:
    outputs = {f"Out{n}": {"Value": "x", "Export": {"Name": f"export-{n}"}} for n in range(120)}
    cloud.create(template({f"R{n}": {"Type": "AWS::Unheard::Of"} for n in range(120)}, Outputs=outputs))
    events = pages(cloud.stacks, "describe_stack_events", "StackEvents", StackName="s")
    assert lengths(events, lambda event: str(event["EventId"])) == [100, 100, 100, 62]
    told = [(event["LogicalResourceId"], event["ResourceStatus"]) for one in events for event in one]
    assert told[0] == ("s", "CREATE_COMPLETE")
    assert told[-1] == ("s", "CREATE_IN_PROGRESS")
    resources = pages(cloud.stacks, "list_stack_resources", "StackResourceSummaries", StackName="s")
    assert lengths(resources, lambda resource: str(resource["LogicalResourceId"])) == [100, 20]
    assert len(cloud.stacks.describe_stack_resources(StackName="s")["StackResources"]) == 100
    assert lengths(pages(cloud.stacks, "list_exports", "Exports"), lambda found: str(found["Name"])) == [
        100,
        20,
    ]


def test_stack_sets_instances_and_operations_come_in_pages(cloud: Cloud) -> None:
    body = json.dumps(template({"A": group()}))
    for number in range(3):
        cloud.stacks.create_stack_set(StackSetName=f"set-{number}", TemplateBody=body)
    accounts = [f"{number:012}" for number in range(105)]
    cloud.stacks.create_stack_instances(StackSetName="set-0", Accounts=accounts, Regions=["us-east-1"])
    found = pages(cloud.stacks, "list_stack_instances", "Summaries", StackSetName="set-0")
    assert lengths(found, lambda instance: str(instance["Account"])) == [100, 5]
    sets = pages(cloud.stacks, "list_stack_sets", "Summaries", PaginationConfig={"PageSize": 2})
    assert lengths(sets, lambda found: str(found["StackSetName"])) == [2, 1]
    for retention in (3, 5):
        changed = json.dumps(template({"A": group(retention)}))
        cloud.stacks.update_stack_set(StackSetName="set-1", TemplateBody=changed)
    operations = pages(
        cloud.stacks, "list_stack_set_operations", "Summaries", StackSetName="set-1",
        PaginationConfig={"PageSize": 1},
    )  # fmt: skip
    assert lengths(operations, lambda operation: str(operation["OperationId"])) == [1, 1]
    with pytest.raises(ClientError, match="maxResults"):
        cloud.stacks.list_stack_instances(StackSetName="set-0", MaxResults=101)


def test_services_come_ten_at_a_time_and_tasks_a_hundred(cloud: Cloud) -> None:
    wanted = service("a:1")
    for number in range(11):
        wanted[f"Service{number}"] = wanted["Service"]
    cloud.create(template(wanted))
    (cluster,) = {running.cluster_arn for running in cloud.plane.services()}
    assert lengths(pages(cloud.ecs, "list_services", "serviceArns", cluster=cluster)) == [10, 2]
    assert len(cloud.ecs.list_services(cluster=cluster, maxResults=100)["serviceArns"]) == 12
    running = cloud.plane.services()[0]
    for number in range(150):
        cloud.plane.report_task(report(f"{number:032x}", running))
    assert lengths(pages(cloud.ecs, "list_tasks", "taskArns", cluster=cluster)) == [100, 50]
    sized = pages(cloud.ecs, "list_tasks", "taskArns", cluster=cluster, PaginationConfig={"PageSize": 60})
    assert lengths(sized) == [60, 60, 30]
    for wrong in ({"maxResults": 101}, {"nextToken": "none of ours"}):
        with pytest.raises(ClientError, match="InvalidParameterException"):
            cloud.ecs.list_tasks(cluster=cluster, **wrong)


def test_a_token_of_nobodys_is_refused(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match="NextToken"):
        cloud.stacks.describe_stacks(NextToken="none of ours")
    tagging = cloud.client("resourcegroupstaggingapi")
    with pytest.raises(ClientError, match="PaginationTokenExpiredException"):
        tagging.get_resources(PaginationToken="none of ours")
    with pytest.raises(ClientError, match="InvalidParameterException"):
        tagging.get_resources(ResourcesPerPage=101)


def test_a_function_has_the_tags_of_its_stack(cloud: Cloud) -> None:
    function = {"Runtime": "nodejs24.x", "Handler": "i.h", "Role": "arn:aws:iam::1:role/r", "Code": {}}
    body = json.dumps(template({"F": {"Type": "AWS::Lambda::Function", "Properties": function}}))
    tags = [{"Key": "copilot-service", "Value": "web"}]
    cloud.stacks.create_stack(StackName="s", TemplateBody=body, Tags=tags, Capabilities=["CAPABILITY_IAM"])
    name = cloud.stacks.describe_stack_resource(StackName="s", LogicalResourceId="F")
    found = cloud.client("resourcegroupstaggingapi").get_resources(
        ResourceTypeFilters=["lambda:function"], TagFilters=[{"Key": "copilot-service"}]
    )["ResourceTagMappingList"]
    assert [each["ResourceARN"].split(":")[6] for each in found] == [
        name["StackResourceDetail"]["PhysicalResourceId"]
    ]


@pytest.mark.nightly
def test_what_moto_answers_is_read_to_the_end(cloud: Cloud) -> None:
    ssm, logs, ecr = cloud.client("ssm"), cloud.client("logs"), cloud.client("ecr")
    for number in range(23):
        ssm.put_parameter(Name=f"/a/{number}", Value="x", Type="String")
    found = pages(ssm, "get_parameters_by_path", "Parameters", Path="/a")
    assert lengths(found, lambda parameter: str(parameter["Name"])) == [10, 10, 3]
    for number in range(60):
        logs.create_log_group(logGroupName=f"g{number}")
    groups = pages(logs, "describe_log_groups", "logGroups")
    assert lengths(groups, lambda found: str(found["logGroupName"])) == [50, 10]
    ecr.create_repository(repositoryName="demo")
    for number in range(105):
        ecr.put_image(
            repositoryName="demo",
            imageManifest=manifest(number),
            imageTag=f"t{number}",
            imageDigest=f"sha256:{number:064x}",
        )
    for operation, key in (("list_images", "imageIds"), ("describe_images", "imageDetails")):
        images = pages(ecr, operation, key, repositoryName="demo")
        assert sum(lengths(images, lambda image: str(image["imageDigest"]))) == 105
