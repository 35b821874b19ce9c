"""Wrong and hostile names and settings are refused, and each refusal tells what to do."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from copilot_testenv.core.errors import Refused, SettingsError, UserError
from copilot_testenv.core.settings import NAME, load
from django_testenv.stage_copy import disposable_registry, guards
from django_testenv.stage_copy.problems import Refused as CopyRefused
from tests.attacks.hostile_names import (
    CASES,
    CONTAINERS,
    DATABASES,
    HARMLESS_DATABASES,
    HARMLESS_NAMES,
    IMPOSSIBLE_NAMES,
    OTHER_SETTINGS,
    PROTECTED_ENVS,
    PROTECTED_NAMES,
)


def test_there_are_as_many_cases_as_promised() -> None:
    assert len(CASES) == len(set(map(repr, CASES)))
    assert len(CASES) >= 80


# Settings.


def has(workspace: Path, name: str) -> None:
    """The environment stands in the workspace, if a folder can have that name."""
    with suppress(OSError, ValueError):
        folder = workspace / "copilot/environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.yml").write_text(f"name: {name}\ntype: Environment\n")


@pytest.mark.parametrize("name", PROTECTED_NAMES)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_environment_that_reads_like_production_is_refused(
    workspace: Path,
    name: str,
    elsewhere: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    has(workspace, name)
    with pytest.raises(Refused, match=r"protected environment.*set TEST_ENV"):
        load(workspace, {"TEST_ENV": name}, elsewhere=elsewhere)
    with pytest.raises(Refused, match="protected environment"):
        load(workspace, {"TEST_ENV": name, "PROTECTED_ENVS": ""}, elsewhere=elsewhere)


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_an_environment_that_cannot_be_is_refused(workspace: Path, name: str) -> None:
    with pytest.raises((SettingsError, Refused), match="TEST_ENV"):
        load(workspace, {"TEST_ENV": name})


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_the_usual_names_of_throw_away_environments_pass(workspace: Path, name: str) -> None:
    has(workspace, name)
    assert load(workspace, {"TEST_ENV": name}).test_env == name


@pytest.mark.parametrize(("setting", "name", "code"), PROTECTED_ENVS)
def test_the_setting_of_protected_environments_only_ever_adds(
    workspace: Path, setting: str, name: str, code: int
) -> None:
    has(workspace, name)
    with pytest.raises(UserError) as caught:
        load(workspace, {"TEST_ENV": name, "PROTECTED_ENVS": setting})
    assert caught.value.exit_code == code
    assert ("with commas between them" if code == 2 else "TEST_ENV") in str(caught.value)


@pytest.mark.parametrize(("setting", "value"), OTHER_SETTINGS)
def test_an_application_or_service_that_cannot_be_is_refused(
    workspace: Path, setting: str, value: str
) -> None:
    (workspace / "copilot/.workspace").write_text("application: ''\n")
    given = {"COPILOT_APP": "demo", setting: value}
    with pytest.raises(SettingsError, match=setting):
        load(workspace, given)


def test_a_protected_name_beside_others_leaves_the_usual_ones_alone(workspace: Path) -> None:
    found = load(workspace, {"PROTECTED_ENVS": "customer, Demo-EU,pre_view"})
    assert found.test_env == "test"
    assert set(found.protected_envs) >= {"production", "stage", "customer", "demo-eu", "pre-view"}


# The command in the image.


@pytest.mark.parametrize(("name", "stated"), CONTAINERS)
def test_copy_stage_db_works_in_no_environment_but_the_one_of_its_image(
    name: str | None, stated: str | None
) -> None:
    environ = {} if name is None else {guards.ENVIRONMENT: name}
    deployed = {} if stated is None else {"environment": stated, "deploy": "1"}
    with pytest.raises(CopyRefused, match=r"deploy-test|run it in the throw-away environment"):
        guards.require_environment(environ, deployed, "deployment.json")


@pytest.mark.parametrize(("name", "stated"), [("test", "test"), ("qa", "qa"), (None, "test"), (None, None)])
def test_copy_stage_db_works_where_its_image_was_deployed_to_and_outside_of_copilot(
    name: str | None, stated: str | None
) -> None:
    environ = {} if name is None else {guards.ENVIRONMENT: name}
    guards.require_environment(environ, {"environment": stated} if stated else {}, "deployment.json")


@pytest.mark.parametrize("name", DATABASES)
@pytest.mark.parametrize("suffix", ["", "_x"])
def test_a_database_that_reads_like_production_is_never_thrown_away(name: str, suffix: str) -> None:
    with pytest.raises(CopyRefused, match=r"never thrown away: point the default database"):
        disposable_registry.require_name(name + suffix, name, "marked")


@pytest.mark.parametrize("name", HARMLESS_DATABASES)
def test_the_usual_names_of_test_databases_pass(name: str) -> None:
    disposable_registry.require_name(name, name, "marked")
    disposable_registry.require_name(
        f"{name}_fix_staging", name, "marked"
    )  # a branch may well be about staging


def test_the_harmless_names_are_names_of_copilots() -> None:
    assert all(NAME.fullmatch(name) for name in HARMLESS_NAMES)
