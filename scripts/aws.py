"""What these tasks ask AWS themselves; whatever changes a service goes through Copilot."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)

from scripts import display
from scripts.command import LIFELINE, Variables, is_cut
from scripts.errors import Failed, SettingsError
from scripts.stack import (
    UNSETTLED,
    Container,
    Defined,
    Event,
    Stack,
    Task,
    TaskDefinition,
    rule_url,
    tag_value,
    tags_of,
)


class Aws:
    """The few things we ask AWS ourselves; whatever changes something goes through Copilot."""

    def __init__(self, env: Variables, region: str | None = None) -> None:
        """Ask with the user's own credentials, unless `env` points elsewhere; in `region` where given."""
        self.env = env
        self._region = region

    @functools.cached_property
    def home(self) -> Aws:
        """The same in the region where Copilot keeps its records, which is that of the user's settings."""
        if not self._region:
            return self
        there = Aws(self.env)
        return self if there.region == self.region else there

    @functools.cached_property
    def _session(self) -> boto3.Session:
        if "HTTPS_PROXY" not in self.env:
            # Copilot's SDK reads AWS_REGION, boto3 does not.
            region = self._region or os.environ.get("AWS_REGION")
            return boto3.Session(profile_name=self.env.get("AWS_PROFILE"), region_name=region)
        # No profile and no file of the user's has a say in the sandbox.
        unset, nowhere = (None, None, None, None), (None, None, os.devnull, None)
        own = botocore.session.Session(
            {"profile": unset, "config_file": nowhere, "credentials_file": nowhere}
        )
        return boto3.Session(
            botocore_session=own,
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            region_name=self.env["AWS_REGION"],
        )

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def client(self, service: str, *, quick: bool = False) -> Any:
        """Make boto3's client of a service, once; `quick`: one whose calls last some seconds at most."""
        # Whoever does not answer is given up within a minute: four attempts and the pauses between them.
        retries: Any = {"mode": "standard", "total_max_attempts": 2 if quick else 4}
        proxy = self.env.get("HTTPS_PROXY")
        config = Config(
            connect_timeout=3 if quick else 5,
            read_timeout=5 if quick else 12,
            retries=retries,
            proxies={"https": proxy} if proxy else None,
            # Copilot knows no AWS_ENDPOINT_URL: we must not look at another place than it changes.
            ignore_configured_endpoint_urls=True,
        )
        client = self._session.client(service, config=config, verify=self.env.get("AWS_CA_BUNDLE"))
        if lifeline := self.env.get(LIFELINE):
            client.meta.events.register("before-send", lambda **_: _require_server(Path(lifeline)))
        return client

    def _ask(self, service: str, operation: str, /, **arguments: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self.client(service), operation)(**arguments)
        except (NoCredentialsError, NoRegionError, PartialCredentialsError, ProfileNotFound) as error:
            raise SettingsError(
                f"Your AWS configuration cannot be used: {str(error).rstrip('.')}. Set AWS_PROFILE or the "
                "credentials' variables, and AWS_REGION."
            ) from error
        except _SandboxEnded as error:
            raise Failed(
                "The sandbox's server has ended: what was deployed in it is gone, its databases are kept. "
                "Run the same again."
            ) from error
        except (BotoCoreError, ClientError) as error:
            raise _Answered(service, operation, error) from error
        return answer

    def account(self) -> str:
        """The account's number, for the first line of a run. Raises Failed where credentials are wrong."""
        return str(self._ask("sts", "get_caller_identity")["Account"])

    @property
    def region(self) -> str:
        """The region asked. Raises SettingsError where none is set."""
        try:
            region = self._session.region_name
        except BotoCoreError as error:  # a profile that is not there
            raise SettingsError(f"Your AWS configuration cannot be used: {error}.") from error
        if not region:
            raise SettingsError("No AWS region is set: set AWS_REGION, or a region in your profile.")
        return str(region)

    def stack(self, name: str) -> Stack | None:
        """The stack of that name, or None where there is none."""
        try:
            found = self._ask("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        return Stack(
            name,
            found["StackStatus"],
            tags_of(found.get("Tags", ())),
            found.get("LastUpdatedTime") or found["CreationTime"],
        )

    def change_tags(self, name: str, changes: Mapping[str, str]) -> None:
        """Set some of the stack's tags and begin nothing else: template and parameters stay as they are."""
        found = self._ask("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
        tags |= {key: tag_value(text) for key, text in changes.items()}
        try:
            self._ask(
                "cloudformation",
                "update_stack",
                StackName=name,
                UsePreviousTemplate=True,
                Parameters=[
                    {"ParameterKey": parameter["ParameterKey"], "UsePreviousValue": True}
                    for parameter in found.get("Parameters", ())
                ],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )
        except _Answered as error:
            if not error.says("No updates are to be performed"):
                raise

    def resource(self, stack: str, logical_id: str) -> str | None:
        """A stack's resource's physical id."""
        try:
            found = self._ask(
                "cloudformation", "describe_stack_resource", StackName=stack, LogicalResourceId=logical_id
            )
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        physical_id: str | None = found["StackResourceDetail"].get("PhysicalResourceId")
        return physical_id

    def service(self, stack: str) -> tuple[str, str] | None:
        """The names of the stack's cluster and ECS service; None where it has none."""
        found = self.resource(stack, "Service")
        if not found or "/" not in found:
            return None
        cluster, name = found.split("/")[-2:]
        return cluster, name

    def address(self, stack: str) -> str | None:
        """Where the stack's service is reached, by its load balancer's rules; None where it has none.

        Copilot tells it too, but asks in every environment, which a role for this one may not do.
        """
        try:
            found = self._ask("cloudformation", "describe_stack_resources", StackName=stack)["StackResources"]
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        rules = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in found
            if resource["ResourceType"] == "AWS::ElasticLoadBalancingV2::ListenerRule"
            and resource.get("PhysicalResourceId")  # not while it is being made
        }
        # Where there is HTTPS, the rule for HTTP only redirects to it.
        name = min(rules, key=lambda name: (not name.startswith("HTTPS"), name), default=None)
        if name is None:
            return None
        # …:listener-rule/app/NAME/ID/LISTENER/RULE
        arn = rules[name].replace(":listener-rule/", ":loadbalancer/").rsplit("/", 2)[0]
        try:
            (rule,) = self._ask("elbv2", "describe_rules", RuleArns=[rules[name]])["Rules"]
            (balancer,) = self._ask("elbv2", "describe_load_balancers", LoadBalancerArns=[arn])[
                "LoadBalancers"
            ]
        except _Answered as error:
            if error.says("NotFound"):  # the stack is being changed
                return None
            raise
        return rule_url("https" if name.startswith("HTTPS") else "http", rule, balancer["DNSName"])

    def events(self, stack: str, since: datetime) -> list[Event]:
        """The stack's events after `since`, oldest first; empty where the stack is gone."""
        events: list[Event] = []
        more: dict[str, str] = {}
        while True:  # the newest come first
            try:
                found = self._ask("cloudformation", "describe_stack_events", StackName=stack, **more)
            except _Answered as error:
                if error.says("does not exist"):
                    return []
                raise
            page = [
                Event(
                    event["Timestamp"],
                    event["LogicalResourceId"],
                    event.get("ResourceStatus", ""),
                    display.line(event.get("ResourceStatusReason", "")),
                )
                for event in found["StackEvents"]
            ]
            newer = [event for event in page if event.at > since]
            events += newer
            if len(newer) < len(page) or not found.get("NextToken"):
                return events[::-1]
            more = {"NextToken": found["NextToken"]}

    def tasks(self, cluster: str, service: str) -> list[Task]:
        """The service's tasks that run, start or stopped within the last hour (ECS forgets older ones)."""
        return self._tasks(cluster, serviceName=service)

    def tasks_of_family(self, cluster: str, family: str) -> list[Task]:
        """The same of a task definition's family: those that `copilot task run` started."""
        return self._tasks(cluster, family=family)

    def _tasks(self, cluster: str, **which: str) -> list[Task]:
        found: list[Task] = []
        for status in ("RUNNING", "STOPPED"):
            try:
                # One page: 100, which is also what describe_tasks takes.
                listed = self._ask("ecs", "list_tasks", cluster=cluster, desiredStatus=status, **which)
            except _Answered as error:
                if error.says("NotFoundException"):  # the stack is being deleted
                    return []
                raise
            if listed["taskArns"]:
                described = self._ask("ecs", "describe_tasks", cluster=cluster, tasks=listed["taskArns"])
                found += [_task(task) for task in described["tasks"]]
        return found

    def task_definition(self, arn: str) -> TaskDefinition:
        found = self._ask("ecs", "describe_task_definition", taskDefinition=arn)["taskDefinition"]
        return TaskDefinition(
            str(found.get("cpu", "")),
            str(found.get("memory", "")),
            found.get("taskRoleArn", ""),
            tuple(
                Defined(
                    each["name"],
                    each["image"],
                    tuple(each.get("command", ())),
                    {item["name"]: item["value"] for item in each.get("environment", ())},
                    {item["name"]: item["valueFrom"] for item in each.get("secrets", ())},
                )
                for each in found["containerDefinitions"]
            ),
        )

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        """The last lines of a log stream; empty where it does not exist."""
        return [line for _, line in self.last_events(group, stream, limit)]

    def last_events(self, group: str, stream: str, limit: int) -> list[tuple[int, str]]:
        """The same, each with its time in milliseconds since 1970."""
        try:
            found = self._ask(
                "logs",
                "get_log_events",
                logGroupName=group,
                logStreamName=stream,
                limit=limit,
                startFromHead=False,
            )
        except _Answered as error:
            if error.says("does not exist"):
                return []
            raise
        return [(event["timestamp"], display.log_line(event["message"])) for event in found["events"]]

    def has_log_group(self, group: str) -> bool:
        try:
            self._ask("logs", "describe_log_streams", logGroupName=group, limit=1)
        except _Answered as error:
            if error.says("does not exist"):
                return False
            raise
        return True

    def object_keys(self, bucket: str, prefix: str) -> list[str]:
        """The keys in a bucket that begin so."""
        found: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = self._ask("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            found += [each["Key"] for each in page.get("Contents", ())]
            if not page.get("NextContinuationToken"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete_objects(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete these objects. Raises Failed where one could not be."""
        for start in range(0, len(keys), 1000):  # as many as one call takes
            page = [{"Key": key} for key in keys[start : start + 1000]]
            answer = self._ask("s3", "delete_objects", Bucket=bucket, Delete={"Objects": page, "Quiet": True})
            if errors := answer.get("Errors"):
                raise Failed(f"s3://{bucket}/{errors[0]['Key']} was not deleted: {errors[0].get('Message')}.")

    def last_stream(self, group: str) -> str | None:
        """The log stream that was written to last; None where there is none."""
        try:
            found = self._ask(
                "logs",
                "describe_log_streams",
                logGroupName=group,
                orderBy="LastEventTime",
                descending=True,
                limit=1,
            )
        except _Answered as error:
            if error.says("does not exist"):
                return None
            raise
        return next((stream["logStreamName"] for stream in found["logStreams"]), None)

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def application_bucket(self, app: str) -> str:
        """The bucket that Copilot keeps for the application in this region. Raises Failed.

        Source: internal/pkg/deploy/cloudformation/app.go of aws/copilot-cli 1.34, GetRegionalAppResources.
        """
        found = self._ask(
            "cloudformation",
            "list_stack_instances",
            StackSetName=f"{app}-infrastructure",
            StackInstanceRegion=self.region,
        )
        for instance in found["Summaries"]:
            bucket = self.resource(instance["StackId"], "PipelineBuiltArtifactBucket")
            if bucket:
                return bucket
        raise Failed(f"Copilot's bucket for the application {app} in {self.region} was not found.")

    def deployments(self, app: str, environment: str) -> list[Stack]:
        """The stacks that these tasks have deployed there, a hundred a call; no status is asked.

        AWS finds them by their tags, and may be some minutes late: what is done to one asks `stack` first.
        """
        return [
            Stack(name, "", tags, datetime.min.replace(tzinfo=UTC))
            for name, tags in self._tagged(app, environment, "deployed_at")
        ]

    def service_stacks(self, app: str, environment: str) -> list[Stack]:
        """The stacks of all services there, whoever has deployed them; see `deployments`."""
        return [
            Stack(name, "", tags, datetime.min.replace(tzinfo=UTC))
            for name, tags in self._tagged(app, environment, "copilot-service")
        ]

    def task_stacks(self, app: str, environment: str) -> list[str]:
        """The names of the stacks that `copilot task run` has left there; see `deployments`."""
        return [name for name, _ in self._tagged(app, environment, "copilot-task")]

    def _tagged(self, app: str, environment: str, key: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Name and tags of the environment's stacks that have a tag of that name."""
        more: dict[str, str] = {}
        filters = [
            {"Key": "copilot-application", "Values": [app]},
            {"Key": "copilot-environment", "Values": [environment]},
            {"Key": key},
        ]
        while True:
            page = self._ask(
                "resourcegroupstaggingapi",
                "get_resources",
                ResourceTypeFilters=["cloudformation:stack"],
                TagFilters=filters,
                ResourcesPerPage=100,
                **more,
            )
            for each in page["ResourceTagMappingList"]:
                yield each["ResourceARN"].split("/")[1], tags_of(each["Tags"])
            if not page.get("PaginationToken"):
                return
            more = {"PaginationToken": page["PaginationToken"]}

    def unsettled(self) -> dict[str, str]:
        """Name → status of the account's stacks that are being changed or did not get through."""
        found: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            page = self._ask("cloudformation", "list_stacks", StackStatusFilter=list(UNSETTLED), **more)
            found |= {each["StackName"]: each["StackStatus"] for each in page["StackSummaries"]}
            if not page.get("NextToken"):
                return found
            more = {"NextToken": page["NextToken"]}

    def continue_rollback(self, name: str) -> None:
        """Begin once more to bring a stack back that is UPDATE_ROLLBACK_FAILED."""
        self._ask("cloudformation", "continue_update_rollback", StackName=name)

    def stop_service(self, stack: str) -> None:
        """Let the stack's ECS service have no task; nothing where it has no service."""
        if service := self.service(stack):
            cluster, short = service
            try:
                self._ask("ecs", "update_service", cluster=cluster, service=short, desiredCount=0)
            except _Answered as error:
                if not error.says("NotFoundException") and not error.says("NotActiveException"):
                    raise

    def stack_set(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask("cloudformation", "describe_stack_set", StackSetName=name)[
            "StackSet"
        ]
        return found

    def update_stack_set(self, before: Mapping[str, Any], template: str, operation: str) -> bool:
        """Give a stack set another template and wait for it; False where somebody else was first.

        Copilot numbers its operations, so that of two that began from the same version AWS refuses one.
        Raises Failed.
        """
        name = before["StackSetName"]
        try:
            self._ask(
                "cloudformation",
                "update_stack_set",
                StackSetName=name,
                TemplateBody=template,
                Description=before.get("Description", ""),
                Tags=before.get("Tags", []),
                AdministrationRoleARN=before["AdministrationRoleARN"],
                ExecutionRoleName=before["ExecutionRoleName"],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
                OperationPreferences={"RegionConcurrencyType": "PARALLEL"},
                OperationId=operation,
            )
        except _Answered as error:
            if any(
                error.says(code)
                for code in ("OperationIdAlreadyExists", "OperationInProgress", "StaleRequest")
            ):
                return False
            raise
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            found = self._ask(
                "cloudformation", "describe_stack_set_operation", StackSetName=name, OperationId=operation
            )["StackSetOperation"]
            if found["Status"] == "SUCCEEDED":
                return True
            if found["Status"] in {"FAILED", "STOPPED"}:
                raise Failed(
                    f"The stack set {name} could not be changed: its operation {operation} is "
                    f"{found['Status']} {found.get('StatusReason', '')}. Look at it in the CloudFormation "
                    "console."
                )
            time.sleep(1)
        raise Failed(
            f"The stack set {name} is still being changed after ten minutes, by its operation {operation}: "
            "look at it in the CloudFormation console, then try again."
        )

    def image_tags(self, repository: str) -> list[str]:
        """The tags of a repository's images; empty where there is no such repository."""
        return [image["imageTag"] for image in self._images(repository) if "imageTag" in image]

    def delete_image_tags(self, repository: str, tags: Sequence[str]) -> None:
        """Take these tags away; an image goes with its last one."""
        if failures := self._delete_images(repository, [{"imageTag": tag} for tag in tags]):
            raise _not_deleted(repository, failures)

    def empty_repository(self, repository: str) -> None:
        """Delete every image in it; nothing where there is no such repository."""
        before = 0
        while digests := {image["imageDigest"] for image in self._images(repository)}:
            failures = self._delete_images(repository, [{"imageDigest": each} for each in sorted(digests)])
            # What a manifest list refers to goes after the list: another round, as long as there are fewer.
            if failures and len(digests) == before:
                raise _not_deleted(repository, failures)
            before = len(digests)

    def _images(self, repository: str) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        more: dict[str, str] = {}
        while True:
            try:
                page = self._ask("ecr", "list_images", repositoryName=repository, maxResults=1000, **more)
            except _Answered as error:
                if error.says("RepositoryNotFoundException"):
                    return found
                raise
            found += page["imageIds"]
            if not page.get("nextToken"):
                return found
            more = {"nextToken": page["nextToken"]}

    def _delete_images(self, repository: str, images: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
        """What could not be deleted, with ECR's reasons."""
        left: list[dict[str, Any]] = []
        for start in range(0, len(images), 100):  # as many as one call takes
            page = images[start : start + 100]
            answer = self._ask("ecr", "batch_delete_image", repositoryName=repository, imageIds=page)
            left += [one for one in answer.get("failures", ()) if one.get("failureCode") != "ImageNotFound"]
        return left

    def parameter(self, name: str) -> str | None:
        """The value of an SSM parameter that is no secret; None where there is none."""
        try:
            found = self._ask("ssm", "get_parameter", Name=name)
        except _Answered as error:
            if error.says("ParameterNotFound"):
                return None
            raise
        return str(found["Parameter"]["Value"])

    def delete_parameter(self, name: str) -> bool:
        """Delete an SSM parameter; whether there was one."""
        try:
            self._ask("ssm", "delete_parameter", Name=name)
        except _Answered as error:
            if error.says("ParameterNotFound"):
                return False
            raise
        return True

    def parameter_tags(self, name: str) -> dict[str, str] | None:
        """The tags of an SSM parameter; None where there is no such parameter."""
        try:
            found = self._ask("ssm", "list_tags_for_resource", ResourceType="Parameter", ResourceId=name)
        except _Answered as error:
            if error.says("InvalidResourceId"):
                return None
            raise
        return {tag["Key"]: tag["Value"] for tag in found["TagList"]}

    def tag_parameter(self, name: str, tags: Mapping[str, str]) -> None:
        """Set some of an SSM parameter's tags."""
        self._ask(
            "ssm",
            "add_tags_to_resource",
            ResourceType="Parameter",
            ResourceId=name,
            Tags=[{"Key": key, "Value": text} for key, text in tags.items()],
        )

    def missing_parameters(self, names: list[str]) -> list[str]:
        """Which of these SSM parameters do not exist. Ten a call, as SSM allows; values are not decrypted."""
        missing: list[str] = []
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=False)
            missing += found.get("InvalidParameters", [])
        return missing

    def parameter_values(self, names: Sequence[str]) -> dict[str, str]:
        """The decrypted values of those of these SSM parameters that exist: secrets, never to be shown."""
        values: dict[str, str] = {}
        for start in range(0, len(names), 10):
            found = self._ask("ssm", "get_parameters", Names=names[start : start + 10], WithDecryption=True)
            values |= {each["Name"]: each["Value"] for each in found["Parameters"]}
        return values

    def exports(self) -> dict[str, str]:
        """What the stacks of this region export, by name."""
        found: dict[str, str] = {}
        more: dict[str, str] = {}
        while True:
            page = self._ask("cloudformation", "list_exports", **more)
            found |= {each["Name"]: each["Value"] for each in page.get("Exports", ())}
            if not page.get("NextToken"):
                return found
            more = {"NextToken": page["NextToken"]}

    def secret_value(self, name: str) -> str | None:
        """The text of a Secrets Manager secret, by name or ARN, never to be shown; None where it has none."""
        try:
            found: str | None = self._ask("secretsmanager", "get_secret_value", SecretId=name).get(
                "SecretString"
            )
        except _Answered as error:
            if error.says("ResourceNotFoundException"):
                return None
            raise
        return found


class _SandboxEnded(BotoCoreError):  # type: ignore[misc]  # botocore has no types
    """No retry helps: the server that would answer is gone."""

    fmt = "the sandbox's server has ended"


def _require_server(lifeline: Path) -> None:
    if is_cut(lifeline):
        raise _SandboxEnded


def _not_deleted(repository: str, failures: Sequence[Mapping[str, Any]]) -> Failed:
    why = failures[0].get("failureReason") or failures[0].get("failureCode")
    return Failed(f"{len(failures)} images of the repository {repository} could not be deleted: {why}.")


class _Answered(Failed):
    """AWS answered with an error, or did not answer."""

    def __init__(self, service: str, operation: str, error: Exception) -> None:
        self._text = str(error)
        super().__init__(
            f"AWS did not do {service}:{operation.replace('_', '-')}: "
            f"{display.line(str(error)).rstrip('.')}. "
            "Check the credentials, the region and the rights of this role."
        )

    def says(self, words: str) -> bool:
        return words in self._text


def _task(task: Mapping[str, Any]) -> Task:
    return Task(
        task["taskArn"].rsplit("/", 1)[-1],
        task["lastStatus"],
        task.get("healthStatus", "UNKNOWN"),
        task["taskDefinitionArn"],
        task.get("startedAt"),
        display.line(task.get("stoppedReason", "")),
        tuple(
            Container(
                display.line(c["name"]),
                c.get("lastStatus", ""),
                c.get("exitCode"),
                display.line(c.get("reason", "")),
            )
            for c in task["containers"]
        ),
    )
