from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from copilot_sandbox import errors as sandbox_errors
from copilot_sandbox import lifecycle
from copilot_testenv.aws import Aws
from copilot_testenv.aws.stack import ContainerDefinition, Stack, Task, TaskDefinition
from copilot_testenv.copilot.commands import VERSION, Copilot
from copilot_testenv.core.errors import Failed, Held, Refused, SettingsError, UsageError
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.core.terminal import confirm
from copilot_testenv.deploys import logs, preflight
from copilot_testenv.session import Session, Target, _sandbox_workspace, require_settled
from copilot_testenv.state import live
from tests.fakes import FakeReport, FakeShell

KNOWN = Result(0, '{"environments": [{"name": "test"}, {"name": "stage"}]}')


def session(settings: Settings, answers: dict[str, Result], **environ: str) -> Session:
    return Session(settings, FakeShell(answers), FakeReport(), environ)


def target(settings: Settings) -> Target:
    return Target({}, Copilot(settings, {}, settings.root), Aws({}))


def stack(status: str) -> Stack:
    return Stack("demo-test-web", status, {"deployed_by": "ada"}, datetime.now(UTC))


def test_the_first_line_says_where_commands_go(settings: Settings) -> None:
    for target, said in (("sandbox", "nothing leaves it"), ("aws", "your AWS credentials")):
        here = session(replace(settings, target=target), {})  # type: ignore[arg-type]  # the two literals
        here.announce()
        assert isinstance(here.report, FakeReport)
        assert said in here.report.said[0]


def test_in_an_account_nothing_is_started_for_an_environment_that_is_not_marked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Aws, "parameter_tags", lambda *_: {"copilot-environment": "test"})
    monkeypatch.setattr(Aws, "region", "eu-west-1")
    here = session(replace(settings, target="aws"), {"env ls": KNOWN})
    with pytest.raises(Refused, match="DEPLOY_TARGET=aws invoke create-env --mark-disposable test"):
        here.enter_to_change()
    assert isinstance(here.shell, FakeShell)
    assert here.shell.ran == []


def test_preflight_passes_where_copilot_is_the_right_one_and_knows_the_environment(
    settings: Settings,
) -> None:
    answers = {"--version": Result(0, f"copilot version: {VERSION}\n"), "env ls": KNOWN}
    preflight.preflight(session(settings, answers), target(settings), builds=True)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"--version": Result(0, "copilot version: v1.20.0\n"), "env ls": KNOWN}, "v1.20.0"),
        ({"--version": Result(0, f"copilot version: {VERSION}"), "env ls": Result(0, '{"environments": []}')},
         "create-env"),
    ],
)  # fmt: skip
def test_preflight_names_what_is_wrong_and_the_cure(
    settings: Settings, answers: dict[str, Result], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        preflight.preflight(session(settings, answers), target(settings), builds=True)


def test_a_copilot_that_fails_is_quoted(settings: Settings) -> None:
    answers = {
        "--version": Result(0, f"copilot version: {VERSION}"),
        "env ls": Result(1, "", "✘ no application"),
    }
    with pytest.raises(Failed, match="no application"):
        preflight.preflight(session(settings, answers), target(settings), builds=True)


def test_on_aws_docker_must_be_there_and_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SettingsError, match="Docker is not installed"):
        preflight._check_docker(session(settings, {}))
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/docker")
    answers = {"docker info": Result(1, "", "Cannot connect to the Docker daemon")}
    with pytest.raises(SettingsError, match="Cannot connect to the Docker daemon"):
        preflight._check_docker(session(settings, answers))


@pytest.mark.parametrize(
    "status", ["UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS"]
)
def test_a_stack_that_is_being_changed_is_held_by_who_deployed_it(status: str) -> None:
    with pytest.raises(Held, match="ada"):
        require_settled(stack(status))


def test_a_settled_stack_or_none_is_free() -> None:
    require_settled(None)
    require_settled(stack("UPDATE_COMPLETE"))


def test_a_workspace_without_the_environments_block_is_refused_before_anything_starts(
    settings: Settings,
) -> None:
    settings.manifest.write_text("name: web\nenvironments: {stage: {cpu: 1}}\n")
    here = session(settings, {})
    with pytest.raises(SettingsError, match="base manifest"):
        here.check_workspace()
    assert isinstance(here.shell, FakeShell)
    assert here.shell.ran == []


def test_the_sandbox_makes_the_workspaces_service_also_for_an_isolated_deploy(settings: Settings) -> None:
    assert _sandbox_workspace(settings.isolated_for("feature-x")).service == settings.service == "web"


def test_who_deploys_is_cis_actor_else_gits_address_else_the_user(settings: Settings) -> None:
    address = {"config user.email": Result(0, "ada@example.org\n")}
    assert session(settings, address, GITHUB_ACTOR="grace").who() == "grace"
    assert session(settings, address).who() == "ada@example.org"
    assert "@" in session(settings, {"config user.email": Result(1)}).who()


class Person(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_no_answer_means_no(monkeypatch: pytest.MonkeyPatch) -> None:
    report = FakeReport(answer=False)
    with pytest.raises(Refused, match="--yes"):
        confirm(report, "Delete it?", yes=False)
    confirm(report, "Delete it?", yes=True)
    monkeypatch.setattr("sys.stdin", Person())
    with pytest.raises(Refused, match=r"^Nothing was changed, because you did not answer yes\.$"):
        confirm(report, "Delete it?", yes=False)
    assert report.asked == ["Delete it?"] * 2
    confirm(FakeReport(answer=True), "Delete it?", yes=False)


def on_aws(settings: Settings, monkeypatch: pytest.MonkeyPatch, account: str) -> Session:
    """A run on AWS with credentials of that account, where Copilot has `test` in account 222."""
    monkeypatch.setattr(Aws, "account", lambda _: account)
    listed = '{"environments": [{"name": "test", "region": "eu-west-1", "accountID": "222"}]}'
    return session(replace(settings, target="aws"), {"env ls": Result(0, listed)})


def test_credentials_of_another_account_than_the_environments_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=r"account 111.*account 222"):
        on_aws(settings, monkeypatch, "111").enter()


def test_aws_is_asked_in_the_region_where_copilot_has_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    found = on_aws(settings, monkeypatch, "222").enter(profile="")
    assert found
    assert found.aws.region == "eu-west-1"
    assert found.variables == {}


def test_an_account_without_the_application_is_told_with_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setattr(Aws, "account", lambda _: "222")
    monkeypatch.setattr(Aws, "parameter", lambda *_: None)
    here = session(replace(settings, target="aws"), {"env ls": Result(1, "", "couldn't find an application")})
    with pytest.raises(SettingsError, match=r"application demo in account 222, us-west-2.*copilot app init"):
        here.enter()
    monkeypatch.setattr(Aws, "parameter", lambda *_: "{}")
    with pytest.raises(Failed, match="couldn't find an application"):
        here.enter()


def test_missing_credentials_are_told_before_copilot_is_started(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    here = session(replace(settings, target="aws"), {})
    with pytest.raises(SettingsError, match=r"Unable to locate credentials\. Set AWS_PROFILE"):
        here.enter()
    assert isinstance(here.shell, FakeShell)
    assert here.shell.ran == []


def test_a_profile_that_is_not_there_is_a_settings_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = session(replace(settings, target="aws"), {"env ls": Result(0, '{"environments": []}')})
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(SettingsError, match="nope"):
        here.enter(profile="nope")


def test_logs_want_a_sensible_number_of_lines(settings: Settings) -> None:
    for limit in ("abc", "0", "-5", "100000"):
        with pytest.raises(UsageError, match="--limit"):
            logs.logs(session(settings, {}), logs.Options(limit=limit))


def deployed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lines: str, definition: str | None = "arn:definition"
) -> Session:
    """A slot whose task definition has web, startup and redis, and for which Copilot prints these lines."""
    containers = tuple(ContainerDefinition(name, "image", (), {}, {}) for name in ("web", "startup", "redis"))
    monkeypatch.setattr(Session, "enter", lambda *_, **__: target(settings))
    monkeypatch.setattr(Aws, "stack", lambda *_: stack("UPDATE_ROLLBACK_COMPLETE"))
    monkeypatch.setattr(Aws, "resource", lambda *_: definition)
    monkeypatch.setattr(Aws, "task_definition", lambda *_: TaskDefinition("256", "512", "", containers))
    task = Task("a" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", ())
    monkeypatch.setattr(live, "running", lambda *_: [task])
    return session(settings, {"svc logs": Result(0, lines)})


def show_logs(here: Session, container: str, *, follow: bool = False, **more: Any) -> list[str]:
    logs.logs(here, logs.Options(container=container, follow=follow, **more))
    assert isinstance(here.report, FakeReport)
    return here.report.printed


def event(container: str, message: str, task: str = "b" * 32) -> str:
    """A line of `copilot svc logs --json`."""
    return json.dumps(
        {
            "logStreamName": f"copilot/{container}/{task}",
            "ingestionTime": 1795766401000,
            "message": message,
            "timestamp": 1795766400123,
        }
    )


def test_a_line_of_the_logs_has_its_time_container_and_task(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = deployed(settings, monkeypatch, event("web", "Booting \x1b[31mworker\n"))
    assert show_logs(here, "") == ["2026-11-27T08:00:00Z web/bbbbbbbb Booting worker"]
    assert isinstance(here.shell, FakeShell)
    assert f"--tasks={'a' * 32}" in here.shell.lines[-1]


def test_logs_leave_health_checks_out_and_still_show_as_many_lines(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = event("web", '10.0.0.1 "GET /healthz HTTP/1.1" 200 "ELB-HealthChecker/2.0"')
    lines = "\n".join([event("web", "one"), *[check] * 5, event("web", "two"), check, event("web", "three")])
    here = deployed(settings, monkeypatch, lines)
    (shown,) = show_logs(here, "web", limit="2")
    assert [line.split()[-1] for line in shown.splitlines()] == ["two", "three"]
    (shown,) = show_logs(deployed(settings, monkeypatch, lines), "web", limit="2", health_checks=True)
    assert "ELB-HealthChecker" in shown
    assert len(show_logs(deployed(settings, monkeypatch, lines), "web", follow=True)) == 3


def test_logs_of_all_tasks_are_asked_for_by_a_flag_and_where_none_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = deployed(settings, monkeypatch, "")
    show_logs(here, "", all_tasks=True)
    monkeypatch.setattr(live, "running", lambda *_: [])
    show_logs(here, "")
    assert isinstance(here.shell, FakeShell)
    assert not any("--tasks" in line for line in here.shell.lines)


@pytest.mark.parametrize("follow", [False, True])
def test_logs_of_a_container_that_is_not_there_fail_and_name_those_that_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *, follow: bool
) -> None:
    here = deployed(settings, monkeypatch, "")
    with pytest.raises(Failed, match=r"no container .nope.: it has redis, startup, web") as error:
        show_logs(here, "nope", follow=follow)
    assert error.value.exit_code == 4
    assert isinstance(here.shell, FakeShell)
    assert len(here.shell.ran) == (0 if follow else 1)  # else it would wait for lines that never come


def test_logs_of_a_container_that_a_roll_back_took_away_are_still_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = deployed(settings, monkeypatch, "copilot/mailpit/1 it did not start")
    show_logs(here, "mailpit")
    assert isinstance(here.report, FakeReport)
    assert here.report.printed == ["copilot/mailpit/1 it did not start"]


@pytest.mark.parametrize(("container", "definition"), [("startup", "arn:definition"), ("nope", None)])
def test_a_container_may_have_no_lines_yet(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, container: str, definition: str | None
) -> None:
    here = deployed(settings, monkeypatch, "", definition)
    show_logs(here, container)
    assert isinstance(here.report, FakeReport)
    assert here.report.printed == []


def test_logs_of_nothing_fail_without_copilot(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    here = deployed(settings, monkeypatch, "")
    monkeypatch.setattr(Aws, "stack", lambda *_: None)
    with pytest.raises(Failed, match="Nothing is deployed"):
        show_logs(here, "")
    assert isinstance(here.shell, FakeShell)
    assert here.shell.ran == []


def test_a_reset_of_the_sandbox_asks_first(settings: Settings) -> None:
    kept = settings.root / ".sandbox"
    kept.mkdir()
    asking = session(settings, {})
    with pytest.raises(Refused):
        asking.sandbox(stop=False, reset=True, yes=False, plan=False)
    assert kept.exists()
    asking.sandbox(stop=False, reset=True, yes=True, plan=False)
    assert not kept.exists()


@pytest.mark.parametrize(
    ("stop", "reset", "would"),
    [(False, False, "start it"), (True, False, "stop it"), (False, True, "delete all it keeps")],
)
def test_the_plan_of_the_sandbox_says_what_would_be_done_and_changes_nothing(
    settings: Settings, *, stop: bool, reset: bool, would: str
) -> None:
    (settings.root / ".sandbox").mkdir()
    before = list(settings.root.rglob("*"))
    asking = session(settings, {})
    asking.sandbox(stop=stop, reset=reset, yes=True, plan=True)
    assert isinstance(asking.report, FakeReport)
    assert f"The sandbox does not run. Would {would}" in asking.report.said[-1]
    assert list(settings.root.rglob("*")) == before


def test_stop_and_reset_together_are_a_usage_error(settings: Settings) -> None:
    with pytest.raises(UsageError):
        session(settings, {}).sandbox(stop=True, reset=True, yes=True, plan=False)


@pytest.mark.parametrize(
    ("raised", "ours"), [(sandbox_errors.WorkspaceError, SettingsError), (sandbox_errors.Failed, Failed)]
)
def test_an_error_of_the_sandbox_ends_a_task_as_one_of_its_own(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    raised: type[sandbox_errors.SandboxError],
    ours: type[Failed | SettingsError],
) -> None:
    def enter(*_: object, **__: object) -> None:
        raise raised("no Dockerfile")

    monkeypatch.setattr(lifecycle, "enter", enter)
    with pytest.raises(ours, match="no Dockerfile"):
        session(settings, {}).child_environment(start=False)
