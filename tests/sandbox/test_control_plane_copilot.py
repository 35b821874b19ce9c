"""The real Copilot against the embedded AWS."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.real_copilot import COPILOT, DIGEST, Sandbox, copy_of, deployed_sandbox, deploying, sow

pytestmark = pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with deployed_sandbox(tmp_path_factory.mktemp("aws")) as sandbox:
        yield sandbox


@pytest.mark.nightly
def test_seeding_again_changes_nothing_and_ignores_the_users_own_aws(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> list[tuple[str, str]]:
        stacks = sandbox.client("cloudformation").describe_stacks()["Stacks"]
        return [(stack["StackName"], str(stack.get("LastUpdatedTime"))) for stack in stacks]

    before = state()
    manifests = {path: path.read_text() for path in sandbox.workspace.rglob("*.yml")}
    with monkeypatch.context() as patch:
        patch.setenv("AWS_PROFILE", "there-is-no-such-profile")
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        sow(sandbox.workspace, sandbox.aws)
    assert state() == before
    assert manifests == {path: path.read_text() for path in sandbox.workspace.rglob("*.yml")}
    arn = "arn:aws:ssm:us-east-1:123456789012:parameter/copilot/demo/test/secrets/SECRET_KEY"
    assert sandbox.plane.secret(arn) == "sesame"
    with pytest.raises(KeyError):
        sandbox.plane.secret("/copilot/demo/test/secrets/NONE")


def test_a_deployed_service_is_told_to_the_agent_and_the_load_balancer_in_full(sandbox: Sandbox) -> None:
    service = sandbox.service("test")
    web = next(c for c in service.task_definition.containers if c.name == "web")
    assert dict(web.depends_on) == {"redis": "START", "startup": "SUCCESS"}
    assert web.secrets["SECRET_KEY"] == "/copilot/demo/test/secrets/SECRET_KEY"
    assert [(mount.volume, mount.read_only) for mount in web.mounts] == [("static", True)]
    assert (service.desired_count, service.capacity_provider) == (1, "FARGATE_SPOT")
    assert (service.minimum_healthy_percent, service.maximum_percent) == (0, 100)
    assert service.circuit_breaker
    assert service.grace_period == 3600
    (entry,) = service.load_balancing
    group = sandbox.plane.target_group(entry.target_group_arn)
    assert group is not None
    assert (group.health_path, group.deregistration_delay, group.interval) == ("/healthz", 5, 5)
    balancer = next(b for b in sandbox.plane.load_balancers() if b.environment == "test")
    assert balancer.port == 8101
    (rule,) = [rule for rule in balancer.rules if rule.paths == ("/*",)]
    assert (rule.target_group_arns, rule.sources) == ((group.arn,), ("127.0.0.0/8",))
    assert balancer.rules[-1].priority > 50000


def addons(sandbox: Sandbox, environment: str) -> set[str]:
    """The resources that an environment's addons have."""
    cloudformation = sandbox.client("cloudformation")
    nested = cloudformation.describe_stack_resource(
        StackName=f"demo-{environment}", LogicalResourceId="AddonsStack"
    )["StackResourceDetail"]["PhysicalResourceId"]
    found = cloudformation.describe_stack_resources(StackName=nested)["StackResources"]
    return {resource["LogicalResourceId"] for resource in found}


DATABASE = {"Database", "DatabasePassword", "DatabaseSubnets", "DatabaseURL", "DatabaseSecurityGroup"}
CACHE = {"Cache", "CacheSubnets", "CacheSecurityGroup"}


def test_stage_and_production_have_a_database_and_a_cache_and_test_uses_stages_database(
    sandbox: Sandbox,
) -> None:
    for environment in ("stage", "production"):
        assert addons(sandbox, environment) == DATABASE | CACHE
    assert addons(sandbox, "test") == {"DatabaseSecurityGroup"}
    packaged = sandbox.copilot("env", "package", "--name", "test")
    assert packaged.returncode == 0
    assert "AddonsStack" in packaged.stdout


def test_the_service_and_its_sidecar_are_given_what_the_addons_export(sandbox: Sandbox) -> None:
    for container in sandbox.service("stage").task_definition.containers:
        url = sandbox.plane.secret(container.secrets["DATABASE_URL"])
        assert re.fullmatch(r"postgres://stageadmin:\w{40}@[\w.-]+\.rds\.amazonaws\.com:5432/stage", url)
        assert container.environment["REDIS_HOST"].endswith(".cache.amazonaws.com")
        assert container.environment["REDIS_TLS"] == "1"
        described = sandbox.client("secretsmanager").describe_secret(
            SecretId=container.secrets["DATABASE_URL"]
        )
        tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
        # Without both, the task may not read it.
        assert (tags["copilot-application"], tags["copilot-environment"]) == ("demo", "stage")


def test_test_may_have_an_instance_of_its_own_and_be_admitted_to_stages(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    changed = copy_of(sandbox.workspace, tmp_path / "own")
    template = changed / "copilot/environments/addons/database.yml"
    text = template.read_text()
    head, row, rest = text.partition("    test:\n")
    row += rest.replace("Server: stage", "Server: own", 1).replace(
        "ReachesStage: 'no'", "ReachesStage: 'yes'", 1
    )
    template.write_text(head + row)
    try:
        done = sandbox.copilot("env", "deploy", "--name", "test", within=changed)
        assert done.returncode == 0, done.stdout
        assert addons(sandbox, "test") == DATABASE | {"WayToStage"}
    finally:
        done = sandbox.copilot("env", "deploy", "--name", "test")
    assert done.returncode == 0, done.stdout
    assert addons(sandbox, "test") == {"DatabaseSecurityGroup"}


def test_redis_runs_in_test_only(sandbox: Sandbox) -> None:
    names = {
        environment: {c.name for c in sandbox.service(environment).task_definition.containers}
        for environment in ("test", "stage")
    }
    assert names == {"test": {"web", "startup", "redis"}, "stage": {"web", "startup"}}


def test_resource_tags_arrive_at_the_stack_and_the_service(sandbox: Sandbox) -> None:
    assert {"Key": "branch", "Value": "feature/x"} in sandbox.stack("demo-test-web")["Tags"]
    service = sandbox.service("test")
    (described,) = sandbox.client("ecs").describe_services(
        cluster=service.cluster_arn, services=[service.arn], include=["TAGS"]
    )["services"]
    assert {"key": "branch", "value": "feature/x"} in described["tags"]


def test_an_unchanged_redeploy_is_recognised_and_starts_nothing(sandbox: Sandbox) -> None:
    before = sandbox.service("test").deployment_id
    done = sandbox.copilot(*deploying("test", "--resource-tags", "branch=feature/x"))
    assert done.returncode == 0
    assert "Set --force to force an update" in done.stdout
    assert sandbox.service("test").deployment_id == before


def test_force_begins_a_new_deployment_of_the_same_revision(sandbox: Sandbox) -> None:
    before = sandbox.service("stage")
    running = sandbox.begin(*deploying("stage", "--force"), within=sandbox.workspace)
    for _ in range(100):
        after = sandbox.service("stage")
        if after.deployment_id != before.deployment_id:
            break
        time.sleep(0.05)
    running.kill()  # Copilot looks whether the service is stable every 15 seconds only
    said, _errors = running.communicate()
    assert after.deployment_id != before.deployment_id, said
    assert after.task_definition.arn == before.task_definition.arn


def test_show_and_status_tell_what_the_agent_reported(sandbox: Sandbox) -> None:
    status = json.loads(sandbox.copilot("svc", "status", "-n", "web", "-e", "test", "--json").stdout)
    assert status["Service"]["runningCount"] == 1
    (task,) = status["tasks"]
    assert task["lastStatus"] == "RUNNING"
    assert {image["Digest"] for image in task["images"]} == {DIGEST.removeprefix("sha256:")}
    (health,) = status["targetHealthDescriptions"]
    assert health["healthStatus"]["state"] == "healthy", health
    shown = json.loads(sandbox.copilot("svc", "show", "-n", "web", "--json").stdout)
    assert {"environment": "test", "url": "http://localhost:8101"} in shown["routes"]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("words", "called"),
    [
        (("svc", "status", "-n", "web", "-e", "test"), {"ecs:DescribeServices", "cloudwatch:DescribeAlarms"}),
        (("svc", "package", "-n", "web", "-e", "test", "--tag", "abc", "--upload-assets"), {"s3:PutObject"}),
    ],
    ids=["status", "package"],
)
def test_copilot_tries_again_what_was_throttled_broken_or_dropped(
    sandbox: Sandbox, words: tuple[str, ...], called: set[str]
) -> None:
    folder = sandbox.plane.ca.parent
    log, faults = folder / "calls.log", folder / "faults.json"
    log.touch()
    try:
        before = sandbox.copilot(*words)
        calls = log.read_text().splitlines()
        log.write_text("")
        kinds = ("throttle", "server-error", "drop")
        rules = [{"call": call, "kind": kind, "times": 1} for call in sorted(set(calls)) for kind in kinds]
        faults.write_text(json.dumps(rules))
        after = sandbox.copilot(*words)
        tried = log.read_text().splitlines()
    finally:
        faults.unlink(missing_ok=True)
        log.unlink()
    assert (before.returncode, after.returncode) == (0, 0), after.stdout
    assert called <= set(calls)
    for call in set(calls):
        assert tried.count(call) == calls.count(call) + len(kinds), call


@pytest.mark.nightly
def test_copilot_reads_every_page(sandbox: Sandbox) -> None:
    """Stacks found by their tags, a hundred to a page, and parameters, ten to a page."""
    cloudformation, ssm = sandbox.client("cloudformation"), sandbox.client("ssm")
    stacks = [f"aaa-{number}" for number in range(105)]  # the service's own stack sorts after them
    services = [f"other-{number}" for number in range(12)]
    tags = {"copilot-application": "demo", "copilot-environment": "test"}
    body = json.dumps({"Resources": {"Nothing": {"Type": "AWS::Unheard::Of"}}})
    for name in stacks:
        tagged = [{"Key": key, "Value": value} for key, value in tags.items()]
        cloudformation.create_stack(StackName=name, TemplateBody=body, Tags=tagged)
    for name in services:
        described = {"app": "demo", "name": name, "type": "Load Balanced Web Service"}
        path = f"/copilot/applications/demo/components/{name}"
        ssm.put_parameter(Name=path, Value=json.dumps(described), Type="String")
    try:
        shown = json.loads(sandbox.copilot("env", "show", "-n", "test", "--json").stdout)
        listed = json.loads(sandbox.copilot("svc", "ls", "--app", "demo", "--json").stdout)
    finally:
        for name in stacks:
            cloudformation.delete_stack(StackName=name)
        for name in services:
            ssm.delete_parameter(Name=f"/copilot/applications/demo/components/{name}")
    assert [service["name"] for service in shown["services"]] == ["web"]
    assert {service["name"] for service in listed["services"]} == {"web", *services}


def test_logs_of_a_container_are_read_by_copilot(sandbox: Sandbox) -> None:
    web = next(c for c in sandbox.service("test").task_definition.containers if c.name == "web")
    assert web.log_group is not None
    stream = f"{web.log_prefix}/web/{'0' * 32}"
    sandbox.plane.log(web.log_group, stream, [(int(time.time() * 1000), "hello from the task")])
    assert "hello from the task" in sandbox.copilot("svc", "logs", "-n", "web", "-e", "test").stdout


def test_a_failing_rollout_rolls_back_to_the_old_task_definition(sandbox: Sandbox, tmp_path: Path) -> None:
    good = sandbox.service("stage").task_definition
    bad = copy_of(sandbox.workspace, tmp_path / "bad", "FROM scratch\nCMD bad\n")
    with sandbox.agent.saying("FAILED", lambda s: "-stage-" in s.name and s.task_definition.arn != good.arn):
        done = sandbox.copilot(*deploying("stage"), within=bad)
    assert done.returncode != 0
    assert sandbox.stack("demo-stage-web")["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "ECS Deployment Circuit Breaker was triggered" in sandbox.failures("demo-stage-web")["Service"]
    assert sandbox.service("stage").task_definition == good


@pytest.mark.nightly
def test_an_interrupted_update_settles_and_meanwhile_a_second_change_is_refused(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    good = sandbox.service("stage").task_definition
    slow = copy_of(sandbox.workspace, tmp_path / "slow", "FROM scratch\nCMD slow\n")
    cloudformation = sandbox.client("cloudformation")
    refused = cloudformation.exceptions.ClientError
    with sandbox.agent.saying(
        "IN_PROGRESS", lambda s: "-stage-" in s.name and s.task_definition.arn != good.arn
    ):
        running = sandbox.begin(*deploying("stage"), within=slow)
        sandbox.await_status("demo-stage-web", "UPDATE_IN_PROGRESS")
        with pytest.raises(refused, match="is in UPDATE_IN_PROGRESS state and can not be updated"):
            cloudformation.update_stack(StackName="demo-stage-web", UsePreviousTemplate=True)
        with pytest.raises(refused, match="cannot be deleted while in status UPDATE_IN_PROGRESS"):
            cloudformation.delete_stack(StackName="demo-stage-web")
        time.sleep(0.5)  # Copilot must have begun to listen for the signal
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert "Canceling stack update" in said
    assert sandbox.stack("demo-stage-web")["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert sandbox.service("stage").task_definition == good


def test_an_interrupted_first_deploy_leaves_no_stack(sandbox: Sandbox) -> None:
    with sandbox.agent.saying("IN_PROGRESS", lambda s: "-production-" in s.name):
        running = sandbox.begin(*deploying("production"), within=sandbox.workspace)
        sandbox.await_status("demo-production-web", "CREATE_IN_PROGRESS")
        time.sleep(0.5)  # Copilot must have begun to listen for the signal
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=30)
    assert "Delete stack demo-production-web" in said
    names = [stack["StackName"] for stack in sandbox.client("cloudformation").describe_stacks()["Stacks"]]
    assert "demo-production-web" not in names
    assert "production" not in {balancer.environment for balancer in sandbox.plane.load_balancers()}


def test_a_failing_first_deploy_rolls_back_to_nothing(sandbox: Sandbox) -> None:
    with sandbox.agent.saying("FAILED", lambda s: "-production-" in s.name):
        done = sandbox.copilot(*deploying("production"))
    assert done.returncode != 0
    assert sandbox.stack("demo-production-web")["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "Circuit Breaker" in sandbox.failures("demo-production-web")["Service"]
    assert "production" not in {balancer.environment for balancer in sandbox.plane.load_balancers()}


def test_without_the_runtime_patches_a_deploy_fails_with_lambdas_words(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    bare = copy_of(sandbox.workspace, tmp_path / "bare")
    shutil.rmtree(bare / "copilot" / "web" / "overrides")
    done = sandbox.copilot(*deploying("production"), within=bare)
    assert done.returncode != 0
    words = "The runtime parameter of nodejs20.x is no longer supported for creating or updating"
    assert words in " ".join(sandbox.failures("demo-production-web").values())


def test_deleting_the_service_in_test_takes_its_balancer_and_leaves_the_rest(sandbox: Sandbox) -> None:
    stage = sandbox.service("stage")
    done = sandbox.copilot("svc", "delete", "--name", "web", "--env=test", "--yes")
    assert done.returncode == 0, done.stdout
    assert [service.arn for service in sandbox.plane.services()] == [stage.arn]
    assert {balancer.environment for balancer in sandbox.plane.load_balancers()} == {"stage"}
    assert sandbox.stack("demo-test")["StackStatus"] == "UPDATE_COMPLETE"
    assert sandbox.copilot("svc", "delete", "--name", "web", "--env=test", "--yes").returncode == 0
