from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import Stack
from copilot_testenv.copilot import application, cloudformation
from copilot_testenv.core.errors import Failed, Refused
from copilot_testenv.core.settings import Settings

OURS = "web-feature-x"


def template(*services: str, version: int = 7) -> str:
    """An application's template in the form that Copilot 1.34.1 writes, with what matters of it."""
    listed = "".join(f"    - Name: {name}\n      WithECR: true\n" for name in services)
    repositories = "".join(
        f"""
  ECRRepo{name.replace("-", "DASH")}:
    Metadata:
      'aws:copilot:description': 'ECR container image repository for "{name}"'
    Type: AWS::ECR::Repository
    Properties:
      RepositoryName: demo/{name}
      RepositoryPolicyText:
        Statement:
          - Sid: AllowPushPull
            Principal:
              AWS:
                - !Sub arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:root
"""
        for name in services
    )
    outputs = "".join(
        f"  ECRRepo{name.replace('-', 'DASH')}:\n"
        f"    Description: ECR Repo used to store images of the {name} workload.\n"
        f"    Value: !GetAtt ECRRepo{name.replace('-', 'DASH')}.Arn\n"
        for name in services
    )
    return f"""# Copyright Amazon.com Inc. or its affiliates. All Rights Reserved.
AWSTemplateFormatVersion: '2010-09-09'
Metadata:
  TemplateVersion: 'v1.34.1'
  Version: {version}
  Workloads:
{listed}  Accounts:
    - 123456789012
  Services: "See #5140"
Resources:
  KMSKey:
    # Used by the CodePipeline in the tools account
    Type: AWS::KMS::Key
    Properties:
      EnableKeyRotation: true
{repositories}
Outputs:
  KMSKeyARN:
    Value: !GetAtt KMSKey.Arn
{outputs}  TemplateVersion:
    Value: v1.34.1
  StackSetOpId:
    Description: Required output to force stackset instances to update on every operation.
    Value: {version}
"""


def read(text: str) -> Any:
    return cloudformation.parse(text)


@pytest.mark.parametrize(
    "services",
    [("web", OURS), (OURS, "web"), ("web", OURS, "web-feature-x2"), ("api", OURS, "web", "worker")],
)
def test_only_that_service_goes_and_the_version_counts_on(services: tuple[str, ...]) -> None:
    changed = application.without(template(*services), f"demo/{OURS}", OURS)
    assert changed
    text, version = changed
    assert version == 8
    kept = [name for name in services if name != OURS]
    assert read(text) == read(template(*kept, version=8))
    assert "# Used by the CodePipeline in the tools account" in text


def test_a_service_that_is_not_there_is_nothing_to_take_out() -> None:
    assert application.without(template("web"), f"demo/{OURS}", OURS) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "Resources: {}", "Metadata: {Workloads: 3}\nResources: {}", template(OURS)]
)
def test_a_template_in_another_form_is_left_alone(text: str) -> None:
    with pytest.raises(Failed, match="not what Copilot 1"):
        application.without(text, f"demo/{OURS}", OURS)


def test_a_template_whose_lines_hold_more_than_the_service_is_left_alone() -> None:
    squeezed = template("web", OURS).replace(
        f"    - Name: {OURS}\n      WithECR: true\n  Accounts:\n    - 123456789012\n",
        f"    - {{Name: {OURS}, WithECR: true}}\n  Accounts: [123456789012]\n",
    )
    assert application.without(squeezed, f"demo/{OURS}", OURS)
    flow = squeezed.replace("  Workloads:\n", "  Workloads: [\n").replace(
        f"    - Name: web\n      WithECR: true\n    - {{Name: {OURS}, WithECR: true}}\n",
        f"    {{Name: web}}, {{Name: {OURS}}}]\n",
    )
    with pytest.raises(Failed, match="would change more"):
        application.without(flow, f"demo/{OURS}", OURS)


@dataclass
class Played(Aws):
    """An AWS whose stack set somebody else changes as often as the test says."""

    services: tuple[str, ...] = ("web", OURS)
    beaten: int = 0
    stacks: dict[str, Stack] = field(default_factory=dict)
    tags: list[str] = field(default_factory=lambda: ["latest", "startup-latest", f"{'c' * 40}-test"])
    emptied: list[str] = field(default_factory=list)
    written: list[tuple[str, str]] = field(default_factory=list)
    parameters: set[str] = field(default_factory=lambda: {f"/copilot/applications/demo/components/{OURS}"})

    def __post_init__(self) -> None:
        super().__init__({})

    def stack_set(self, name: str) -> dict[str, Any]:
        assert name == "demo-infrastructure"
        return {"StackSetName": name, "TemplateBody": template(*self.services)}

    def every_stack(self) -> dict[str, Stack]:
        return self.stacks

    def image_list(self, repository: str) -> list[dict[str, str]]:
        assert repository == f"demo/{OURS}"
        return [{"imageTag": tag, "imageDigest": f"sha256:{tag}"} for tag in self.tags]

    def empty_repository(self, repository: str, listed: Any = None) -> None:
        assert listed == self.image_list(f"demo/{OURS}")
        self.emptied.append(repository)

    def update_stack_set(self, before: Any, template: str, operation: str) -> bool:
        assert before["StackSetName"] == "demo-infrastructure"
        if self.beaten:
            self.beaten -= 1
            return False
        self.written.append((template, operation))
        return True

    def delete_parameters(self, names: Sequence[str]) -> set[str]:
        found = self.parameters & set(names)
        self.parameters -= found
        return found


def test_the_domain_is_the_one_that_copilot_keeps(settings: Settings) -> None:
    class Kept(Aws):
        value: str | None = '{"name": "demo", "domain": "example.com", "version": "1.0"}'

        def parameter(self, name: str) -> str | None:
            assert name == "/copilot/applications/demo"
            return self.value

    aws = Kept({}, "eu-west-1")
    assert application.domain(settings, aws) == "example.com"
    aws.value = '{"name": "demo", "domain": ""}'
    assert application.domain(settings, aws) == ""
    aws.value = None
    with pytest.raises(Failed, match="no application demo in eu-west-1"):
        application.domain(settings, aws)


def test_an_isolated_service_is_taken_out_with_its_images_and_name(settings: Settings) -> None:
    aws = Played(beaten=2)
    own = settings.isolated_for("feature-x")
    gone = application.withdraw(own, aws, lambda: None)
    assert gone == [f"repository demo/{OURS}", f"service {OURS}"]
    assert aws.emptied == [f"demo/{OURS}"]
    ((_, operation),) = aws.written
    assert operation == "8"


def test_one_that_was_taken_out_half_is_taken_out_whole(settings: Settings) -> None:
    aws = Played(services=("web",))
    own = settings.isolated_for("feature-x")
    assert application.withdraw(own, aws, lambda: None) == [f"service {OURS}"]
    assert application.withdraw(own, aws, lambda: None) == []
    assert not aws.emptied
    assert not aws.written


def test_who_is_beaten_each_time_gives_up_and_says_so(settings: Settings) -> None:
    with pytest.raises(Failed, match="another change came first each time"):
        application.withdraw(settings.isolated_for("feature-x"), Played(beaten=100), lambda: None)


def test_the_shared_service_never_leaves_the_application(settings: Settings) -> None:
    aws = Played()
    with pytest.raises(Refused, match="not an isolated deployment"):
        application.withdraw(settings, aws, lambda: None)
    assert not aws.emptied
    assert not aws.written
    assert aws.parameters


@pytest.mark.parametrize("environment", ["production", "stage", "live"])
def test_a_service_that_is_deployed_elsewhere_too_stays(settings: Settings, environment: str) -> None:
    name = f"demo-{environment}-{OURS}"
    there = Stack(name, "UPDATE_COMPLETE", {}, datetime(2026, 11, 24, tzinfo=UTC))
    aws = Played(stacks={name: there})
    with pytest.raises(Refused, match=f"is also deployed to {environment}"):
        application.withdraw(settings.isolated_for("feature-x"), aws, lambda: None)
    assert not aws.emptied
    assert not aws.written
    assert aws.parameters


@pytest.mark.parametrize("tag", ["v1.2.3", f"{'c' * 40}-production", "c" * 40])
def test_a_service_with_images_that_these_tasks_have_not_pushed_stays(settings: Settings, tag: str) -> None:
    aws = Played(tags=["latest", tag])
    with pytest.raises(Refused, match="images that these tasks did not push"):
        application.withdraw(settings.isolated_for("feature-x"), aws, lambda: None)
    assert not aws.emptied
    assert aws.parameters


def test_an_application_that_is_full_takes_no_further_service(settings: Settings) -> None:
    own = settings.isolated_for("feature-y")
    application.require_room(own, Played())
    full = Played(services=tuple(f"web-branch-number-{n:03}" for n in range(120)))
    with pytest.raises(Failed, match="as many services as Copilot can keep"):
        application.require_room(own, full)


def test_the_application_is_changed_once_for_several(settings: Settings) -> None:
    slugs = ("feature-x", "feature-y")
    services = ("web", *(f"web-{slug}" for slug in slugs))
    aws = Played(services=services, beaten=1)
    slots = [(settings.isolated_for(slug), aws.image_list(f"demo/{OURS}")) for slug in slugs]
    found = application.withdraw_several(slots, aws, lambda: None)
    assert [things[0] for things in found.values()] == [f"repository demo/{name}" for name in services[1:]]
    ((text, operation),) = aws.written
    assert operation == "9"  # two more than the version, as two changes would have made
    assert all(f"demo/{name}\n" not in text for name in services[1:])
