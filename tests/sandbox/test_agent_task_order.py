"""The containers of a task start, are checked and stop in the order of their dependencies."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import HealthCheck
from tests.sandbox.agent_tasks import FOREVER, WAYS, run_once
from tests.sandbox.fake_control_plane import (
    SERVICE,
    FakeControlPlane,
    completed,
    container,
    over,
    owned,
    python,
    running_agent,
    service,
    shell,
    stopped_containers,
    until,
)


@pytest.mark.parametrize("way", WAYS)
def test_a_container_that_depends_on_success_waits_for_exit_zero(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    plane.wanted = [
        service(
            container("web", shell("date +%s.%N; exec sleep 60"), depends_on={"startup": "SUCCESS"}),
            container("startup", shell("sleep 0.3; date +%s.%N"), essential=False),
        )
    ]
    with running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent))
        until(lambda: plane.lines("web"))
    assert float(plane.lines("startup")[0]) < float(plane.lines("web")[0])


def test_a_container_whose_dependency_fails_is_stopped_with_ecss_words(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    task = run_once(
        plane,
        tmp_path,
        container("web", shell("echo started"), depends_on={"startup": "SUCCESS"}),
        container("startup", shell("echo no such table >&2; exit 3"), essential=False),
    )
    assert stopped_containers(task) == {"web": 143, "startup": 3}
    assert task.stop_code == "TaskFailedToStart"
    assert task.stopped_reason == (
        "CannotStartContainerError: dependency graph: failed to resolve container ordering dependency "
        "[startup (STOPPED) - Exit: 3] for target [web] as dependency did not exit successfully."
    )
    assert task.started_at is None
    assert plane.lines("web") == []
    assert "no such table" in plane.lines("startup")


def test_complete_is_content_with_any_exit_code(plane: FakeControlPlane, tmp_path: Path) -> None:
    task = run_once(
        plane,
        tmp_path,
        container("web", shell("exit 5"), depends_on={"startup": "COMPLETE"}),
        container("startup", shell("exit 3"), essential=False),
    )
    assert stopped_containers(task) == {"web": 5, "startup": 3}


def test_start_waits_for_the_start_alone(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.wanted = [
        service(container("web", FOREVER, depends_on={"other": "START"}), container("other", FOREVER))
    ]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))


def test_healthy_waits_for_the_health_check(plane: FakeControlPlane, tmp_path: Path) -> None:
    check = HealthCheck(("CMD-SHELL", "test -f ready"), interval=0.1, start_period=5)
    plane.wanted = [
        service(
            container("web", shell("date +%s.%N; exec sleep 60"), depends_on={"db": "HEALTHY"}),
            container("db", shell("sleep 0.4; date +%s.%N; touch ready; exec sleep 60"), health_check=check),
        )
    ]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        (task,) = plane.live()
        until(lambda: plane.lines("web"))
    assert task.health == "HEALTHY"
    assert float(plane.lines("db")[0]) < float(plane.lines("web")[0])


@pytest.mark.parametrize("script", [shell("exit 0"), FOREVER], ids=["that has ended", "that is unhealthy"])
def test_healthy_can_not_be_met_by_a_container(
    plane: FakeControlPlane, tmp_path: Path, script: tuple[str, ...]
) -> None:
    check = HealthCheck(("CMD", "false"), interval=0.05, retries=2)
    task = run_once(
        plane,
        tmp_path,
        container("web", FOREVER, depends_on={"db": "HEALTHY"}),
        container("db", script, essential=False, health_check=check),
    )
    assert "for target [web] as dependency can't reach HEALTHY" in (task.stopped_reason or "")


def test_a_health_check_that_takes_too_long_fails(plane: FakeControlPlane, tmp_path: Path) -> None:
    check = HealthCheck(("CMD", "sleep", "30"), interval=0.05, timeout=0.1, retries=2)
    plane.wanted = [service(container("web", FOREVER, health_check=check), grace_period=0)]
    with running_agent(plane, tmp_path, "loopback"):
        assert over(plane).stopped_reason == "Task failed container health checks"


def test_failures_in_the_start_period_do_not_count(plane: FakeControlPlane, tmp_path: Path) -> None:
    check = HealthCheck(("CMD-SHELL", "test -f ready"), interval=0.05, retries=1, start_period=20)
    plane.wanted = [
        service(container("web", shell("sleep 0.6; touch ready; exec sleep 60"), health_check=check))
    ]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        assert plane.stopped() == []


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_end_of_an_essential_container_stops_the_task(
    plane: FakeControlPlane, tmp_path: Path, script: str, code: int
) -> None:
    task = run_once(
        plane,
        tmp_path,
        container("web", shell(script), depends_on={"redis": "START"}),
        container("redis", FOREVER),
    )
    assert task.stop_code == "EssentialContainerExited"
    assert task.stopped_reason == f"Essential container in task exited (web, exit code {code})"
    assert stopped_containers(task) == {"web": code, "redis": 143}


def test_the_end_of_a_container_that_is_not_essential_stops_nothing(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.wanted = [service(container("web", FOREVER), container("once", shell("exit 1"), essential=False))]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        (task,) = until(lambda: [each for each in plane.live() if each.containers[1].status == "STOPPED"])
        assert task.status == "RUNNING"


def test_containers_are_stopped_in_the_reverse_order_of_their_dependencies(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    script = shell("trap 'sleep 0.1; date +%s.%N; exit 0' TERM; while :; do sleep 0.02; done")
    plane.wanted = [
        service(
            container("db", script),
            container("app", script, depends_on={"db": "START"}),
            container("proxy", script, depends_on={"app": "START"}),
        )
    ]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        time.sleep(0.1)  # the shells set their traps
        plane.wanted = []
        agent.wake()
        until(lambda: agent.drained(SERVICE))
    times = [float(plane.lines(name)[-1]) for name in ("proxy", "app", "db")]
    assert all(earlier < later for earlier, later in pairwise(times))


def test_what_ignores_sigterm_is_killed_after_its_stop_timeout(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.02; done")
    plane.wanted = [service(container("web", stubborn, stop_timeout=0.4))]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: plane.lines("web"))
        plane.wanted = []
        begun = time.monotonic()
        agent.wake()
        until(lambda: agent.drained(SERVICE))
        assert time.monotonic() - begun >= 0.4
    assert stopped_containers(over(plane)) == {"web": 137}


def test_the_whole_process_group_ends_with_its_container(plane: FakeControlPlane, tmp_path: Path) -> None:
    run_once(plane, tmp_path, container("web", shell("sleep 61 & sleep 61 & exit 0")))
    assert owned(tmp_path) == []


def test_a_daemon_that_left_its_session_ends_with_the_task(plane: FakeControlPlane, tmp_path: Path) -> None:
    daemon = python(
        "-c", "import os, time; os.fork() and (time.sleep(0.3), os._exit(0)); os.setsid(); time.sleep(60)"
    )
    plane.wanted = [service(container("web", FOREVER), container("side", daemon, essential=False))]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        until(lambda: any("time.sleep" in " ".join(each.cmdline()) for each in owned(tmp_path)))
        plane.wanted = []
        agent.wake()
        until(lambda: agent.drained(SERVICE))
        assert owned(tmp_path) == []
