from __future__ import annotations

from dataclasses import replace

import pytest

from scripts import copilot
from scripts.copilot import Copilot
from scripts.errors import Failed, Refused, SettingsError
from scripts.settings import Settings


@pytest.fixture
def builder(settings: Settings) -> Copilot:
    return Copilot(settings, {}, settings.root)


def test_a_deploy_names_everything_that_copilot_would_otherwise_guess_or_ask(builder: Copilot) -> None:
    command = builder.deploy("abc", {"branch": "feature/x", "commit": "abc"})
    assert command.argv[1:] == (
        "deploy",
        "--app=demo",
        "--name=web",
        "--env=test",
        "--tag=abc",
        "--deploy-env=false",
        "--resource-tags=branch=feature/x,commit=abc",
    )


def test_the_delete_always_names_its_environment(builder: Copilot) -> None:
    assert builder.service_delete().argv[1:] == (
        "svc", "delete", "--app=demo", "--name=web", "--env=test", "--yes",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("", SettingsError),
        (" ", SettingsError),
        ("production", Refused),
        ("Prod", Refused),
        ("stage", Refused),
        ("tset", SettingsError),
    ],
)
def test_no_delete_can_be_built_for_any_other_environment(
    builder: Copilot, settings: Settings, name: str, error: type[Exception]
) -> None:
    wrong = replace(builder, settings=replace(settings, test_env=name))
    with pytest.raises(error):
        wrong.service_delete()


def test_environments_are_read_from_copilots_json() -> None:
    listed = '{"environments": [{"name": "a", "region": "eu-west-1", "accountID": "1"}, {"name": "b"}]}'
    assert [found.name for found in copilot.environments(listed)] == ["a", "b"]
    assert copilot.environment(listed, "a") == copilot.Environment("a", "eu-west-1", "1")
    assert copilot.environment(listed, "c") is None
    assert copilot.environments('{"environments": null}') == ()


def test_the_url_is_the_one_of_the_environment() -> None:
    shown = (
        '{"routes": [{"environment": "stage", "url": "http://s"}, '
        '{"environment": "test", "url": "https://a.example, https://b.example or https://c.example"}]}'
    )
    assert copilot.url(shown, "test") == "https://a.example"
    assert copilot.url(shown, "production") is None


@pytest.mark.parametrize("answer", ["", "no json", "[]"])
def test_an_answer_that_is_not_its_json_is_one_clear_line(answer: str) -> None:
    with pytest.raises(Failed, match="answered something else"):
        copilot.environments(answer)
