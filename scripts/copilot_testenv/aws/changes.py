"""Change stacks by change sets, delete them, and run tasks: what Copilot does, without Copilot."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from copilot_testenv.aws.stacks import Stacks
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.polling import until

_CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
# The reasons of a change set that failed because the stack is that already. Copilot reads them too.
# Source: internal/pkg/aws/cloudformation/changeset.go of aws/copilot-cli 1.34.
_NOTHING = ("didn't contain changes", "No updates are to be performed")
_SECONDS = 300.0  # for a change set to be made


class Changes(Stacks):
    """Change CloudFormation's stacks, and run ECS's tasks."""

    def change_set(
        self,
        stack: str,
        template: Mapping[str, str],
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
        role: str,
        *,
        is_new: bool,
        every: float,
    ) -> str | None:
        """Make a change set and return its ARN; None, and no change set, where it would change nothing.

        `template` is the argument TemplateURL or TemplateBody.
        `every` is the pause between looks in seconds. Raises Failed.
        """
        made = self._ask(
            "cloudformation",
            "create_change_set",
            StackName=stack,
            ChangeSetName=f"testenv-{datetime.now(UTC):%Y%m%d%H%M%S%f}",
            ChangeSetType="CREATE" if is_new else "UPDATE",
            **template,
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()
            ],
            Capabilities=list(_CAPABILITIES),
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            **({"RoleARN": role} if role else {}),
        )["Id"]
        found = until(
            lambda: self._ask("cloudformation", "describe_change_set", ChangeSetName=made, StackName=stack),
            lambda now: not now["Status"].endswith(("_PENDING", "_IN_PROGRESS")),
            seconds=_SECONDS,
            every=every,
        )
        if found["Status"] == "CREATE_COMPLETE":
            return str(made)
        why = str(found.get("StatusReason", ""))
        self._ask("cloudformation", "delete_change_set", ChangeSetName=made, StackName=stack)
        if any(text in why for text in _NOTHING):
            return None
        raise Failed(f"CloudFormation refused the change of the stack {stack}: {why or found['Status']}")

    def execute(self, stack: str, change_set: str) -> None:
        """Begin the change of a change set."""
        self._ask("cloudformation", "execute_change_set", ChangeSetName=change_set, StackName=stack)

    def cancel_update(self, stack: str) -> None:
        """Begin the roll-back of an update; do nothing where it is over already."""
        self._find("cloudformation", "cancel_update_stack", "ValidationError", StackName=stack)

    def delete_stack(self, stack: str, role: str) -> None:
        """Begin to delete a stack, with the role that CloudFormation is to use."""
        self._ask("cloudformation", "delete_stack", StackName=stack, **({"RoleARN": role} if role else {}))

    def run_task(self, cluster: str, family: str, subnets: Sequence[str], groups: Sequence[str]) -> str:
        """Start a task of the newest definition of a family on Fargate; return its ARN. Raises Failed."""
        network = {
            "subnets": list(subnets),
            "securityGroups": list(groups),
            "assignPublicIp": "ENABLED",
        }
        answer = self._ask(
            "ecs",
            "run_task",
            cluster=cluster,
            taskDefinition=family,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
            startedBy="copilot-task",
        )
        if answer.get("tasks"):
            return str(answer["tasks"][0]["taskArn"])
        why = next((each.get("reason", "") for each in answer.get("failures", ())), "") or "no reason given"
        raise Failed(f"ECS did not start a task of {family}: {why}.")

    def stop_task(self, cluster: str, task: str) -> None:
        """Stop a task; do nothing where it is gone."""
        self._find("ecs", "stop_task", "InvalidParameterException", cluster=cluster, task=task)

    def registry(self) -> tuple[str, str]:
        """Return the host of the account's image registry, and a password for its user AWS. Never show it."""
        (found,) = self._ask("ecr", "get_authorization_token")["authorizationData"]
        _, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
        return str(found["proxyEndpoint"]).removeprefix("https://"), password

    def image_digest(self, repository: str, tag: str) -> str:
        """Return the digest of an image in a repository, by its tag. Raises Failed."""
        found = self._ask("ecr", "describe_images", repositoryName=repository, imageIds=[{"imageTag": tag}])
        return str(found["imageDetails"][0]["imageDigest"])
