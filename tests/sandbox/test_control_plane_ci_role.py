"""The real Copilot with the CI role's policy and nothing more; and what that policy keeps it from."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from copilot_sandbox import model
from copilot_sandbox.control_plane.scheduled_scaling import target_arn
from copilot_testenv.aws import Aws
from copilot_testenv.copilot import application, disposable
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import load
from tests import ci_role
from tests.sandbox.real_copilot import COPILOT, Sandbox, copy_of, deployed_sandbox, deploying

pytestmark = pytest.mark.skipif(not COPILOT, reason="there is no Copilot to run")
DIMENSION = {"ScalableDimension": "ecs:service:DesiredCount"}
PATCHES = Path("copilot/environments/overrides/cfn.patches.yml")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The service is deployed to all three environments; then everybody is the CI role."""
    with deployed_sandbox(tmp_path_factory.mktemp("aws")) as sandbox:
        done = sandbox.copilot(*deploying("production"))
        assert done.returncode == 0, done.stdout
        add_service(sandbox.workspace, "web-x")
        be_ci(sandbox)
        yield sandbox


def be_ci(sandbox: Sandbox) -> None:
    switch(sandbox).unlink(missing_ok=True)
    stacks = sandbox.client("cloudformation")
    policies = (ci_role.policy(stacks, name) for name in ("ci-role.json", "ci-office-hours.json"))
    switch(sandbox).write_text(ci_role.switch(*policies))


def switch(sandbox: Sandbox) -> Path:
    return sandbox.plane.ca.with_name("iam.json")


def add_service(workspace: Path, name: str) -> None:
    own = workspace / "copilot" / name
    shutil.copytree(workspace / "copilot/web", own)
    manifest = (own / "manifest.yml").read_text()
    (own / "manifest.yml").write_text(manifest.replace("name: web\n", f"name: {name}\n"))


def taken_on(sandbox: Sandbox, environment: str) -> Callable[[str], Any]:
    """Makes clients of an environment's manager role, as the CI role may take it on."""
    role = f"arn:aws:iam::123456789012:role/demo-{environment}-EnvManagerRole"
    found = sandbox.client("sts").assume_role(RoleArn=role, RoleSessionName="ci")["Credentials"]
    session = boto3.Session(
        found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], region_name="us-east-1"
    )
    config = Config(proxies={"https": sandbox.aws["HTTPS_PROXY"]}, retries={"max_attempts": 1})
    return lambda service: session.client(service, config=config, verify=sandbox.aws["AWS_CA_BUNDLE"])


def service(sandbox: Sandbox, environment: str) -> model.Service:
    (found,) = [s for s in sandbox.plane.services() if s.name.startswith(f"demo-{environment}-web-Service")]
    return found


def succeeds(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.nightly
def test_a_service_is_deployed_looked_at_and_deleted(sandbox: Sandbox) -> None:
    succeeds(sandbox.copilot(*deploying("test", "--resource-tags", "branch=feature/ci")))
    assert {"Key": "branch", "Value": "feature/ci"} in sandbox.stack("demo-test-web")["Tags"]
    unchanged = succeeds(sandbox.copilot(*deploying("test", "--resource-tags", "branch=feature/ci")))
    assert "Set --force to force an update" in unchanged
    assert '"name":"production"' in succeeds(sandbox.copilot("env", "ls", "--app=demo", "--json"))
    assert "1/1" in succeeds(sandbox.copilot("svc", "status", "-n", "web", "-e", "test"))
    assert "web" in succeeds(sandbox.copilot("svc", "ls", "--app=demo", "--json"))


@pytest.mark.parametrize("name", ["web", "web-x"])  # the application knows the first one only
def test_what_would_be_deployed_is_rendered_and_nothing_is_changed_by_that(
    sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    words = ("svc", "package", "--app=demo", f"--name={name}", "--env=test", "--tag=abc")
    succeeds(sandbox.copilot(*words, f"--output-dir={tmp_path}"))
    assert "HTTPListenerRule" in (tmp_path / f"{name}-test.stack.yml").read_text()
    assert '"name":"web-x"' not in succeeds(sandbox.copilot("svc", "ls", "--app=demo", "--json"))


@pytest.mark.nightly
def test_a_deploy_makes_a_branchs_own_service_known_to_the_application(sandbox: Sandbox) -> None:
    words = ("deploy", "--name", "web-x", "--env", "test", "--deploy-env=false", "--tag", "abc")
    succeeds(sandbox.copilot(*words))
    assert sandbox.stack("demo-test-web-x")["StackStatus"] == "CREATE_COMPLETE"
    succeeds(sandbox.copilot("svc", "delete", "--name", "web-x", "--env=test", "--yes"))
    name = "/copilot/applications/demo/components/web-x"
    assert sandbox.client("ssm").delete_parameters(Names=[name])["DeletedParameters"] == [name]


@pytest.mark.nightly
def test_a_one_off_task_is_run_and_its_stack_deleted(sandbox: Sandbox) -> None:
    group = "demo-test-web-copy-db"
    words = ("--task-group-name", group, "--image", "public.ecr.aws/x/y:1", "--command", "true")
    succeeds(sandbox.copilot("task", "run", "--app=demo", "--env=test", *words))
    assert sandbox.stack(f"task-{group}")["StackStatus"] == "CREATE_COMPLETE"
    succeeds(sandbox.copilot("task", "delete", "--app=demo", "--env=test", f"--name={group}", "--yes"))


def test_what_copilot_asks_of_every_environment_is_refused_and_the_address_is_known_all_the_same(
    sandbox: Sandbox,
) -> None:
    for words in (
        ("svc", "show", "--app=demo", "--name=web", "--json"),
        ("app", "show", "--name=demo", "--json"),
        ("svc", "delete", "--app=demo", "--name=web", "--yes"),  # from everywhere
        ("svc", "delete", "--app=demo", "--name=web", "--env=production", "--yes"),
    ):
        done = sandbox.copilot(*words)
        assert done.returncode != 0, words
        assert re.search(r"sts:AssumeRole on resource: \S+role/demo-(stage|production)-", done.stdout), words
    words = ("svc", "init", "--app=demo", "--name=web-x", "--svc-type=Load Balanced Web Service")
    assert "is not authorized to perform" in sandbox.copilot(*words).stdout
    assert service(sandbox, "production").desired_count == 2
    assert Aws(sandbox.aws).address("demo-test-web") == "http://localhost:8101"


def test_the_applications_domain_is_known_without_asking_every_environment(sandbox: Sandbox) -> None:
    settings, aws = load(sandbox.workspace, {}), Aws(sandbox.aws)
    assert application.domain(settings, aws) == ""
    with pytest.raises(Failed, match="ssm:GetParameter"):  # another application's is none of its business
        application.domain(replace(settings, app="demo2"), aws)


def test_nothing_of_production_is_changed_directly(sandbox: Sandbox) -> None:
    stacks, ecs, ssm = (sandbox.client(name) for name in ("cloudformation", "ecs", "ssm"))
    theirs = service(sandbox, "production")
    for environment in ("production", "stage"):
        with pytest.raises(ClientError, match="explicit deny"):
            taken_on(sandbox, environment)
        with pytest.raises(ClientError, match="explicit deny"):
            stacks.delete_stack(StackName=f"demo-{environment}-web")
        with pytest.raises(ClientError, match="explicit deny"):
            stacks.update_stack(StackName=f"demo-{environment}", UsePreviousTemplate=True)
    with pytest.raises(ClientError, match="explicit deny"):
        ecs.update_service(cluster=theirs.cluster_arn, service=theirs.arn, desiredCount=0)
    for name in ("environments/production", "components/web"):
        with pytest.raises(ClientError, match="ssm:DeleteParameters"):
            ssm.delete_parameters(Names=[f"/copilot/applications/demo/{name}"])


def test_office_hours_are_set_with_the_tags_of_the_test_environment_and_changed_only_there(
    sandbox: Sandbox,
) -> None:
    scaling, which = sandbox.client("application-autoscaling"), {"ServiceNamespace": "ecs", **DIMENSION}
    theirs = service(sandbox, "production")
    resource = f"service/{theirs.cluster_arn.split('/')[-1]}/{theirs.name}"
    new = {**which, "ResourceId": resource, "MinCapacity": 0, "MaxCapacity": 2}
    for tags in ({}, {"copilot-application": "demo", "copilot-environment": "production"}):
        with pytest.raises(ClientError, match="application-autoscaling:RegisterScalableTarget"):
            scaling.register_scalable_target(**new, Tags=tags)
    policy = switch(sandbox).read_text()
    switch(sandbox).unlink()
    scaling.register_scalable_target(**new)  # as Copilot does for a range
    stages = service(sandbox, "stage")
    stages_target = f"service/{stages.cluster_arn.split('/')[-1]}/{stages.name}"
    tags = {"copilot-application": "demo", "copilot-environment": "stage"}
    scaling.register_scalable_target(**{**new, "ResourceId": stages_target}, Tags=tags)
    switch(sandbox).write_text(policy)
    ours = {"copilot-application": "demo", "copilot-environment": "test"}
    with pytest.raises(ClientError, match="application-autoscaling:TagResource"):
        scaling.tag_resource(ResourceARN=target_arn(stages_target), Tags=ours)
    other = {"ServiceNamespace": "dynamodb", "ScalableDimension": "dynamodb:table:ReadCapacityUnits"}
    with pytest.raises(ClientError, match="application-autoscaling:RegisterScalableTarget"):
        scaling.register_scalable_target(
            **other, ResourceId="table/orders", MinCapacity=0, MaxCapacity=1, Tags=ours
        )
    with pytest.raises(ClientError, match="application-autoscaling:PutScheduledAction"):
        scaling.put_scheduled_action(
            **which, ResourceId=resource, ScheduledActionName="sleep", Schedule="cron(0 19 * * ? *)",
            ScalableTargetAction={"MinCapacity": 0, "MaxCapacity": 0},
        )  # fmt: skip
    with pytest.raises(ClientError, match="application-autoscaling:DeregisterScalableTarget"):
        scaling.deregister_scalable_target(**which, ResourceId=resource)
    assert scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    assert Aws(sandbox.aws).sleeping("demo", "test") == frozenset()


def test_the_role_sets_and_ends_office_hours_of_test(sandbox: Sandbox) -> None:
    succeeds(sandbox.copilot(*deploying("test")))
    aws, stack = Aws(sandbox.aws), "demo-test-web"
    tags = {"copilot-application": "demo", "copilot-environment": "test"}
    for _ in range(2):
        aws.schedule(
            stack,
            wakes="cron(0 8 ? * MON-FRI *)",
            sleeps="cron(0 19 * * ? *)",
            zone="Europe/London",
            count=aws.task_count(stack),
            tags=tags,
        )
    aws.scale_service(stack, 0)
    assert aws.sleeping("demo", "test") == frozenset({stack})
    assert (aws.desired_count(stack), aws.task_count(stack)) == (0, 1)
    assert not aws.scales_itself(stack)
    for _ in range(2):
        aws.unschedule(stack)


def test_no_environment_can_be_marked_as_disposable(sandbox: Sandbox) -> None:
    for name in ("test", "production"):
        record = f"/copilot/applications/demo/environments/{name}"
        of = {"ResourceType": "Parameter", "ResourceId": record}
        tags = [{"Key": disposable.TAG, "Value": f"demo/{name}"}]
        for ssm in (sandbox.client("ssm"), taken_on(sandbox, "test")("ssm")):
            with pytest.raises(ClientError, match=r"ssm:AddTagsToResource .*(deny|no identity-based policy)"):
                ssm.add_tags_to_resource(**of, Tags=tags)
            with pytest.raises(ClientError, match="ssm:RemoveTagsFromResource"):
                ssm.remove_tags_from_resource(**of, TagKeys=[disposable.TAG])
            with pytest.raises(ClientError, match="ssm:PutParameter"):
                ssm.put_parameter(Name=record, Value="{}", Type="String", Tags=tags)
        found = sandbox.client("ssm").list_tags_for_resource(**of)["TagList"]
        assert (tags[0] in found) == (name == "test")


def test_nothing_of_production_is_changed_through_tests_manager_role(sandbox: Sandbox) -> None:
    manager = taken_on(sandbox, "test")
    stacks, ecs, ssm = (manager(name) for name in ("cloudformation", "ecs", "ssm"))
    ours, theirs = service(sandbox, "test"), service(sandbox, "production")
    secret = "/copilot/demo/production/secrets/SECRET_KEY"
    for client, operation, parameters in (
        (stacks, "delete_stack", {"StackName": "demo-production-web"}),
        (stacks, "update_stack", {"StackName": "demo-production", "UsePreviousTemplate": True}),
        (stacks, "create_stack", {"StackName": "anything", "TemplateBody": "{}"}),
        (stacks, "delete_stack", {"StackName": "StackSet-demo-infrastructure-1"}),
        (ecs, "update_service", {"cluster": theirs.cluster_arn, "service": theirs.name, "desiredCount": 0}),
        (ecs, "update_service", {"cluster": ours.cluster_arn, "service": theirs.arn, "desiredCount": 0}),
        (ecs, "stop_task", {"cluster": theirs.cluster_arn, "task": "1"}),
        (ecs, "run_task", {"cluster": theirs.cluster_arn, "taskDefinition": theirs.task_definition.arn}),
        (ssm, "delete_parameter", {"Name": "/copilot/applications/demo/environments/production"}),
        (ssm, "delete_parameters", {"Names": [secret]}),
        (ssm, "put_parameter", {"Name": secret, "Value": "x", "Type": "String"}),
    ):
        with pytest.raises(ClientError, match="with an explicit deny in an identity-based policy"):
            getattr(client, operation)(**parameters)
    # What it is for, it may.
    ecs.update_service(cluster=ours.cluster_arn, service=ours.name, desiredCount=1)
    ssm.delete_parameters(Names=["/copilot/demo/test/secrets/NONE"])
    with pytest.raises(ClientError, match="No updates are to be performed"):
        unchanged(stacks, "demo-test-web")


# What would harm production, the application or the account: service, operation, parameters.
_OF = "arn:aws:{}:us-east-1:123456789012:"
_ROLE = "arn:aws:iam::123456789012:role/demo-production-CFNExecutionRole"
_OWN_ROLE = "demo-test-EnvManagerRole"
_HARM: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("cloudformation", "cancel_update_stack", {"StackName": "demo-production-web"}),
    ("cloudformation", "continue_update_rollback", {"StackName": "demo-production-web"}),
    ("cloudformation", "create_stack", {"StackName": "mine", "TemplateBody": "{}", "RoleARN": _ROLE}),
    ("cloudformation", "delete_stack", {"StackName": "demo-production-web"}),
    ("cloudformation", "delete_stack", {"StackName": "demo-production"}),
    ("cloudformation", "delete_stack", {"StackName": "demo-infrastructure-roles"}),
    ("cloudformation", "delete_stack_instances", {
        "StackSetName": "demo-infrastructure", "Accounts": ["123456789012"], "Regions": ["us-east-1"],
        "RetainStacks": False,
    }),
    ("cloudformation", "delete_stack_set", {"StackSetName": "demo-infrastructure"}),
    ("cloudformation", "execute_change_set", {"StackName": "demo-production-web", "ChangeSetName": "x"}),
    ("cloudformation", "set_stack_policy", {"StackName": "demo-production", "StackPolicyBody": "{}"}),
    ("cloudformation", "update_termination_protection", {
        "StackName": "demo-production", "EnableTerminationProtection": False,
    }),
    ("dynamodb", "delete_table", {"TableName": "demo-production-web-things"}),
    ("ec2", "delete_vpc", {"VpcId": "vpc-12345678"}),
    ("ec2", "authorize_security_group_ingress", {
        "GroupId": "sg-12345678", "IpProtocol": "-1", "CidrIp": "0.0.0.0/0",
    }),
    ("ecr", "delete_repository", {"repositoryName": "demo/web", "force": True}),
    ("ecr", "set_repository_policy", {"repositoryName": "demo/web", "policyText": "{}"}),
    ("ecr", "batch_delete_image", {"repositoryName": "shop/api", "imageIds": [{"imageTag": "live"}]}),
    ("ecs", "delete_cluster", {"cluster": "demo-production-Cluster-1"}),
    ("ecs", "delete_service", {"cluster": "demo-production-Cluster-1", "service": "web", "force": True}),
    ("elbv2", "delete_load_balancer", {
        "LoadBalancerArn": _OF.format("elasticloadbalancing") + "loadbalancer/app/demo-production/1",
    }),
    ("events", "delete_rule", {"Name": "demo-production-nightly"}),
    ("iam", "attach_role_policy", {
        "RoleName": _OWN_ROLE, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess",
    }),
    ("iam", "create_access_key", {"UserName": "admin"}),
    ("iam", "create_user", {"UserName": "back-door"}),
    ("iam", "delete_role_policy", {"RoleName": _OWN_ROLE, "PolicyName": "OwnEnvironmentOnly"}),
    ("iam", "put_role_policy", {"RoleName": _OWN_ROLE, "PolicyName": "more", "PolicyDocument": "{}"}),
    ("iam", "update_assume_role_policy", {"RoleName": _OWN_ROLE, "PolicyDocument": "{}"}),
    ("kms", "schedule_key_deletion", {"KeyId": "12345678-1234-1234-1234-123456789012"}),
    ("lambda", "delete_function", {"FunctionName": "demo-production-EnvControllerFunction"}),
    ("logs", "delete_log_group", {"logGroupName": "/copilot/demo-production-web"}),
    ("rds", "delete_db_cluster", {"DBClusterIdentifier": "demo-stage", "SkipFinalSnapshot": True}),
    ("rds", "delete_db_instance", {"DBInstanceIdentifier": "demo-production", "SkipFinalSnapshot": True}),
    ("rds", "modify_db_instance", {
        "DBInstanceIdentifier": "demo-production", "MasterUserPassword": "mine1234",
    }),
    ("route53", "delete_hosted_zone", {"Id": "Z1"}),
    ("s3", "delete_bucket", {"Bucket": "demo-production-media"}),
    ("s3", "delete_object", {"Bucket": "demo-production-media", "Key": "logo.png"}),
    ("s3", "put_bucket_policy", {"Bucket": "demo-production-media", "Policy": "{}"}),
    ("secretsmanager", "delete_secret", {
        "SecretId": "demo-production-db", "ForceDeleteWithoutRecovery": True,
    }),
    ("secretsmanager", "get_secret_value", {"SecretId": "demo-production-db"}),
    ("sns", "delete_topic", {"TopicArn": _OF.format("sns") + "demo-production-web-orders"}),
    ("sqs", "purge_queue", {"QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/other"}),
    ("ssm", "delete_parameter", {"Name": "/copilot/applications/demo"}),
    ("ssm", "get_parameter", {"Name": "/copilot/demo/production/secrets/SECRET_KEY", "WithDecryption": True}),
)  # fmt: skip


def test_no_call_that_harms_production_or_the_account_is_allowed_by_any_way(sandbox: Sandbox) -> None:
    """The CI role itself, and test's manager role, which it may take on."""
    manager = taken_on(sandbox, "test")
    allowed = [
        f"{name}: {service}:{operation} {parameters}"
        for name, client in (("CI", sandbox.client), ("manager", manager))
        for service, operation, parameters in _HARM
        if not is_denied(client(service), operation, parameters)
    ]
    assert not allowed, "\n".join(allowed)


def is_denied(client: Any, operation: str, parameters: dict[str, Any]) -> bool:
    try:
        getattr(client, operation)(**parameters)
    except ClientError as error:
        return "is not authorized to perform" in str(error)
    return False


def unchanged(stacks: Any, name: str) -> None:
    found = stacks.describe_stacks(StackName=name)["Stacks"][0]
    stacks.update_stack(
        StackName=name,
        UsePreviousTemplate=True,
        Parameters=[
            {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True} for each in found["Parameters"]
        ],
    )


def test_without_the_patch_tests_manager_role_deletes_production(sandbox: Sandbox, tmp_path: Path) -> None:
    bare = copy_of(sandbox.workspace, tmp_path / "bare")
    patches = yaml.safe_load((bare / PATCHES).read_text())
    kept = [patch for patch in patches if "EnvironmentManagerRole" not in patch["path"]]
    assert len(kept) == len(patches) - 1
    (bare / PATCHES).write_text(yaml.safe_dump(kept))
    switch(sandbox).unlink()
    succeeds(sandbox.copilot("env", "deploy", "--app=demo", "--name=test", within=bare))
    be_ci(sandbox)
    taken_on(sandbox, "test")("cloudformation").delete_stack(StackName="demo-production-web")
    switch(sandbox).unlink()
    for _ in range(200):
        if "production" not in {balancer.environment for balancer in sandbox.plane.load_balancers()}:
            break
        time.sleep(0.05)
    with pytest.raises(ClientError, match="does not exist"):
        sandbox.stack("demo-production-web")
