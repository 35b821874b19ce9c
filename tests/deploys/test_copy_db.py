from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws.stack import Container, ContainerDefinition, Stack, Task, TaskDefinition
from copilot_testenv.copilot.commands import VERSION, Copilot
from copilot_testenv.core.errors import Failed, Interrupted, Refused, SettingsError, UserError
from copilot_testenv.core.process import Command, Result
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import copy_db
from copilot_testenv.session import Session, Target
from copilot_testenv.state import bucket, last_copy, live
from copilot_testenv.state.lease import Lease
from copilot_testenv.state.registry import Registry, RegistryContent
from tests.fakes import DisposableAws, FakeReport, FakeShell, Memory, made

CHAIN = (
    "python manage.py copy_stage_db && python manage.py migrate --noinput && python manage.py collectstatic"
)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
STACK = Stack("demo-test-web", "UPDATE_COMPLETE", made("web", "feature/x"), NOW)
GROUP = "demo-test-web-copy-db"
KNOWN = {
    "--version": Result(0, f"copilot version: {VERSION}"),
    "env ls": Result(0, '{"environments": [{"name": "test"}]}'),
    "svc show": Result(0, '{"routes": []}'),
}


def defined(*command: str) -> TaskDefinition:
    web = ContainerDefinition("web", "repo@sha256:1", (), {}, {})
    secrets = {"DATABASE_URL": "/copilot/x"}
    startup = ContainerDefinition("startup", "repo@sha256:1", command, {"A": "1"}, secrets)
    return TaskDefinition("256", "512", "arn:role", (web, startup))


@dataclass
class Played(DisposableAws):
    """An AWS where Copilot's one-off task does what the test says."""

    found: Stack | None = STACK
    definition: TaskDefinition = field(default_factory=lambda: defined("sh", "-c", CHAIN))
    shell: FakeShell | None = None
    code: int | None = 0
    begins: bool = True
    lines: list[str] = field(default_factory=list)
    logs: dict[tuple[str, str], list[tuple[int, str]]] = field(default_factory=dict)
    noted: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        super().__init__({})

    def stack(self, name: str) -> Stack | None:
        assert name == "demo-test-web"
        return self.found

    def resource(self, stack: str, logical_id: str) -> str | None:
        assert stack
        return f"arn:x:service/cluster/{logical_id}"

    def address(self, stack: str) -> str | None:
        assert stack == "demo-test-web"
        return None

    def desired_count(self, stack: str) -> int | None:
        assert stack == "demo-test-web"
        return 1

    def task_definition(self, arn: str) -> TaskDefinition:
        assert arn.endswith("TaskDefinition")
        return self.definition

    def tasks(self, cluster: str, service: str) -> list[Task]:
        assert (cluster, service) == ("cluster", "Service")
        return []

    def tasks_of_family(self, cluster: str, family: str) -> list[Task]:
        assert (cluster, family) == ("cluster", f"copilot-{GROUP}")
        ran = self.shell is not None and any("task run" in line for line in self.shell.lines)
        ended = (Container(GROUP, "STOPPED", self.code, ""),)
        task = Task("new", "STOPPED", "UNKNOWN", "arn", NOW, "CannotPullContainerError", ended)
        old = replace(task, id="old")
        return [old, task] if ran and self.begins else [old]

    def last_lines(self, group: str, stream: str, limit: int) -> list[str]:
        assert (group, stream, limit) == (f"/copilot/{GROUP}", f"copilot-task/{GROUP}/new", 10_000)
        return self.lines

    def last_events(self, group: str, stream: str, limit: int) -> list[tuple[int, str]]:
        assert limit
        return self.logs.get((group, stream), [])

    def newest_streams(self, group: str, most: int) -> list[str]:
        assert most
        return [stream for where, stream in self.logs if where == group == f"/copilot/{GROUP}"]


def on(settings: Settings, aws: Played, monkeypatch: pytest.MonkeyPatch, **answers: Result) -> Session:
    shell = FakeShell({**KNOWN, **{name.replace("_", " "): result for name, result in answers.items()}})
    aws.shell = shell
    here = Target({}, Copilot(settings, {}, settings.root), aws)
    monkeypatch.setattr(Session, "enter", lambda *_, **__: here)
    monkeypatch.setattr(bucket, "lease", lambda *_: Lease(Memory(), "web in test", "ada", "copying"))
    monkeypatch.setattr(bucket, "registry", lambda *_: Registry(aws.noted))
    return Session(settings, shell, FakeReport(), {})


def said(session: Session) -> str:
    assert isinstance(session.report, FakeReport)
    return "\n".join(session.report.said)


def ran(session: Session) -> list[str]:
    assert isinstance(session.shell, FakeShell)
    return [line for line in session.shell.lines if "task run" in line]


@pytest.mark.parametrize(
    ("command", "repeated"),
    [
        (("sh", "-c", CHAIN), "python manage.py copy_stage_db --fresh && python manage.py migrate --noinput"),
        (
            ("sh", "-c", f"python manage.py reset_db --noinput --close-sessions && {CHAIN}"),
            "python manage.py copy_stage_db --fresh && python manage.py migrate --noinput",
        ),
        (("bash", "-ec", "./manage.py copy_stage_db"), "./manage.py copy_stage_db --fresh"),
    ],
)
def test_of_the_startup_chain_the_copy_and_migrate_are_repeated(
    command: tuple[str, ...], repeated: str
) -> None:
    task = copy_db.one_off(defined(*command))
    assert task
    assert task.command == ("sh", "-c", repeated)
    assert (task.image, task.cpu, task.memory, task.role) == ("repo@sha256:1", "256", "512", "arn:role")
    assert task.secrets == {"DATABASE_URL": "/copilot/x"}


def test_a_copy_without_a_shell_is_repeated_as_it_stands() -> None:
    task = copy_db.one_off(defined("python", "manage.py", "copy_stage_db"))
    assert task
    assert task.command == ("python", "manage.py", "copy_stage_db", "--fresh")


def test_an_entry_point_that_the_manifest_replaces_is_replaced_in_the_one_off_task_too() -> None:
    definition = defined(CHAIN)
    startup = replace(definition.containers[1], entry_point=("sh", "-c"))
    task = copy_db.one_off(replace(definition, containers=(startup,)))
    assert task
    assert (task.entry_point, task.command[0]) == (("sh",), "-c")
    assert task.command[1].startswith("python manage.py copy_stage_db --fresh && ")


def test_the_task_runs_and_all_of_its_lines_are_told_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(lines=["one", "two", "three"])
    followed = Result(0, f"copilot-task/{GROUP}/new one\n✔ Task has stopped.\n")
    here = on(settings, aws, monkeypatch, task_run=followed)
    copy_db.copy(here, name="", wait=False, yes=True, plan=False, json=True)
    (line,) = ran(here)
    assert "--secrets=DATABASE_URL=/copilot/x" in line
    assert said(here).endswith("  one\n  two\n  three")
    assert isinstance(here.report, FakeReport)
    assert '"branch": "feature/x"' in here.report.printed[0]
    assert RegistryContent.of(aws.noted.body).deployments["web"].branch == "feature/x"


@pytest.mark.parametrize(
    ("followed", "told"),
    [
        (("one", "three"), ("one", "three", "two", "four")),  # passed over in the middle, and at the end
        (("two", "three", "four"), ("one", "two", "three", "four")),  # at the beginning
        (("one", "two", "three", "four"), ("one", "two", "three", "four")),
        ((), ("one", "two", "three", "four")),
    ],
)
def test_a_line_that_copilot_passed_over_is_told_and_no_line_twice(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, followed: tuple[str, ...], told: tuple[str, ...]
) -> None:
    output = "".join(f"copilot-task/{GROUP}/new {line}\n" for line in followed)
    aws = Played(lines=["one", "two", "three", "four"])
    here = on(settings, aws, monkeypatch, task_run=Result(0, output))
    copy_db.copy(here, name="", wait=False, yes=True, plan=False, json=False)
    lines = [line.strip() for line in said(here).splitlines() if line.startswith("  ")]
    assert lines == [*told]


HOST = copy_db.Host("cluster", defined("sh", "-c", CHAIN), "web")


def test_the_databases_are_those_of_the_document_that_the_task_prints(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(lines=["[INFO] starting", '["no"]', "more", '["test_a", "test_b"]', 'copy_stage_db: "x"'])
    here = on(settings, aws, monkeypatch)
    target = here.enter_to_change()
    assert target
    assert copy_db.databases(here, target, HOST) == ["test_a", "test_b"]
    (line,) = ran(here)
    assert "copy_stage_db --list-databases --json" in line


def test_of_its_own_database_a_deployment_is_told_whether_it_was_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(
        lines=['[{"database": "test_x", "dropped": true}, {"database": "test_y", "dropped": false}]']
    )
    here = on(settings, aws, monkeypatch)
    target = here.enter_to_change()
    assert target
    monkeypatch.setattr(live, "task_group", lambda _: GROUP)
    own = replace(here, settings=settings.isolated_for("x"))
    assert copy_db.drop_own(own, target, HOST) == ["test_x"]


def test_several_branches_databases_are_dropped_by_one_task_and_each_is_known_by_its_suffix(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = [("test_a", "true"), ("test_b_a", "false")]
    lines = [f'[{{"database": "{name}", "dropped": {was}}}]' for name, was in dropped]
    aws = Played(lines=["starting", lines[0], "CommandError: no mark", lines[1]])
    here = on(settings, aws, monkeypatch)
    target = here.enter_to_change()
    assert target
    slots = [settings.isolated_for(slug) for slug in ("a", "c", "b-a")]
    assert copy_db.drop_several(here, target, HOST, slots) == {"web-a": ["test_a"], "web-b-a": []}
    assert "  CommandError: no mark" in said(here)
    assert '"dropped"' not in said(here)  # the answers are for the task, not for a person
    (line,) = ran(here)
    for suffix in ("_a", "_c", "_b_a"):
        assert f"DATABASE_SUFFIX={suffix} python manage.py copy_stage_db --drop-own-database --json;" in line


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ['copy_stage_db: databases ["test_a"]'],  # an earlier version
        ['{"databases": ["test_a"]}'],
        ["[1]"],
        ['["test_a", null]'],
        [f'["{64 * "a"}"]'],
        [f"[{400_000 * '['}"],
    ],
)
def test_a_task_that_prints_no_result_is_told_with_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    here = on(settings, Played(lines=lines), monkeypatch)
    target = here.enter_to_change()
    assert target
    with pytest.raises(Failed, match="Deploy its branch again from here"):
        copy_db.databases(here, target, HOST)


@pytest.mark.parametrize(("code", "error"), [(2, SettingsError), (3, Refused), (4, Failed), (1, Failed)])
def test_the_tasks_exit_code_and_reason_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, code: int, error: type[UserError]
) -> None:
    aws = Played(code=code, lines=["CommandError: no mark", "and more"])
    here = on(settings, aws, monkeypatch, task_run=Result(1))
    with pytest.raises(error, match=rf"exit code {code}: no mark"):
        copy_db.copy(here, name="", wait=False, yes=True, plan=False, json=False)


def test_a_task_that_never_ran_is_told_with_ecss_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Failed, match="did not start: CannotPullContainerError"):
        copy_db.copy(
            on(settings, Played(code=None), monkeypatch),
            name="",
            wait=False,
            yes=True,
            plan=False,
            json=False,
        )
    refused = Result(1, "", "✘ provision resources for task: AccessDenied")
    here = on(settings, Played(begins=False), monkeypatch, task_run=refused)
    with pytest.raises(Failed, match="AccessDenied"):
        copy_db.copy(here, name="", wait=False, yes=True, plan=False, json=False)


def test_ctrl_c_says_that_the_task_goes_on(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on(settings, Played(), monkeypatch)

    def interrupted(command: Command, *_: object) -> Result:
        import os  # noqa: PLC0415
        import signal  # noqa: PLC0415

        os.kill(os.getpid(), signal.SIGINT)
        return here.shell.run(command)

    monkeypatch.setattr(here.shell, "stream", interrupted)
    with pytest.raises(Interrupted, match="goes on"):
        copy_db.copy(here, name="", wait=False, yes=True, plan=False, json=False)


def test_nothing_runs_without_a_yes_or_where_only_the_plan_is_asked_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = on(settings, Played(), monkeypatch)
    with pytest.raises(Refused):
        copy_db.copy(here, name="", wait=False, yes=False, plan=False, json=False)
    copy_db.copy(here, name="", wait=False, yes=False, plan=True, json=False)
    assert ran(here) == []
    assert "Would replace the data of feature/x with a fresh copy of staging's" in said(here)
    assert "copilot" not in said(here)


@pytest.mark.parametrize("status", [None, "ROLLBACK_COMPLETE"])
def test_where_nothing_is_served_there_is_nothing_to_copy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, status: str | None
) -> None:
    aws = Played(replace(STACK, status=status) if status else None)
    with pytest.raises(Failed, match="Nothing is deployed"):
        copy_db.copy(on(settings, aws, monkeypatch), name="", wait=False, yes=True, plan=False, json=False)


def test_how_long_a_copy_took_is_noted_for_the_check(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played()
    aws.logs[f"/copilot/{GROUP}", "copilot-task/x/1"] = [
        (1, "copy_stage_db: the copy took 61.5 s"),
        (2, 'copy_stage_db: data of 2026-11-20T10:00:00+00:00 in "test"'),
    ]
    copy_db.copy(on(settings, aws, monkeypatch), name="", wait=False, yes=True, plan=False, json=False)
    assert last_copy.seconds(settings) == 61.5


def test_a_service_that_never_copies_is_a_settings_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = Played(definition=defined("sh", "-c", "python manage.py migrate"))
    with pytest.raises(SettingsError, match="No container of web"):
        copy_db.copy(on(settings, aws, monkeypatch), name="", wait=False, yes=True, plan=False, json=False)


def test_the_data_are_those_that_the_copy_spoke_of_last(settings: Settings) -> None:
    aws = Played()
    here = Target({}, Copilot(settings, {}, settings.root), aws)
    ended = (Container("startup", "STOPPED", 0, ""), Container("web", "RUNNING", None, ""))
    tasks = [Task("t", "RUNNING", "HEALTHY", "arn", NOW, "", ended)]
    assert live.copied_data(settings, here, tasks) is None
    aws.logs["/copilot/demo-test-web", "copilot/startup/t"] = [
        (1, "copy_stage_db: the copy took 12.5 s"),
        (1, 'copy_stage_db: data of 2026-11-20T10:00:00+00:00 in "test"'),
        (2, "Operations to perform"),
    ]
    found = live.copied_data(settings, here, tasks)
    assert found
    assert (live.iso(found.of), found.database) == ("2026-11-20T10:00:00Z", "test")
    assert found.seconds == 12.5
    aws.logs[f"/copilot/{GROUP}", "copilot-task/x/1"] = [
        (3, 'copy_stage_db: data of 2026-11-19T10:00:00+00:00 in "test_x"')
    ]
    found = live.copied_data(settings, here, tasks)
    assert found
    assert (live.iso(found.of), found.database) == ("2026-11-19T10:00:00Z", "test_x")
    assert found.seconds is None
    aws.logs[f"/copilot/{GROUP}", "copilot-task/x/1"] = [(4, "copy_stage_db: data of 2026-x")]
    assert live.copied_data(settings, here, tasks) is None
