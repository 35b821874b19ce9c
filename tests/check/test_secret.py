from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.check import secret
from copilot_testenv.check.finding import Finding, as_documents
from copilot_testenv.check.project import Project
from copilot_testenv.core.errors import Failed
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.rendering import Renderer
from tests.check.rendered import accepted, marked, places, rendered
from tests.fakes import FakeShell
from tests.renderer import SharedRenderer

TOP = "http: {path: /}\nimage: {build: Dockerfile, port: 8000}\n"
ALL = ("production", "stage", "test")
OWN = "/copilot/${COPILOT_APPLICATION_NAME}/${COPILOT_ENVIRONMENT_NAME}/secrets"

WRONG = {
    "one environment's in the base": (
        """
secrets:
  DATABASE_URL: /copilot/demo/production/secrets/DATABASE_URL  # HERE
""",
        f"the secret DATABASE_URL is that of production (in stage, test): write {OWN}/DATABASE_URL",
        "error",
    ),
    "another's below an environment": (
        """
environments:
  test:
    secrets:
      DATABASE_URL: /copilot/demo/stage/secrets/TEST_DATABASE_URL  # HERE
""",
        "is that of stage",
        "error",
    ),
    "staging's, where this environment's has that name": (
        """
environments:
  test:
    secrets:
      DATABASE_URL: /copilot/demo/test/secrets/DATABASE_URL
      STAGE_DATABASE_URL: /copilot/demo/stage/secrets/DATABASE_URL  # HERE
""",
        f"the secret STAGE_DATABASE_URL is that of stage (in test): write {OWN}/STAGE_DATABASE_URL",
        "error",
    ),
    "one for all": (
        """
sidecars:
  worker:
    image: redis:7.4.1
    secrets:
      API_KEY: /shared/API_KEY  # HERE
""",
        "is shared by production, stage, test",
        "error",
    ),
    "one for all of Secrets Manager": (
        """
secrets:
  API_KEY:  # HERE
    secretsmanager: 'shared/mail:password::'
""",
        "is shared by production, stage, test",
        "error",
    ),
    "one of a single environment that does not say so": (
        """
environments:
  test:
    secrets:
      API_KEY: arn:aws:ssm:us-east-1:123456789012:parameter/keys/API_KEY  # HERE
""",
        "does not name its environment",
        "warning",
    ),
}
RIGHT = {
    "Copilot's own form": f"secrets: {{STAGE_DATABASE_URL: '{OWN}/STAGE_DATABASE_URL'}}\n",
    "the name written out below its environment": """
environments:
  test: {secrets: {STAGE_DATABASE_URL: /copilot/demo/test/secrets/STAGE_DATABASE_URL}}
""",
    "the name in the last part": "secrets: {A: '/shop/DATABASE_URL_${COPILOT_ENVIRONMENT_NAME}'}\n",
    "Secrets Manager's": "secrets: {A: {secretsmanager: 'a-${COPILOT_ENVIRONMENT_NAME}-b:c::'}}\n",
    "another stack's": "secrets: {A: {from_cfn: 'shop-secret'}}\n",
}


@pytest.mark.nightly_from(3)
@pytest.mark.parametrize(("manifest", "says", "severity"), WRONG.values(), ids=WRONG)
def test_a_secret_of_another_environment_or_of_all_is_told(
    renderer: Renderer, settings: Settings, manifest: str, says: str, severity: str
) -> None:
    project = accepted(rendered(renderer, settings, TOP + manifest, environments=ALL))
    found = list(secret.paths(project))
    assert places(found) == marked(settings.root)
    assert says in str(found[0])
    assert found[0].severity == severity


@pytest.mark.nightly_from(2)
@pytest.mark.parametrize("manifest", RIGHT.values(), ids=RIGHT)
def test_a_secret_whose_path_names_its_environment_is_not_told(
    renderer: Renderer, settings: Settings, manifest: str
) -> None:
    project = accepted(rendered(renderer, settings, TOP + manifest, environments=ALL))
    assert list(secret.paths(project)) == []


class Cloud:
    """An embedded AWS with secrets in it, and a Copilot that lists three environments there."""

    def __init__(self, renderer: Renderer, embedded: Renderer, settings: Settings) -> None:
        self.renderer = renderer
        self.settings = replace(settings, target="aws")
        self.aws = Aws(embedded.variables)
        self.account = self.aws.account()

    def put(self, **values: str) -> None:
        for name, value in values.items():
            environment, _, variable = name.partition("_")
            self.aws.client("ssm").put_parameter(
                Name=f"/copilot/demo/{environment}/secrets/{variable}",
                Value=value,
                Type="SecureString",
                Overwrite=True,
            )

    def project(self, manifest: str, **accounts: str) -> Project:
        listed = [
            {"name": name, "region": "us-east-1", "accountID": accounts.get(name, self.account)}
            for name in ALL
        ]
        shell = FakeShell({"env ls": Result(0, json.dumps({"environments": listed}))})
        found = rendered(self.renderer, self.settings, TOP + manifest, environments=ALL, shell=shell)
        return accepted(found)

    def found(self, project: Project) -> list[Finding]:
        return list(secret.compared(project, lambda _: self.aws))


class Barred(Aws):
    """One whose role may not decrypt."""

    def parameter_values(self, names: Sequence[str]) -> dict[str, str]:
        raise Failed(f"AccessDeniedException:\nnot {names[0]}")


@pytest.fixture
def cloud(renderer: Renderer, shared_renderer: SharedRenderer, settings: Settings) -> Cloud:
    return Cloud(renderer, shared_renderer.get(), settings)


NAMED = f"""
secrets:
  DATABASE_URL: {OWN}/DATABASE_URL  # HERE
  API_KEY: {OWN}/API_KEY
environments:
  test:
    secrets:
      STAGE_DATABASE_URL: {OWN}/STAGE_DATABASE_URL
"""


def test_a_value_of_productions_is_told_and_never_shown(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = "postgres://shop:hunter2@db/shop"
    cloud.put(
        test_DATABASE_URL=hidden, production_DATABASE_URL=hidden, stage_DATABASE_URL="another one, long"
    )
    cloud.put(test_API_KEY="1", production_API_KEY="2", stage_API_KEY="3", test_STAGE_DATABASE_URL="reader's")
    project = cloud.project(NAMED)
    found = cloud.found(project)
    assert places(found) == marked(cloud.settings.root)
    assert found[0].what == "DATABASE_URL of test has the value of DATABASE_URL of production"
    shown = json.dumps(as_documents(found)) + repr(project) + "".join(capsys.readouterr())
    assert not any(part in shown for part in ("hunter2", "reader's", "another one"))
    assert "sha256" not in json.dumps(as_documents(found))


def test_a_value_of_a_protected_environment_under_another_name_is_told_where_it_is_long(cloud: Cloud) -> None:
    cloud.put(test_STAGE_DATABASE_URL="owner of staging's", stage_DATABASE_URL="owner of staging's")
    cloud.put(test_DATABASE_URL="own", production_DATABASE_URL="theirs", stage_API_KEY="own")
    (found,) = cloud.found(cloud.project(NAMED))
    assert found.what == "STAGE_DATABASE_URL of test has the value of DATABASE_URL of stage"


def test_a_part_of_a_secret_of_secrets_manager_is_compared_too(cloud: Cloud) -> None:
    manifest = """
secrets:
  PASSWORD:  # HERE
    secretsmanager: 'shop/${COPILOT_ENVIRONMENT_NAME}/mail:password::'
  USER:
    secretsmanager: 'shop/${COPILOT_ENVIRONMENT_NAME}/mail:user::'
  ALL:
    secretsmanager: shop/${COPILOT_ENVIRONMENT_NAME}/whole
"""
    client = cloud.aws.client("secretsmanager")
    for environment in ALL:
        value = json.dumps({"user": environment, "password": "the same"})
        client.create_secret(Name=f"shop/{environment}/mail", SecretString=value)
    client.create_secret(Name="shop/test/whole", SecretString="no JSON")
    found = cloud.found(cloud.project(manifest))
    assert {finding.what for finding in found} == {
        "PASSWORD of test has the value of PASSWORD of production",
        "PASSWORD of test has the value of PASSWORD of stage",
    }
    assert set(places(found)) == set(marked(cloud.settings.root))


EXPORTED = """
secrets:
  DATABASE_URL:  # HERE
    from_cfn: shop-${COPILOT_ENVIRONMENT_NAME}-DatabaseURL
"""
STACK = """
Resources:
  Made:
    Type: AWS::SecretsManager::Secret
    Properties: {Name: %(name)s, SecretString: %(value)s}
Outputs:
  Made: {Value: !Ref Made, Export: {Name: %(name)s-DatabaseURL}}
"""


def test_a_secret_that_another_stack_exports_is_compared_too(cloud: Cloud) -> None:
    client = cloud.aws.client("cloudformation")
    for environment in ("test", "production"):
        stack = f"shop-{environment}"
        body = STACK % {"name": stack, "value": "the same"}
        client.create_stack(StackName=stack, TemplateBody=body)
        client.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    told, unread = sorted(cloud.found(cloud.project(EXPORTED)), key=lambda one: one.severity)
    assert places([told]) == marked(cloud.settings.root)
    assert told.what == "DATABASE_URL of test has the value of DATABASE_URL of production"
    assert unread.severity == "warning"
    assert "stage: no secret is found by the export shop-stage-DatabaseURL" in unread.instead
    (shared, _) = cloud.found(cloud.project(EXPORTED.replace("${COPILOT_ENVIRONMENT_NAME}", "test")))[:2]
    assert "has the value of" in shared.what


def test_what_may_not_be_read_is_one_warning(cloud: Cloud) -> None:
    cloud.aws = Barred(cloud.aws.env)
    (found,) = cloud.found(cloud.project(NAMED, stage="999999999999"))
    assert found.severity == "warning"
    assert "AccessDeniedException" in found.instead
    assert "it is in account 999999999999" in found.instead
    assert "\n" not in str(found)


def test_an_environment_that_copilot_does_not_know_is_said(cloud: Cloud) -> None:
    project = cloud.project(NAMED)
    (found,) = cloud.found(replace(project, shell=FakeShell()))
    assert found.severity == "warning"
    assert "`copilot env ls --json` printed no JSON object" in found.instead


def test_nothing_is_asked_of_aws_unless_it_is_the_target(renderer: Renderer, settings: Settings) -> None:
    shell = FakeShell()
    project = rendered(renderer, settings, TOP + NAMED, environments=ALL, shell=shell)
    assert list(secret.same_values(project)) == []
    assert {command.argv[0] for command in shell.ran} <= {"git"}


def test_aws_is_asked_in_the_environments_region(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def aws(env: Any, region: str | None) -> Aws:
        asked.append((env, region))
        return cloud.aws

    monkeypatch.setattr("copilot_testenv.aws.Aws", aws)
    list(secret.same_values(cloud.project(NAMED)))
    assert asked == [({}, "us-east-1")] * 3
