from __future__ import annotations

from pathlib import Path

import pytest

from copilot_testenv.core.errors import Refused, SettingsError
from copilot_testenv.core.settings import find_workspace, load, seconds


def test_a_fresh_clone_needs_no_settings(workspace: Path) -> None:
    settings = load(workspace, {})
    assert (settings.app, settings.service, settings.test_env) == ("demo", "web", "test")
    assert settings.target == "sandbox"
    assert settings.protected_envs == ("production", "prod", "live", "stage", "staging")
    assert settings.timeout == 45 * 60


@pytest.mark.parametrize("name", ["", " ", "tset", "Tést", "test;rm", "-test", "test\n"])
def test_a_test_environment_that_cannot_be_is_a_settings_error(workspace: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="TEST_ENV"):
        load(workspace, {"TEST_ENV": name})


@pytest.mark.parametrize("name", ["production", "Prod", "stage", " STAGE ", "s t a g i n g", "live"])
def test_a_protected_environment_is_refused_whatever_its_case_and_spaces(workspace: Path, name: str) -> None:
    with pytest.raises(Refused, match="protected"):
        load(workspace, {"TEST_ENV": name})


def test_an_environment_of_another_workspace_is_judged_by_its_name_alone(workspace: Path) -> None:
    assert load(workspace, {"TEST_ENV": "qa"}, elsewhere=True).test_env == "qa"
    with pytest.raises(SettingsError, match="cannot be an environment's name"):
        load(workspace, {"TEST_ENV": "Q A"}, elsewhere=True)
    with pytest.raises(SettingsError, match="TEST_ENV is empty"):
        load(workspace, {"TEST_ENV": ""}, elsewhere=True)
    with pytest.raises(Refused, match="protected"):
        load(workspace, {"TEST_ENV": "Stage"}, elsewhere=True)


def test_a_test_environment_whose_name_another_continues_is_refused(workspace: Path) -> None:
    other = workspace / "copilot/environments/test2"
    other.mkdir()
    (other / "manifest.yml").write_text("name: test2\n")
    assert load(workspace, {}).test_env == "test"  # demo-test-* and demo-test2-* do not meet
    other.rename(other.with_name("test-eu"))
    with pytest.raises(Refused, match="test-eu"):
        load(workspace, {})
    other.with_name("test-eu").rename(other.with_name("qa"))
    with pytest.raises(Refused, match="qa-eu"):
        load(workspace, {"TEST_ENV": "qa", "PROTECTED_ENVS": "qa-eu"})


def test_protection_cannot_be_emptied(workspace: Path) -> None:
    with pytest.raises(SettingsError, match="PROTECTED_ENVS"):
        load(workspace, {"PROTECTED_ENVS": " , "})


def test_names_added_to_the_protected_ones_are_protected(workspace: Path) -> None:
    with pytest.raises(Refused):
        load(workspace, {"PROTECTED_ENVS": "production, Test"})


def test_the_environment_comes_before_the_env_file_and_the_file_before_the_default(workspace: Path) -> None:
    (workspace / ".env").write_text("DEPLOY_TTL=3d\nDEPLOY_TIMEOUT=10m\n")
    settings = load(workspace, {"DEPLOY_TIMEOUT": "20m"})
    assert (settings.ttl, settings.timeout, settings.service) == ("3d", 1200, "web")


def test_an_empty_environment_name_is_not_replaced_by_the_file_or_the_default(workspace: Path) -> None:
    (workspace / ".env").write_text("TEST_ENV=test\n")
    with pytest.raises(SettingsError, match="TEST_ENV is empty"):
        load(workspace, {"TEST_ENV": ""})


def test_ci_must_say_where_it_deploys(workspace: Path) -> None:
    with pytest.raises(SettingsError, match="DEPLOY_TARGET"):
        load(workspace, {"CI": "true"})
    assert load(workspace, {"CI": "true", "DEPLOY_TARGET": "aws"}).target == "aws"
    assert load(workspace, {"CI": "false"}).target == "sandbox"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEPLOY_TARGET", "gcp"),
        ("DEPLOY_TIMEOUT", "soon"),
        ("DEPLOY_TIMEOUT", "0m"),
        ("COPILOT_APP", "Demo"),
        ("COPILOT_SERVICE", ""),
        ("SANDBOX_STAGE_MB", "-1"),
        ("SANDBOX_ENVIRONMENTS", "stage;production"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(workspace: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(workspace, {name: value})


def test_outside_a_workspace_the_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.workspace"):
        load(tmp_path, {})


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("45m", 2700), ("12h", 43200), ("5d", 432000)])
def test_durations_are_read_in_seconds(text: str, expected: float) -> None:
    assert seconds(text, "X") == expected


def test_every_setting_is_documented_in_the_example_file() -> None:
    root = Path(__file__).parents[2]
    source = (root / "scripts/copilot_testenv/core/settings.py").read_text()
    example = (root / ".env.example").read_text()
    names = {part.split('"')[0] for part in source.split('value("')[1:]}
    assert names
    assert {name for name in names if f"{name}=" not in example} == set()


def test_committed_settings_come_after_the_environment_and_env(workspace: Path) -> None:
    (workspace / "copilot-testenv.toml").write_text('ttl = "2d"\ntimeout = "10m"\nprotected = ["customer"]\n')
    found = load(workspace, {"DEPLOY_TIMEOUT": "20m"})
    assert (found.ttl, found.timeout) == ("2d", 1200)
    assert "customer" in found.protected_envs
    (workspace / ".env").write_text("DEPLOY_TTL=3d\n")
    assert load(workspace, {}).ttl == "3d"


def test_committed_settings_may_stand_in_pyproject(workspace: Path) -> None:
    (workspace / "pyproject.toml").write_text('[tool.copilot-testenv]\nservice = "web"\nttl = "2d"\n')
    assert load(workspace, {}).ttl == "2d"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('servise = "web"', "unknown key, `servise`: write `service`"),
        ("ttl = 5", "`ttl` is 5: it must be a text in quotes"),
        ('protected = "a"\nprotected = "b"', "cannot be read"),
        ("protected = [1]", "it must be a list of names"),
        ('trusted = "cdk"', "never read from there.*TRUSTED_CHANGES"),
        ('manifest_variables = "TOKEN"', "never read from there.*MANIFEST_VARIABLES"),
        ('target = "aws"', "never read from there.*DEPLOY_TARGET"),
        ("stage_megabytes = true", "it must be a text"),
    ],
)
def test_a_committed_setting_that_is_wrong_is_said(workspace: Path, text: str, said: str) -> None:
    (workspace / "copilot-testenv.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        load(workspace, {})


def test_committed_settings_in_two_places_are_refused(workspace: Path) -> None:
    (workspace / "copilot-testenv.toml").write_text('ttl = "2d"\n')
    (workspace / "pyproject.toml").write_text('[tool.copilot-testenv]\nttl = "2d"\n')
    with pytest.raises(SettingsError, match="both exist"):
        load(workspace, {})


def test_the_workspace_is_found_upwards(workspace: Path) -> None:
    folder = workspace / "app/deep"
    folder.mkdir(parents=True)
    assert find_workspace(folder) == workspace
    with pytest.raises(SettingsError, match="no folder copilot/"):
        find_workspace(workspace.parent)


def test_nobodys_own_settings_take_a_protection_away(workspace: Path) -> None:
    (workspace / "copilot-testenv.toml").write_text('protected = ["customer"]\n')
    (workspace / ".env").write_text("PROTECTED_ENVS=demo-eu\n")
    assert {"customer", "demo-eu"} <= set(load(workspace, {"PROTECTED_ENVS": ""}).protected_envs)


def test_the_services_of_a_branch_are_a_list_of_names_and_its_web_service_is_one(workspace: Path) -> None:
    assert load(workspace, {}).companions == ()
    (workspace / "copilot-testenv.toml").write_text('services = ["web", "worker", "beat", "worker"]\n')
    found = load(workspace, {})
    assert (found.services, found.companions) == (("web", "worker", "beat"), ("worker", "beat"))
    assert found.isolated_for("one").companions == ("worker", "beat")
    assert load(workspace, {"COPILOT_SERVICES": "web, api"}).companions == ("api",)
    for wrong in ("services = 1", 'services = ["../web"]', 'services = ["Web"]', "services = [1]"):
        (workspace / "copilot-testenv.toml").write_text(wrong)
        with pytest.raises(SettingsError):
            load(workspace, {})
