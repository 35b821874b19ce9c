"""Add a service to Copilot's application: its name, and its repository in the application's stack set.

Sources: internal/pkg/config/workload.go, internal/pkg/deploy/cloudformation/app.go and
internal/pkg/template/templates/app/cf.yml of aws/copilot-cli 1.34.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import yaml

from copilot_testenv.copilot import application, cloudformation, images
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.settings import SERVICE_TYPE

if TYPE_CHECKING:
    from copilot_testenv.aws import Aws
    from copilot_testenv.core.settings import Settings

_PULL_AND_PUSH = (
    "ecr:GetDownloadUrlForLayer",
    "ecr:BatchGetImage",
    "ecr:BatchCheckLayerAvailability",
    "ecr:PutImage",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
)


def add(settings: Settings, aws: Aws, pause: Callable[[], None]) -> None:
    """Add the slot's service to the application, as `copilot deploy` does. Idempotent. Raises Failed."""
    service = settings.service
    aws.put_parameter(
        f"/copilot/applications/{settings.app}/components/{service}",
        json.dumps({"app": settings.app, "name": service, "type": SERVICE_TYPE}),
        f"Copilot {SERVICE_TYPE} {service}",
        {"copilot-application": settings.app, "copilot-service": service},
    )

    def with_this(text: str) -> tuple[str, int] | None:
        return with_service(text, images.repository(settings), service)

    if not application.change(settings, aws, with_this, pause):
        raise Failed(
            f"{service} could not be added to the application {settings.app}: another change came first each "
            "time. Run the same again."
        )


def with_service(text: str, repository: str, service: str) -> tuple[str, int] | None:
    """Return the application's template with a service, and its new version; None where it has it.

    Only that service and the version differ, as Copilot would write it. Raises Failed where the template is
    not as Copilot 1.34 writes it.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        before = cloudformation.parse(text)
        metadata = before["Metadata"]
        if any(workload["Name"] == service for workload in metadata["Workloads"]):
            return None
        version = int(metadata["Version"]) + 1
        name = f"ECRRepo{service.replace('-', 'DASH')}"
        entries: dict[str, Any] = {
            "Resources": {name: _repository(repository, service, metadata["Accounts"] or [])},
            "Outputs": {
                name: {
                    "Description": f"ECR Repo used to store images of the {service} workload.",
                    "Value": {"Fn::GetAtt": [name, "Arn"]},
                }
            },
        }
        lines = text.splitlines(keepends=True)
        application.set_version(root, lines, version)
        for section, entry in entries.items():
            mark = application.value_of(root, section).start_mark
            lines[mark.line] = _indented(entry, mark.column) + lines[mark.line]
        workload = {"Name": service, "WithECR": True}
        workloads = application.value_of(root, "Metadata", "Workloads")
        mark = workloads.start_mark
        if workloads.value:
            lines[mark.line] = _indented([workload], mark.column) + lines[mark.line]
        else:  # `Workloads: []`
            lines[mark.line] = f"{lines[mark.line][: mark.column].rstrip()}\n{_indented([workload], 4)}"
        changed = "".join(lines)
        metadata |= {"Workloads": [workload, *metadata["Workloads"]], "Version": version}
        before["Outputs"]["StackSetOpId"]["Value"] = version
        for section, entry in entries.items():
            before[section] |= entry
        if cloudformation.parse(changed) != before:
            raise ValueError("adding the service would change more than that")  # noqa: TRY301 - see below
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed(
            f"{service} was not added to the application's stack set: it is not what Copilot 1.34 writes "
            f"({type(error).__name__}: {error}). Add it with `copilot svc init --name {service}`."
        ) from error
    return changed, version


def _indented(entry: Any, column: int) -> str:
    text = yaml.safe_dump(entry, default_flow_style=False, sort_keys=False)
    return "".join(f"{' ' * column}{line}\n" for line in text.splitlines())


def _repository(repository: str, service: str, accounts: list[Any]) -> dict[str, Any]:
    root = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
    others = [f"arn:${{AWS::Partition}}:iam::{account}:root" for account in accounts]
    return {
        "Metadata": {"aws:copilot:description": f'ECR container image repository for "{service}"'},
        "Type": "AWS::ECR::Repository",
        "Properties": {
            "RepositoryName": repository,
            "Tags": [{"Key": "copilot-service", "Value": service}],
            "RepositoryPolicyText": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Sid": "AllowPushPull",
                        "Effect": "Allow",
                        "Principal": {"AWS": [{"Fn::Sub": each} for each in (root, *others)]},
                        "Action": list(_PULL_AND_PUSH),
                    }
                ],
            },
        },
    }
