"""Whatever is killed, no process of a task stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.sandbox.agent_tasks import FOREVER
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    completed,
    container,
    over,
    owned,
    running_agent,
    service,
    shell,
    until,
)


def test_a_task_whose_process_is_killed_leaves_nothing_and_is_replaced(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.wanted = [service(container("web", FOREVER))]
    with running_agent(plane, tmp_path, "namespace") as agent:
        until(lambda: completed(agent))
        (first,) = plane.live()
        leader = next(
            each
            for each in owned(tmp_path)
            if "copilot_sandbox.agent.task import main" in " ".join(each.cmdline())
        )
        containers = leader.children()
        leader.kill()
        task = over(plane)
        psutil.wait_procs(containers, timeout=5)
        assert not any(each.is_running() for each in containers)
        assert (task.id, task.stopped_reason) == (first.id, "The task's process ended unexpectedly (killed)")
        until(lambda: [each for each in plane.live() if each.status == "RUNNING"])


AGENT_TO_KILL = """
import sys, time
from pathlib import Path
from tests.sandbox.fake_control_plane import *
plane = FakeControlPlane(wanted=[service(container("web", shell("trap '' TERM; while :; do sleep 1; done")))])
with running_agent(plane, Path(sys.argv[1])) as agent:
    until(lambda: completed(agent))
    print("up", flush=True)
    time.sleep(60)
"""


def test_when_the_agent_is_killed_its_tasks_end_and_the_next_agent_cleans_up(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    path = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", AGENT_TO_KILL, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"up\n"
        assert len(owned(tmp_path)) >= 2
        agent.send_signal(signal.SIGKILL)
    until(lambda: not owned(tmp_path), 3)
    assert len(list((tmp_path / "state/tasks").iterdir())) == 1
    with running_agent(plane, tmp_path, "loopback"):
        assert list((tmp_path / "state/tasks").iterdir()) == []


def test_the_agent_ends_what_a_killed_one_left_running(plane: FakeControlPlane, tmp_path: Path) -> None:
    task_id = "0" * 32
    (tmp_path / "state/tasks" / task_id / "web").mkdir(parents=True, mode=0o500)
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "SANDBOX_TASK": task_id}) as leftover:
        with running_agent(plane, tmp_path, "loopback"):
            assert leftover.wait(5) == -signal.SIGKILL
        assert list((tmp_path / "state/tasks").iterdir()) == []


def test_stopping_the_agent_is_quick_whatever_the_containers_want(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    stubborn = shell("trap '' TERM; echo ready; while :; do sleep 0.02; done")
    plane.wanted = [service(container("web", stubborn, stop_timeout=120), desired_count=2)]
    with running_agent(plane, tmp_path, "namespace"):
        until(lambda: len(plane.lines("web")) == 2)
        begun = time.monotonic()
    assert time.monotonic() - begun < 60
    assert [task.stopped_reason for task in plane.stopped()] == ["The sandbox was stopped."] * 2
