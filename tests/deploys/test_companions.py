from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from copilot_testenv.aws.stack import Container, Stack, Task
from copilot_testenv.copilot.commands import Copilot
from copilot_testenv.core.git import Branch
from copilot_testenv.core.process import Stop
from copilot_testenv.core.settings import Settings
from copilot_testenv.deploys import companions, deploy, logs
from copilot_testenv.deploys.outcome import Served
from copilot_testenv.session import Session, Target
from copilot_testenv.state import live
from tests.deploys.test_deploy import URL, OneStack, page, waiting
from tests.fakes import FakeReport, FakeShell

CRASH = ("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'celery'")


def task(*containers: Container) -> Task:
    web = Container("web", "RUNNING", None, "")
    startup = Container("startup", "STOPPED", 0, "")
    return Task("a" * 32, "RUNNING", "UNKNOWN", "arn:1", None, "", (web, startup, *containers))


def served(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *looks: Task, services: tuple[str, ...]
) -> Served:
    """The deployment whose task looks like these, one look after another."""
    own = replace(settings, services=services)
    wait, _ = waiting(own, monkeypatch, "sandbox", page(None, 200), *CRASH)
    left = list(looks)
    monkeypatch.setattr(live, "running", lambda *_: [left.pop(0) if len(left) > 1 else left[0]])
    monkeypatch.setattr(companions, "lines_of_ended", lambda *_: list(CRASH))
    monkeypatch.setattr(companions, "STEADY_SECONDS", 0.5)
    return wait(Stop(10))


RUNNING, CRASHED = (Container("worker", "RUNNING", None, ""), Container("worker", "STOPPED", 1, ""))


def test_a_worker_that_ends_after_the_page_answers_is_wrong_with_its_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = served(settings, monkeypatch, task(RUNNING), task(CRASHED), services=("web", "worker"))
    assert found.ended == ("worker",)
    first, *rest = found.wrong.splitlines()
    assert first.startswith(
        "the container `worker` has ended with exit code 1: ModuleNotFoundError: No module named 'celery'. "
    )
    assert f"{URL} answers" in first
    assert rest == [f"  {line}" for line in CRASH]


def test_a_service_does_not_end_so_that_exit_code_0_is_wrong_too_and_each_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = (Container("worker", "STOPPED", 0, ""), Container("beat", "STOPPED", None, "OutOfMemory"))
    found = served(settings, monkeypatch, task(*both), services=("web", "worker", "beat"))
    assert found.ended == ("worker", "beat")
    assert "exit code 0" in found.wrong
    assert "So has beat." in found.wrong


@pytest.mark.parametrize(
    ("containers", "services"),
    [
        ((RUNNING,), ("web", "worker")),
        ((CRASHED,), ()),
        ((CRASHED,), ("web", "beat")),
        ((), ("web", "worker")),
    ],
)
def test_what_runs_and_what_the_setting_does_not_name_is_served(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    containers: tuple[Container, ...],
    services: tuple[str, ...],
) -> None:
    found = served(settings, monkeypatch, task(*containers), services=services)
    assert (found.wrong, found.ended) == ("", ())


def test_logs_say_which_has_ended_since(settings: Settings) -> None:
    report = FakeReport()
    own = replace(settings, services=("web", "worker"))
    logs._tell_ended(Session(own, FakeShell(), report, {}), [task(CRASHED), task(RUNNING)])
    (said,) = report.said
    assert said.startswith("worker has ended with exit code 1 in the task aaaaaaaa, which goes on without it")


def test_a_branch_without_the_sidecar_is_told_that_nothing_does_its_work(settings: Settings) -> None:
    own = replace(settings, services=("web", "worker", "beat", "mails"))
    placed = {"sidecars": {"mails": {}}, "environments": {"test": {"sidecars": {"worker": {}}}}}
    (line,) = companions.missing(own, placed, "feature/x")
    assert line.startswith(
        "feature/x has no sidecar beat in test, so nothing does its work there: `invoke sid"
    )
    assert len(list(companions.missing(own, {"sidecars": [], "environments": {"test": 3}}, "x"))) == 3


def test_a_deploy_of_the_same_commit_does_not_call_a_dead_worker_served(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(settings, services=("web", "worker"))
    report, now, branch = FakeReport(), datetime.now(UTC), Branch("main", "c0ffee")
    target = Target({}, Copilot(own, {}, own.root), OneStack({}))
    run = deploy._Deploy(Session(own, FakeShell(), report, {}), target, branch, now, deploy.Options())
    tags = {"branch": "main", "commit": "c0ffee", "expires_at": live.iso(now)}
    monkeypatch.setattr(live, "running", lambda *_: [task(CRASHED)])
    monkeypatch.setattr(live, "describe", lambda *_: replace(live.deployment_of(own, tags), url=URL))
    monkeypatch.setattr(deploy, "open_page", lambda _: page(None, 200))
    found = run._served_already(Stack("demo-test-web", "UPDATE_COMPLETE", tags, now))
    assert found is not None
    assert found.ended == ("worker",)
    assert "has ended with exit code 1" in found.wrong
