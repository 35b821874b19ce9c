"""A branch may write no more into the templates that `package` wrote than into a manifest."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from copilot_testenv.copilot.branch_service import Addresses
from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import RealShell
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers.packaged import Packaged
from copilot_testenv.deploys import rendered_guard
from copilot_testenv.session import Session
from tests.clone import IDENTITY
from tests.fakes import FakeReport

ROLE = {
    "Type": "AWS::IAM::Role",
    "Properties": {
        "Policies": [{"PolicyName": "DenyIAM", "PolicyDocument": {"Statement": [{"Effect": "Deny"}]}}]
    },
}
FUNCTION = {
    "Type": "AWS::Lambda::Function",
    "Properties": {"Code": {"S3Bucket": {"Ref": "ArtifactBucket"}, "S3Key": "manual/a.zip"}},
}
CONTAINER: dict[str, Any] = {
    "Name": {"Ref": "WorkloadName"},
    "Image": {"Ref": "ContainerImage"},
    "Secrets": [],
}
TASK = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": [CONTAINER]}}
ACTION = {
    "Type": "Custom::EnvControllerFunction",
    "Properties": {"EnvStack": {"Fn::Sub": "${AppName}-${EnvName}"}, "Workload": {"Ref": "WorkloadName"}},
}
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        name: {"Type": "String"} for name in ("AppName", "EnvName", "WorkloadName", "ArtifactBucket")
    },
    "Resources": {
        "TaskRole": ROLE,
        "EnvControllerFunction": FUNCTION,
        "TaskDefinition": TASK,
        "EnvControllerAction": ACTION,
    },
}
PARAMETERS = {"AppName": "demo", "EnvName": "test", "WorkloadName": "web"}
FOLDER = "cloudformation/test"


class Repository:
    """A repository whose branches have packaged templates."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.root = settings, settings.root
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.root), *words], check=True, capture_output=True, text=True, env=IDENTITY
        )
        return done.stdout.strip()

    def write(self, template: Any = None, parameters: dict[str, str] | None = None) -> None:
        folder = self.root / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "demo-test-web.yml").write_text(json.dumps(template or TEMPLATE, indent=1))
        given = {**PARAMETERS, **(parameters or {})}
        listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()]
        (folder / "demo-test-web.parameters.json").write_text(json.dumps(listed))

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "x")
        return self.git("rev-parse", "HEAD")

    def require_harmless(self, branch: str) -> None:
        session = Session(replace(self.settings), RealShell(), FakeReport(), {})
        deployed = Branch(branch, self.git("rev-parse", branch))
        rendered_guard.require_harmless(session, Packaged(self.settings), deployed, self.root, Addresses())


@pytest.fixture
def repository(settings: Settings) -> Repository:
    made = Repository(settings)
    made.write()
    made.commit()
    made.git("checkout", "--quiet", "-b", "mine")
    return made


def changed(**resources: Any) -> dict[str, Any]:
    return {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], **resources}}


def container(**more: Any) -> dict[str, Any]:
    return changed(TaskDefinition={**TASK, "Properties": {"ContainerDefinitions": [{**CONTAINER, **more}]}})


def with_code(key: str) -> dict[str, Any]:
    code = {"S3Bucket": {"Ref": "ArtifactBucket"}, "S3Key": key}
    return changed(EnvControllerFunction={**FUNCTION, "Properties": {"Code": code}})


HOSTILE = {
    "a right of the role": changed(
        TaskRole={**ROLE, "Properties": {"Policies": [{"PolicyName": "All", "PolicyDocument": {}}]}}
    ),
    "another resource": changed(Mine={"Type": "AWS::IAM::User"}),
    "a resource with a name of Copilot's": changed(ExecutionRole=ROLE),
    "other code of a function": with_code("manual/b.zip"),
    "production's secret": container(
        Secrets=[{"Name": "A", "ValueFrom": "/copilot/demo/production/secrets/DATABASE_URL"}]
    ),
    "production's export": container(
        Environment=[{"Name": "A", "Value": {"Fn::ImportValue": "demo-production-DatabaseURL"}}]
    ),
    "another environment's stack": changed(
        EnvControllerAction={**ACTION, "Properties": {"EnvStack": "demo-production", "Workload": "web"}}
    ),
    "a macro": {**TEMPLATE, "Transform": "AWS::Include"},
    "a parameter that CloudFormation looks up": {
        **TEMPLATE,
        "Parameters": {
            **TEMPLATE["Parameters"],
            "A": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/copilot/demo/production/x"},
        },
    },
}


@pytest.mark.parametrize("template", HOSTILE.values(), ids=HOSTILE)
def test_what_needs_trust_in_a_rendered_template_needs_it_here(
    repository: Repository, template: dict[str, Any]
) -> None:
    repository.write(template)
    repository.commit()
    with pytest.raises(Refused, match="would change more than its own service"):
        repository.require_harmless("mine")


def test_a_variable_of_the_containers_own_is_free(repository: Repository) -> None:
    repository.write(container(Environment=[{"Name": "COLOUR", "Value": "red"}]))
    repository.commit()
    repository.require_harmless("mine")


def test_parameters_name_neither_another_place_nor_other_files(repository: Repository) -> None:
    repository.write(
        None,
        {"EnvName": "production", "AppName": "other", "EnvFileARN": "arn:aws:s3:::b/production.env"},
    )
    repository.commit()
    repository.require_harmless("mine")
    found = Packaged(repository.settings).service(repository.root, "web", "test")
    assert getattr(found, "parameters", None) == PARAMETERS


def test_links_and_a_default_branch_without_templates_are_no_way_round(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere: Path = tmp_path_factory.mktemp("elsewhere") / "t.yml"
    elsewhere.write_text(json.dumps(TEMPLATE))
    file = repository.root / FOLDER / "demo-test-web.yml"
    file.unlink()
    file.symlink_to(elsewhere)
    repository.commit()
    with pytest.raises(SettingsError, match="leads out of the repository"):
        repository.require_harmless("mine")
    repository.git("checkout", "--quiet", "main")
    repository.git("rm", "--quiet", "-r", FOLDER)
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "other")
    repository.write()
    repository.commit()
    with pytest.raises(SettingsError, match="other cannot be compared with main: it has no"):
        repository.require_harmless("other")
