"""`exec`: a command in a deployed branch's image, by a one-off task."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

import pytest

from copilot_testenv.aws.stack import ContainerDefinition, Stack, TaskDefinition
from copilot_testenv.core import display
from copilot_testenv.core.errors import Failed, Held, Refused, UsageError
from copilot_testenv.core.process import Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import run_command
from copilot_testenv.deploys.run_command import Options
from copilot_testenv.session import Session
from copilot_testenv.state import bucket
from copilot_testenv.state.lease import Lease
from tests.deploys.test_copy_db import CHAIN, GROUP, STACK, Played, defined, on, ran, said
from tests.fakes import FakeReport, FakeShell, Memory, made


def printed(session: Session) -> list[str]:
    assert isinstance(session.report, FakeReport)
    return session.report.printed


@pytest.mark.parametrize(
    ("options", "line"),
    [(Options("echo a, b"), "echo a, b"), (Options(manage="echo a, b"), "python manage.py echo a, b")],
    ids=["a shell's line", "manage.py"],
)
def test_a_command_runs_with_the_images_own_variables_and_its_lines_are_the_result(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, options: Options, line: str
) -> None:
    aws = Played(lines=["one", "postgres://me:secret@db/x", "three"])
    followed = Result(0, f"copilot-task/{GROUP}/new one\n✔ Task has stopped.\n")
    here = on(settings, aws, monkeypatch, task_run=followed)
    run_command.run(here, options)
    (command,) = ran(here)
    assert "sh -c" in command
    assert f"TESTENV_COMMAND={line} " in command
    assert "--secrets=DATABASE_URL=/copilot/x" in command
    assert printed(here) == ["one", "postgres://***", "three"]


def test_the_values_of_the_containers_secrets_and_the_lines_of_a_key_are_not_printed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "_of_names", [])
    key = ("TLS=-----BEGIN PRIVATE KEY-----", "not base64, but secret", "-----END PRIVATE KEY-----")
    lines = ["PATH=/bin", "SECRET_KEY=abc", "BASIC_AUTH=ada:lovelace", *key, "LANG=C"]
    task = defined("sh", "-c", CHAIN)
    startup = replace(task.containers[1], secrets={"BASIC_AUTH": "/copilot/x"})
    aws = Played(lines=lines, definition=replace(task, containers=(startup,)))
    here = on(settings, aws, monkeypatch, task_run=Result(0, "✔ Task has stopped.\n"))
    run_command.run(here, Options("env"))
    shown = ["PATH=/bin", "SECRET_KEY=***", "BASIC_AUTH=***", "TLS=***", "LANG=C"]
    assert printed(here) == shown


def test_a_command_that_prints_nothing_is_not_silent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on(settings, Played(lines=[]), monkeypatch, task_run=Result(0, "✔ Task has stopped.\n"))
    run_command.run(here, Options(manage="check --tag x"))
    assert said(here).endswith("The command has ended without an error and printed nothing.")
    assert printed(here) == []


@pytest.mark.parametrize(
    ("terminal", "lines"), [(True, ["one", "three", "two"]), (False, ["one", "two", "three"])]
)
def test_a_line_that_copilot_missed_is_in_its_place_where_a_program_reads(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lines: list[str], *, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    followed = Result(0, "".join(f"copilot-task/{GROUP}/new {line}\n" for line in ("one", "three")))
    here = on(settings, Played(lines=["one", "two", "three"]), monkeypatch, task_run=followed)
    run_command.run(here, Options("x"))
    assert printed(here) == lines


@pytest.mark.parametrize("code", [1, 2, 3, 137])
def test_a_command_that_fails_ends_with_4_and_its_exit_code_is_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    aws = Played(code=code, lines=["django.db.utils.ProgrammingError: no such table"])
    here = on(settings, aws, monkeypatch, task_run=Result(1))
    with pytest.raises(Failed, match=rf"exit code {code}: no such table") as error:
        run_command.run(here, Options(manage="x"))
    assert error.value.exit_code == 4


class Several(Played):
    """An AWS where the worker is a service of the slot."""

    def stack(self, name: str) -> Stack | None:
        worker = replace(STACK, name="demo-test-worker", tags={**made("worker", "feature/x"), "slot": "web"})
        tagged = replace(STACK, tags={**STACK.tags, "services": "worker"})
        return {"demo-test-web": tagged, "demo-test-worker": worker}[name]

    def resource(self, stack: str, logical_id: str) -> str | None:
        if logical_id == "TaskDefinition":
            container = ContainerDefinition(stack.removeprefix("demo-test-"), f"image-of-{stack}", (), {}, {})
            self.definition = TaskDefinition("256", "512", "arn:role", (container,))
        return super().resource(stack, logical_id)


def test_a_command_runs_as_another_service_of_the_branch_in_that_services_image(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on(settings, Several(lines=["done"]), monkeypatch, task_run=Result(0, "✔ Task has stopped.\n"))
    run_command.run(here, Options(manage="check", service="worker"))
    (command,) = ran(here)
    assert "--image=image-of-demo-test-worker " in command
    assert "TESTENV_COMMAND=python manage.py check " in command
    assert f"--task-group-name={GROUP} " in command  # it goes with the slot at its teardown
    run_command.run(here, Options("x", service="worker", plan=True))
    assert said(here).endswith("Would run in a one-off task of worker of feature/x: x")
    with pytest.raises(
        UsageError, match="--service beat is not a service of this deployment: it has web, worker"
    ):
        run_command.run(here, Options("x", service="beat"))


def test_a_plan_says_the_line_and_runs_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on(settings, Played(), monkeypatch)
    run_command.run(here, Options(manage="check", plan=True))
    assert ran(here) == []
    assert said(here).endswith("Would run in a one-off task of feature/x: python manage.py check")


@pytest.mark.parametrize(
    "options", [Options(), Options("  "), Options("x", "y"), Options("x" * 8001), Options(manage="x" * 8001),
     Options(manage="dbshell "), Options(manage="shell")],
)  # fmt: skip
def test_a_command_that_is_missing_twice_there_too_long_or_wants_a_terminal_is_usage(
    settings: Settings, options: Options
) -> None:
    session = Session(settings, None, FakeReport(), {})  # type: ignore[arg-type]  # it is not reached
    with pytest.raises(UsageError, match="command"):
        run_command.run(session, options)


def test_without_a_deployment_there_is_nothing_to_run_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failed, match="Nothing is deployed"):
        run_command.run(on(settings, Played(None), monkeypatch), Options("x"))


def test_a_slot_that_another_run_holds_is_left_to_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, store = on(settings, Played(), monkeypatch), Memory()
    monkeypatch.setattr(bucket, "lease", lambda *_: Lease(store, "web in test", "ada", "running"))
    with (
        Lease(store, "web in test", "grace", "deploying").held(wait=False, say=here.report.say),
        pytest.raises(Held, match="grace"),
    ):
        run_command.run(here, Options("x"))
    assert ran(here) == []


@pytest.mark.parametrize(
    ("command", "called"),
    [
        (("sh", "-c", "python manage.py copy_stage_db && python manage.py migrate"), "python manage.py"),
        (("sh", "-c", "cd src && poetry run ./manage.py copy_stage_db"), "cd src && poetry run ./manage.py"),
        (("sh", "-c", "./wait.sh; export A=1; django-admin copy_stage_db"), "export A=1 && django-admin"),
        (("sh", "-c", "\nset -e\npython app/manage.py copy_stage_db"), "set -e && python app/manage.py"),
        (("uv", "run", "manage.py", "copy_stage_db"), "uv run manage.py"),
        (("gunicorn",), "python manage.py"),
    ],
)
def test_manage_py_is_called_as_the_container_that_copies_does(command: tuple[str, ...], called: str) -> None:
    assert run_command.manage_py(ContainerDefinition("startup", "image", command, {}, {})) == called


def test_without_a_container_that_copies_it_is_the_services_own(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on(settings, Played(definition=defined("true")), monkeypatch)
    run_command.run(here, Options(manage="x", plan=True))
    assert said(here).endswith(": python manage.py x")


def test_a_login_is_told_once_and_only_its_hash_leaves_this_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.contrib.auth.hashers import PBKDF2PasswordHasher  # noqa: PLC0415 - only here

    here = on(settings, Played(), monkeypatch)
    run_command.run(here, Options(login="tester"))
    (command,) = ran(here)
    assert "TESTENV_COMMAND=python manage.py copy_stage_db --test-user tester " in command
    told = [line for line in said(here).splitlines() if "Log in as tester" in line]
    (password,) = re.findall(r"with the password (\S{16}) until", "\n".join(told))
    assert len(told) == 1
    assert password not in command
    assert printed(here) == []
    assert isinstance(here.shell, FakeShell)
    (words,) = [each.argv for each in here.shell.ran if "run" in each.argv]
    (hashed,) = [word for word in words if "TEST_USER_HASH" in word]
    assert PBKDF2PasswordHasher().verify(password, hashed.partition("HASH=")[2])


def test_no_login_is_made_in_ci_or_for_a_plan(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on(settings, Played(), monkeypatch)
    with pytest.raises(Refused, match="CI"):
        run_command.run(replace(here, environ={"CI": "true"}), Options(login="tester"))
    run_command.run(here, Options(login="a b", plan=True))
    assert ran(here) == []
    assert said(here).endswith(": python manage.py copy_stage_db --test-user 'a b'")
