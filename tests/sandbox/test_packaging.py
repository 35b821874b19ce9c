"""What `invoke package` writes, deployed by boto3 alone on an embedded AWS: an empty one and Copilot's."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv.copilot.template_lint import lint
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import RealShell, Result
from copilot_testenv.core.settings import load
from copilot_testenv.export import assets, workflow
from copilot_testenv.export.workflow import Options
from copilot_testenv.rendering import Renderer
from copilot_testenv.session import Session
from tests.fakes import FakeReport, FakeShell
from tests.sandbox.real_copilot import (
    COPILOT,
    REPOSITORY,
    Sandbox,
    copy_of,
    credentials,
    deploying,
    running_sandbox,
)

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run"),
]

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/demo/web:1"
API = """
name: api
type: Backend Service
image: {location: 'public.ecr.aws/docker/library/busybox:1.37', port: 80}
publish: {topics: [{name: orders}]}
"""
WORKER = """
name: worker
type: Worker Service
image: {location: 'public.ecr.aws/docker/library/busybox:1.37'}
subscribe: {topics: [{name: orders, service: api}]}
count: {range: 1-3, queue_delay: {acceptable_latency: 10m, msg_processing_time: 250ms}}
"""
RUNTIME = """
- {op: replace, path: /Resources/EnvControllerFunction/Properties/Runtime, value: nodejs22.x}
"""
SCALED = "".join(
    f"- {{op: replace, path: /Resources/{name}Function/Properties/Runtime, value: nodejs22.x}}\n"
    for name in ("DynamicDesiredCount", "BacklogPerTaskCalculator")
)
ADDON = """
Parameters: {App: {Type: String}, Env: {Type: String}, Name: {Type: String}}
Resources:
  Queue: {Type: 'AWS::SQS::Queue', Properties: {QueueName: !Sub '${App}-${Env}-${Name}'}}
Outputs:
  QueueUrl: {Value: !Ref Queue}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's own service and environment, with addons, a backend service and a worker beside it."""
    root = copy_of(REPOSITORY, tmp_path_factory.mktemp("workspace"))
    for other in ("production", "stage"):
        shutil.rmtree(root / "copilot/environments" / other)
    written = {
        "api/manifest.yml": API,
        "api/addons/queue.yml": ADDON,
        "api/overrides/cfn.patches.yml": RUNTIME,
        "worker/manifest.yml": WORKER,
        "worker/overrides/cfn.patches.yml": RUNTIME + SCALED,
    }
    for name, text in written.items():
        file = root / "copilot" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def package(root: Path, service: str = "") -> FakeReport:
    report = FakeReport()
    options = Options("test", service, output="", domain="", yes=False, plan=bool(service))
    workflow.package(Session(load(root, {}), RealShell(), report, {}), options)
    return report


@pytest.fixture(scope="module")
def written(workspace: Path) -> Path:
    package(workspace)
    return workspace / "cloudformation/test"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path) as sandbox:
        yield sandbox


def texts(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in sorted(folder.rglob("*.yml"))}


def test_what_is_written_is_clean_for_cfn_lint_and_names_no_account(written: Path) -> None:
    found = texts(written)
    assert len(found) == 8  # four stacks, the ones of the bucket and of isolated branches, and two addons
    assert lint(found) == []
    for file in written.glob("*"):
        if file.is_file():
            assert "123456789012" not in file.read_text()
            assert "stackset-demo-infrastructure-" not in file.read_text().replace(
                "stackset-demo-infrastruc-", ""
            )


def test_packaging_again_changes_no_byte(written: Path, workspace: Path) -> None:
    assert written.is_dir()
    lines = package(workspace, "web").printed  # on another embedded AWS, with another bucket and another key
    assert len(lines) == 6  # two files for each of its stacks, its addons, and the code of a function
    assert {line.split()[0] for line in lines} == {"unchanged"}


def test_an_account_without_copilot_runs_it_all(written: Path, empty: Sandbox) -> None:
    deploy(empty, written, "demo-infrastructure-artifacts", AppName="demo")
    given = upload(empty, written)
    deploy(empty, written, "demo-test", environment="test", **given)
    deploy(empty, written, "demo-test-api", service="api", **given)
    images = {"ContainerImage": IMAGE, "ContainerImageForstartup": IMAGE}
    deploy(empty, written, "demo-test-web", service="web", **given, **images)
    deploy(empty, written, "demo-test-worker", service="worker", **given, DeployID="1")
    names = {stack["StackName"] for stack in empty.client("cloudformation").describe_stacks()["Stacks"]}
    assert not any("StackSet" in name for name in names)  # Copilot was never here
    assert sum("AddonsStack" in name for name in names) == 2
    web = next(service for service in empty.plane.services() if service.name.startswith("demo-test-web-"))
    images_of = {container.name: container.image for container in web.task_definition.containers}
    assert images_of["startup"] == images_of["web"] == IMAGE
    assert empty.client("sns").list_topics()["Topics"]
    made = physical(empty.client("cloudformation"), "demo-test-worker")
    assert {"EventsQueue", "PermissionToInvokeBacklogPerTaskCalculatorLambda"} <= set(made)
    (balancer,) = empty.plane.load_balancers()
    assert any(rule.paths == ("/*",) for rule in balancer.rules)


def test_stacks_that_copilot_made_are_updated_in_place_and_copilot_can_go_on(
    written: Path, workspace: Path, empty: Sandbox
) -> None:
    shutil.copytree(workspace / "copilot", empty.workspace / "copilot")
    (empty.workspace / "Dockerfile").write_text("FROM scratch\n")
    for words in (
        ("app", "init", "demo"),
        ("env", "init", "--name", "test", "--default-config", *credentials(empty.aws)),
        ("env", "deploy", "--name", "test"),
        ("svc", "init", "--name", "web"),
        deploying("test"),
    ):
        done = empty.copilot(*words)
        assert done.returncode == 0, done.stdout
    cloud = empty.client("cloudformation")
    before = {name: physical(cloud, name) for name in ("demo-test", "demo-test-web")}
    web = next(service for service in empty.plane.services() if service.name.startswith("demo-test-web-"))
    images = {container.name: container.image for container in web.task_definition.containers}
    given = upload(empty, written)
    deploy(empty, written, "demo-test", environment="test", **given)
    deploy(
        empty,
        written,
        "demo-test-web",
        service="web",
        **given,
        ContainerImage=images["web"],
        ContainerImageForstartup=images["startup"],
    )
    assert {name: physical(cloud, name) for name in before} == before
    (balancer,) = empty.plane.load_balancers()  # what the service asked of its environment is kept
    assert any(rule.paths == ("/*",) for rule in balancer.rules)
    done = empty.copilot(*deploying("test"))
    assert done.returncode == 0, done.stdout
    after = physical(cloud, "demo-test-web")
    assert {name for name in after if after[name] != before["demo-test-web"][name]} <= {"TaskDefinition"}


def test_a_file_that_copilot_did_not_upload_is_told(written: Path, workspace: Path, empty: Sandbox) -> None:
    settings = load(workspace, {})
    renderer = Renderer(settings, FakeShell({"package": Result(1, stderr="no network")}), empty.aws, {})
    with pytest.raises(Failed, match="Copilot made no bucket for the application demo"):
        assets.fetch(renderer, "test", ["Worker Service"], ["some.zip"])
    empty.client("cloudformation").create_stack(
        StackName="StackSet-demo-infrastructure-1",
        TemplateBody=(written / "demo-infrastructure-artifacts.yml").read_text(),
        Parameters=[{"ParameterKey": "AppName", "ParameterValue": "demo"}],
    )
    empty.await_status("StackSet-demo-infrastructure-1", "CREATE_COMPLETE")
    with pytest.raises(Failed, match=r"did not upload some\.zip, which a template needs: no network"):
        assets.fetch(renderer, "test", ["Worker Service"], ["some.zip"])


def upload(sandbox: Sandbox, folder: Path) -> dict[str, str]:
    """Put the assets into the bucket that the account has; returns the parameters that name it."""
    stacks = sandbox.client("cloudformation").describe_stacks()["Stacks"]
    outputs = {
        output["OutputKey"]: output["OutputValue"]
        for stack in stacks
        if "infrastructure-" in stack["StackName"]
        for output in stack.get("Outputs", ())
    }
    s3 = sandbox.client("s3")
    for file in (folder / "assets").rglob("*"):
        if file.is_file():
            key = str(file.relative_to(folder / "assets"))
            s3.put_object(Bucket=outputs["PipelineBucket"], Key=key, Body=file.read_bytes())
    return {"ArtifactBucket": outputs["PipelineBucket"], "ArtifactKeyARN": outputs["KMSKeyARN"]}


def deploy(
    sandbox: Sandbox, folder: Path, stack: str, *, environment: str = "", service: str = "", **given: str
) -> None:
    """As `aws cloudformation deploy` does it: what is given nowhere keeps the value that the stack has."""
    cloud = sandbox.client("cloudformation")
    text = (folder / f"{stack}.yml").read_text()
    file = folder / f"{stack}.parameters.json"
    values = (
        {item["ParameterKey"]: item["ParameterValue"] for item in json.loads(file.read_text())}
        if file.exists()
        else {}
    )
    values |= given
    there = stack in {found["StackName"] for found in cloud.describe_stacks()["Stacks"]}
    declared = cloud.get_template_summary(TemplateBody=text)["Parameters"]
    parameters: list[dict[str, Any]] = []
    for name in (parameter["ParameterKey"] for parameter in declared):
        if name in values:
            parameters.append({"ParameterKey": name, "ParameterValue": values[name]})
        elif there and name in {p["ParameterKey"] for p in sandbox.stack(stack)["Parameters"]}:
            parameters.append({"ParameterKey": name, "UsePreviousValue": True})
    tags = {"copilot-application": "demo"}
    if environment or service:
        tags["copilot-environment"] = environment or "test"
    if service:
        tags["copilot-service"] = service
    change = cloud.update_stack if there else cloud.create_stack
    change(
        StackName=stack,
        TemplateBody=text,
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    while str(sandbox.stack(stack)["StackStatus"]).endswith("_IN_PROGRESS"):
        time.sleep(0.02)
    status = "UPDATE_COMPLETE" if there else "CREATE_COMPLETE"
    assert sandbox.stack(stack)["StackStatus"] == status, sandbox.failures(stack)


def physical(cloud: Any, stack: str) -> dict[str, str]:
    resources = cloud.describe_stack_resources(StackName=stack)["StackResources"]
    return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
