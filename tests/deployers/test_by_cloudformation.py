from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from copilot_testenv.aws import Aws
from copilot_testenv.copilot import commands
from copilot_testenv.copilot.commands import Copilot, OneOff
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.settings import Settings
from copilot_testenv.deployers import choice
from copilot_testenv.deployers.by_cloudformation import ByCloudFormation
from copilot_testenv.deployers.by_copilot import ByCopilot
from copilot_testenv.deployers.deployer import Deployer, never
from copilot_testenv.deployers.packaged import Packaged
from tests.fakes import FakeShell

TASK = OneOff("image", ("true",), "256", "512", "", {}, {})
TEST = {
    "name": "test",
    "region": "eu-west-1",
    "accountID": "1",
    "managerRoleARN": "m",
    "executionRoleARN": "e",
}


@dataclass
class Records(Aws):
    """An account in which only Copilot's records can be read; every other call is an error."""

    records: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Have the region of the records."""
        super().__init__({}, None)

    def parameters_below(self, path: str) -> dict[str, str]:
        assert path == "/copilot/applications/demo/environments/"
        return {str(number): text for number, text in enumerate(self.records)}


def deployer(settings: Settings, *records: str, marked: str = "") -> ByCloudFormation:
    copilot = Copilot(settings, {}, settings.root, marked)
    return ByCloudFormation(FakeShell(), copilot, Records(list(records)))


def test_the_setting_alone_chooses(settings: Settings) -> None:
    found = {
        name: type(
            choice.deployer(
                FakeShell(), Copilot(replace(settings, deploy_with=name), {}, settings.root), Aws({})
            )
        )
        for name in ("copilot", "cloudformation")
    }
    assert found == {"copilot": ByCopilot, "cloudformation": ByCloudFormation}


def test_the_environments_are_those_of_copilots_records(settings: Settings) -> None:
    (found,) = deployer(settings, json.dumps(TEST)).environments()
    assert found == commands.Environment("test", "eu-west-1", "1", "m", "e")


@pytest.mark.parametrize("record", ["", "{", "[]", "{}"])
def test_records_that_cannot_be_read_are_told(settings: Settings, record: str) -> None:
    with pytest.raises(Failed, match="The records below /copilot/applications/demo/environments/ in SSM"):
        deployer(settings, record).environments()


CHANGES: dict[str, Callable[[Deployer, Settings], object]] = {
    "deploy": lambda made, settings: made.deploy(settings.root, "tag", {}, print, never),
    "delete_service": lambda made, _: made.delete_service(never),
    "delete_task": lambda made, _: made.delete_task("demo-test-web-copy-db", never),
    "run_task": lambda made, _: made.run_task("demo-test-web-copy-db", TASK, "cluster", print, never),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nothing_is_changed_in_an_environment_whose_mark_was_not_read(
    settings: Settings, change: Callable[[Deployer, Settings], object]
) -> None:
    for marked in ("", "demo/production"):
        with pytest.raises(Refused, match="did not check that it is disposable"):
            change(deployer(settings, json.dumps(TEST), marked=marked), settings)


def test_a_task_that_these_tasks_did_not_make_is_not_deleted(settings: Settings) -> None:
    with pytest.raises(Refused, match="was not made by these tasks"):
        deployer(settings, marked="demo/test").delete_task("demo-production-web-copy-db", never)


def test_without_copilot_no_version_is_asked_and_the_packaged_templates_count(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "is_installed", lambda: False)
    made = deployer(settings)
    made.require_programs()
    assert made.templates.paths == Packaged(settings).paths == ("copilot", "cloudformation/test")
    with pytest.raises(
        SettingsError, match="cannot be deployed: Copilot is not installed, and cloudformation"
    ):
        replace(made, copilot=replace(made.copilot, marked="demo/test")).deploy(
            settings.root, "tag", {}, print, never
        )


def test_while_copilot_is_installed_its_version_counts_and_it_renders(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "is_installed", lambda: True)
    monkeypatch.setattr(commands, "program", lambda: "copilot")
    made = deployer(settings)
    assert made.templates.paths == ("copilot",)
    with pytest.raises(SettingsError, match="unknown Copilot"):
        made.require_programs()


def test_a_plan_names_the_image_and_the_stack(settings: Settings) -> None:
    made = deployer(settings)
    assert "demo/web:tag, then a change set of the stack demo-test-web" in made.plan("tag", {})
