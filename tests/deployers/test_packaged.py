"""The templates that `package` wrote, as a branch has them: its own files, and not to be trusted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from copilot_testenv.copilot.templates import Refusal, Template
from copilot_testenv.core.errors import SettingsError
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers import packaged
from copilot_testenv.deployers.packaged import HOST, SLUG, Packaged

TEMPLATE = """
Metadata:
  Manifest: |
    {manifest}
Parameters: {{AppName: {{Type: String}}}}
Resources:
  HTTPListenerRule:
    Type: AWS::ElasticLoadBalancingV2::ListenerRule
    Properties:
      Conditions: [{{Field: path-pattern}}, {{Field: host-header}}]
      Names: [web-{slug}, _{slug}, {host}]
"""
HOSTILE = [{"ParameterKey": "EnvName", "ParameterValue": "production"}]


@pytest.fixture
def folder(settings: Settings) -> Path:
    written = settings.root / "cloudformation/test"
    (written / "isolated").mkdir(parents=True)
    manifest = json.dumps(json.loads('{"name": "web"}'))
    for name in ("demo-test-web", "isolated/demo-test-web"):
        text = TEMPLATE.format(manifest=manifest, slug=SLUG, host=HOST)
        (written / f"{name}.yml").write_text(text)
        (written / f"{name}.parameters.json").write_text(json.dumps(HOSTILE))
    return written


def made(settings: Settings) -> Template:
    found = Packaged(settings).service(settings.root, settings.service, "test")
    assert isinstance(found, Template), found
    return found


def refused(settings: Settings) -> str:
    found = Packaged(settings).service(settings.root, settings.service, "test")
    assert isinstance(found, Refusal)
    return found.why


@pytest.mark.usefixtures("folder")
def test_a_branch_does_not_say_to_which_environment_it_is_deployed(settings: Settings) -> None:
    assert made(settings).parameters == {"AppName": "demo", "EnvName": "test", "WorkloadName": "web"}


@pytest.mark.usefixtures("folder")
def test_a_branchs_own_service_has_its_own_names_and_host(settings: Settings) -> None:
    own = settings.isolated_for("my-branch")
    manifest = settings.root / "copilot/web-my-branch/manifest.yml"
    manifest.parent.mkdir()
    manifest.write_text(
        "name: web-my-branch\nenvironments: {test: {variables: "
        "{DEPLOYMENT_HOST: mine.localhost, WEB_URL: 'https://test.example.com'}}}\n"
    )
    rule = made(own).resources["HTTPListenerRule"]["Properties"]
    assert rule["Names"] == ["web-my-branch", "_my_branch", "mine.localhost"]
    (host,) = [each for each in rule["Conditions"] if each["Field"] == "host-header"]
    assert host["HostHeaderConfig"]["Values"] == ["mine.localhost"]
    on_aws = made(replace(own, target="aws")).resources["HTTPListenerRule"]["Properties"]
    assert on_aws["Conditions"] == [{"Field": "path-pattern"}, {"Field": "host-header"}]


def test_without_a_template_the_next_step_is_told(settings: Settings) -> None:
    assert "`invoke package --env test`, and commit it" in refused(settings)


def test_what_leads_out_of_the_repository_or_is_no_template_is_refused(
    settings: Settings, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file, text = folder / "demo-test-web.yml", (folder / "demo-test-web.yml").read_text()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "template.yml"
    elsewhere.write_text(text)
    file.unlink()
    file.symlink_to(elsewhere)
    with pytest.raises(SettingsError, match="leads out of the repository"):
        Packaged(settings).service(settings.root, "web", "test")
    file.unlink()
    file.mkdir()
    assert "is not a file" in refused(settings)
    file.rmdir()
    file.write_text("x" * ((1 << 20) + 1))
    assert "is larger than" in refused(settings)
    file.write_text(text)
    for spoilt in ("{", "[1]", '[{"ParameterKey": "A"}]', "[" * 9999):
        (folder / "demo-test-web.parameters.json").write_text(spoilt)
        assert "cannot be read" in refused(settings)


def test_code_of_a_function_counts_only_by_its_digest(settings: Settings, folder: Path) -> None:
    key = f"manual/scripts/custom-resources/f/{hashlib.sha256(b'code').hexdigest()}.zip"
    assert packaged.asset(settings.root, "test", key) is None
    file = folder / "assets" / key
    file.parent.mkdir(parents=True)
    file.write_bytes(b"code")
    assert packaged.asset(settings.root, "test", key) == b"code"
    file.write_bytes(b"other code")
    with pytest.raises(SettingsError, match="is not the file that its name says"):
        packaged.asset(settings.root, "test", key)


def test_a_manifest_that_was_changed_since_is_told(settings: Settings, folder: Path) -> None:
    manifest = settings.root / "copilot/web/manifest.yml"
    manifest.write_text('name: web\nvariables: {E: "${COPILOT_ENVIRONMENT_NAME}"}\n')
    assert "was changed since `invoke package` wrote cloudformation/test/demo-test-web.yml" in Packaged(
        settings
    ).note(settings.root)
    text = TEMPLATE.format(manifest='{"name": "web", "variables": {"E": "test"}}', slug="x", host="x")
    (folder / "demo-test-web.yml").write_text(text)
    assert Packaged(settings).note(settings.root) == ""
