"""Query and change CloudFormation: stacks of services, the application's stack set, exports."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from copilot_testenv.aws.calls import Answered, Calls
from copilot_testenv.aws.stack import IMPORTING, SETTLED, UNSETTLED, Event, Stack, tag_value, tags_of
from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.polling import until

_OTHERS_FIRST = ("OperationIdAlreadyExistsException", "OperationInProgressException", "StaleRequestException")


class Stacks(Calls):
    """Query CloudFormation, and change tags and stack sets."""

    def stack(self, name: str) -> Stack | None:
        """Return the stack of that name; None where it does not exist."""
        answer = self._of_stack("describe_stacks", StackName=name)
        if answer is None:
            return None
        stack = answer["Stacks"][0]
        return Stack(
            name,
            stack["StackStatus"],
            tags_of(stack.get("Tags", ())),
            stack.get("LastUpdatedTime") or stack["CreationTime"],
        )

    def _of_stack(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """Return the answer about a stack or its resource; None where it does not exist."""
        try:
            return self._ask("cloudformation", operation, **arguments)
        except Answered as error:
            if _is_missing(error):
                return None
            raise

    def change_tags(self, name: str, changes: Mapping[str, str]) -> None:
        """Begin an update that sets some of the stack's tags; its template and parameters stay the same."""
        stack = self._ask("cloudformation", "describe_stacks", StackName=name)["Stacks"][0]
        before = {tag["Key"]: tag["Value"] for tag in stack.get("Tags", ())}
        tags = before | {key: tag_value(text) for key, text in changes.items()}
        if tags == before:  # CloudFormation refuses an update that changes nothing
            return
        self._update(
            name,
            _parameters_of(stack),
            {},
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def change_parameters(
        self, name: str, keys: Iterable[str], changes: Mapping[str, str], role: str
    ) -> None:
        """Begin an update that sets some of the stack's parameters, with the role of CloudFormation.

        `keys` are all of them: what is not among the changes stays.
        """
        self._update(name, keys, changes, RoleARN=role)

    def _update(self, name: str, keys: Iterable[str], changes: Mapping[str, str], **more: Any) -> None:
        """Begin an update with the stack's own template; its tags stay unless they are given."""
        self._ask(
            "cloudformation",
            "update_stack",
            StackName=name,
            UsePreviousTemplate=True,
            Parameters=[
                {"ParameterKey": key, "ParameterValue": changes[key]}
                if key in changes
                else {"ParameterKey": key, "UsePreviousValue": True}
                for key in keys
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"],
            **more,
        )

    def resource(self, stack: str, logical_id: str) -> str | None:
        """Return the physical id of a stack's resource; None where it does not exist."""
        answer = self._of_stack("describe_stack_resource", StackName=stack, LogicalResourceId=logical_id)
        return answer["StackResourceDetail"].get("PhysicalResourceId") if answer else None

    def functions(self, stack: str) -> list[str]:
        """Return the names of a stack's Lambda functions; empty where the stack is gone."""
        answer = self._of_stack("describe_stack_resources", StackName=stack)
        return [
            resource["PhysicalResourceId"]
            for resource in (answer["StackResources"] if answer else ())
            if resource["ResourceType"] == "AWS::Lambda::Function" and resource.get("PhysicalResourceId")
        ]

    def events(self, stack: str, since: datetime) -> list[Event]:
        """Return the stack's events after `since`, oldest first; empty where the stack is gone."""
        events: list[Event] = []
        try:
            for page in self._pages("cloudformation", "describe_stack_events", StackName=stack):
                newer = [event for event in map(_event, page["StackEvents"]) if event.at > since]
                events += newer
                if len(newer) < len(page["StackEvents"]):  # the newest come first
                    break
        except Answered as error:
            if not _is_missing(error):
                raise
            return []
        return events[::-1]

    def _application_stacks(self, app: str) -> list[str]:
        """Return the ARNs of the stacks of Copilot's application in this region."""
        answer = self._ask(
            "cloudformation",
            "list_stack_instances",
            StackSetName=f"{app}-infrastructure",
            StackInstanceRegion=self.region,
        )
        return [instance["StackId"] for instance in answer["Summaries"]]

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def application_bucket(self, app: str) -> str:
        """Return the bucket that Copilot keeps for the application in this region. Raises Failed.

        Source: internal/pkg/deploy/cloudformation/app.go of aws/copilot-cli 1.34, GetRegionalAppResources.
        """
        for stack in self._application_stacks(app):
            bucket = self.resource(stack, "PipelineBuiltArtifactBucket")
            if bucket:
                return bucket
        raise Failed(f"Copilot's bucket for the application {app} in {self.region} was not found.")

    @functools.cache  # noqa: B019 - one Aws lives as long as the command
    def application_outputs(self, app: str) -> dict[str, str]:
        """Return the outputs of the application's stack in this region: PipelineBucket, KMSKeyARN and others.

        Raises Failed where Copilot has made none.
        """
        for stack in self._application_stacks(app):
            if found := self.outputs(stack):
                return found
        raise Failed(f"Copilot's stack set {app}-infrastructure has no stack in {self.region}.")

    def stack_parameters(self, stack: str) -> dict[str, str]:
        """Return a stack's parameters; empty where it does not exist."""
        answer = self._of_stack("describe_stacks", StackName=stack)
        return _parameters_of(answer["Stacks"][0]) if answer else {}

    def release(self, stack: str) -> tuple[str, dict[str, str], dict[str, str]] | None:
        """Return a stack's template, parameters and tags as they were given; None where it does not exist."""
        answer = self._of_stack("describe_stacks", StackName=stack)
        if answer is None:
            return None
        found = answer["Stacks"][0]
        body = self._ask("cloudformation", "get_template", StackName=stack, TemplateStage="Original")
        text = body["TemplateBody"]  # botocore reads JSON, and leaves YAML as it is
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
        return text if isinstance(text, str) else json.dumps(text), _parameters_of(found), tags

    def outputs(self, stack: str) -> dict[str, str]:
        """Return a stack's outputs; empty where it does not exist."""
        answer = self._of_stack("describe_stacks", StackName=stack)
        outputs = answer["Stacks"][0].get("Outputs", ()) if answer else ()
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def deployments(self, app: str, environment: str) -> list[Stack]:
        """Return the stacks that these tasks deployed to an environment, without their status; 100 a call.

        AWS finds them by their tags, with a delay of up to some minutes. Call `stack` before you change one.
        """
        return [
            Stack(name, "", tags, datetime.min.replace(tzinfo=UTC))
            for name, tags in self._tagged(app, environment, "deployed_at")
        ]

    def service_stacks(self, app: str, environment: str) -> list[Stack]:
        """Return the stacks of all services in an environment, whoever deployed them; see `deployments`."""
        return [
            Stack(name, "", tags, datetime.min.replace(tzinfo=UTC))
            for name, tags in self._tagged(app, environment, "copilot-service")
        ]

    def task_stacks(self, app: str, environment: str) -> list[str]:
        """Return the names of the stacks that `copilot task run` created in an environment.

        See `deployments`.
        """
        return [name for name, _ in self._tagged(app, environment, "copilot-task")]

    def environment_stacks(self, app: str, environment: str) -> dict[str, Stack]:
        """Return the stacks of services and one-off tasks in an environment, by name, as they are now.

        AWS finds tags with a delay of up to some minutes: a stack that was changed lately is described.
        """
        tags = dict(self._tagged(app, environment, "copilot-application"))
        own = (f"{app}-{environment}-", f"task-{app}-{environment}-")
        found: dict[str, Stack | None] = {}
        for name, each in self.every_stack().items():
            if name.startswith(own):
                is_known = name in tags and not each.is_recent(datetime.now(UTC))
                found[name] = replace(each, tags=tags[name]) if is_known else self.stack(name)
        return {name: each for name, each in found.items() if each}

    def functions_of(self, app: str, environment: str) -> dict[str, list[str]]:
        """Return the names of Lambda functions in an environment by service; 100 a call.

        See `deployments`.
        """
        found: dict[str, list[str]] = {}
        for arn, tags in self._tagged_arns("lambda:function", app, environment, "copilot-service"):
            found.setdefault(tags["copilot-service"], []).append(arn.split(":")[6])
        return found

    def _tagged(self, app: str, environment: str, key: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the name and tags of each stack of the environment that has the tag `key`."""
        for arn, tags in self._tagged_arns("cloudformation:stack", app, environment, key):
            yield arn.split("/")[1], tags

    def _tagged_arns(
        self, kind: str, app: str, environment: str, key: str
    ) -> Iterator[tuple[str, dict[str, str]]]:
        pages = self._pages(
            "resourcegroupstaggingapi",
            "get_resources",
            ResourceTypeFilters=[kind],
            TagFilters=[
                {"Key": "copilot-application", "Values": [app]},
                {"Key": "copilot-environment", "Values": [environment]},
                {"Key": key},
            ],
            ResourcesPerPage=100,
        )
        for page in pages:
            for mapping in page["ResourceTagMappingList"]:
                yield mapping["ResourceARN"], tags_of(mapping["Tags"])

    def unsettled(self) -> dict[str, str]:
        """Return the status, by name, of the account's stacks that are being changed or have failed."""
        return {name: stack.status for name, stack in self._listed(UNSETTLED).items()}

    def every_stack(self) -> dict[str, Stack]:
        """Return the account's stacks in this region by name, without their tags; 100 a call."""
        return self._listed((*UNSETTLED, *SETTLED, *IMPORTING))

    def _listed(self, statuses: Sequence[str]) -> dict[str, Stack]:
        return {
            each["StackName"]: Stack(
                each["StackName"],
                each["StackStatus"],
                {},
                each.get("LastUpdatedTime") or each["CreationTime"],
            )
            for page in self._pages("cloudformation", "list_stacks", StackStatusFilter=list(statuses))
            for each in page["StackSummaries"]
        }

    def continue_rollback(self, name: str) -> None:
        """Begin the roll-back of a stack again that is UPDATE_ROLLBACK_FAILED."""
        self._ask("cloudformation", "continue_update_rollback", StackName=name)

    def stack_set(self, name: str) -> dict[str, Any]:
        answer = self._ask("cloudformation", "describe_stack_set", StackSetName=name)
        stack_set: dict[str, Any] = answer["StackSet"]
        return stack_set

    def update_stack_set(self, before: Mapping[str, Any], template: str, operation: str) -> bool:
        """Update a stack set's template and wait for the end; return False where another update came first.

        Copilot numbers its operations, so AWS refuses one of two updates of the same version. Raises Failed.
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
        except Answered as error:
            if error.code in _OTHERS_FIRST:
                return False
            raise

        def operation_now() -> dict[str, Any]:
            now: dict[str, Any] = self._ask(
                "cloudformation", "describe_stack_set_operation", StackSetName=name, OperationId=operation
            )["StackSetOperation"]
            return now

        ended = {"SUCCEEDED", "FAILED", "STOPPED"}
        last = until(operation_now, lambda now: now["Status"] in ended, seconds=600, every=1)
        if last["Status"] == "SUCCEEDED":
            return True
        if last["Status"] in ended:
            raise Failed(
                f"The stack set {name} could not be changed: its operation {operation} is "
                f"{last['Status']} {last.get('StatusReason', '')}. Look at it in the CloudFormation "
                "console."
            )
        raise Failed(
            f"The stack set {name} is still being changed after ten minutes, by its operation {operation}: "
            "look at it in the CloudFormation console, then try again."
        )

    def exports(self) -> dict[str, str]:
        """Return the values that the stacks of this region export, by name."""
        return {
            export["Name"]: export["Value"]
            for page in self._pages("cloudformation", "list_exports")
            for export in page.get("Exports", ())
        }


def _is_missing(error: Answered) -> bool:
    """Return True if the stack or resource does not exist; AWS has no separate error code for that.

    Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html
    """
    return error.code == "ValidationError" and "does not exist" in error.text


def _event(found: Mapping[str, Any]) -> Event:
    return Event(
        found["Timestamp"],
        found["LogicalResourceId"],
        found.get("ResourceStatus", ""),
        display.line(found.get("ResourceStatusReason", "")),
    )


def _parameters_of(stack: Mapping[str, Any]) -> dict[str, str]:
    return {each["ParameterKey"]: each.get("ParameterValue", "") for each in stack.get("Parameters", ())}
