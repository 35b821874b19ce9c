from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Container, HealthCheck, Mount, TaskReport
from tests.sandbox.fake_control_plane import (
    SERVICE,
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    make_image,
    over,
    owned,
    python,
    running_agent,
    server,
    service,
    shell,
    stopped_containers,
    until,
)

WAYS: list[Way] = ["namespace", "loopback"]
FOREVER = shell("exec sleep 60")


@pytest.fixture
def plane() -> FakeControlPlane:
    return FakeControlPlane()


def run_once(
    plane: FakeControlPlane, tmp_path: Path, *containers: Container, way: Way = "loopback"
) -> TaskReport:
    """The task's report once it has stopped by itself."""
    plane.wanted = [service(*containers, circuit_breaker=True)]
    with running_agent(plane, tmp_path, way):
        return over(plane)


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


def test_a_container_sees_nothing_of_the_users_environment(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PRIVATE_TOKEN", "leaked")
    plane.secrets = {"/copilot/demo/test/secrets/KEY": "s3cret"}
    task = run_once(
        plane,
        tmp_path,
        container("web", ("env",), environment={"A": "1"}, secrets={"KEY": "/copilot/demo/test/secrets/KEY"}),
    )
    lines = [line.split("=", 1) for line in plane.lines("web")]  # the service's next task may have run too
    found = dict(lines)
    assert set(found) == {"A", "HOME", "KEY", "LANG", "PATH", "SANDBOX_OWNER", "SANDBOX_TASK", "TZ"}
    assert found["KEY"] == "s3cret"
    assert ["SANDBOX_TASK", task.id] in lines


def test_secrets_are_in_no_command_line_and_in_no_file(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.secrets = {"KEY": "s3cret-value"}
    plane.wanted = [service(container("web", FOREVER, secrets={"KEY": "KEY"}))]
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: completed(agent))
        lines = [" ".join(each.cmdline()) for each in owned(tmp_path)]
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(lines) == 2  # the task's process and its container
    assert not any("s3cret" in line for line in lines)
    assert not any(b"s3cret" in content for content in files)


def test_a_container_works_on_its_own_copy_of_the_image(plane: FakeControlPlane, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    (tmp_path / "image/app").mkdir()
    (tmp_path / "image/app/notes").write_text("image\n")
    plane.wanted = [
        service(
            container("one", shell("cat notes; echo one >> notes; cat /app/notes; exec sleep 60")),
            container("two", shell("sleep 0.3; cat /app/notes; exec sleep 60")),
        )
    ]
    with running_agent(plane, tmp_path, "loopback", image=image):
        until(lambda: len(plane.lines("one")) == 3 and plane.lines("two"))
    assert plane.lines("one") == ["image", "image", "one"]
    assert plane.lines("two") == ["image"]
    assert (tmp_path / "image/app/notes").read_text() == "image\n"


def test_containers_share_a_volume_and_it_hides_what_the_image_has_there(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    image = make_image(tmp_path / "image")
    (tmp_path / "image/app/static").mkdir(parents=True)
    (tmp_path / "image/app/static/old").touch()
    mounts = (Mount("static", "/app/static", read_only=False),)
    plane.wanted = [
        service(
            container(
                "web", shell("ls static; exec sleep 60"), mounts=mounts, depends_on={"build": "SUCCESS"}
            ),
            container("build", shell("ls static; touch /app/static/new"), mounts=mounts, essential=False),
            volumes=("static",),
        )
    ]
    with running_agent(plane, tmp_path, "loopback", image=image):
        until(lambda: plane.lines("web"))
    assert (plane.lines("build"), plane.lines("web")) == ([], ["new"])


def test_a_program_that_is_missing_is_named(plane: FakeControlPlane, tmp_path: Path) -> None:
    task = run_once(plane, tmp_path, container("web", ("gunicron", "demo")))
    assert task.stopped_reason == (
        'CannotStartContainerError: exec: "gunicron": executable file not found in $PATH'
    )


def test_a_container_without_command_is_refused(plane: FakeControlPlane, tmp_path: Path) -> None:
    task = run_once(plane, tmp_path, container("web", None))
    assert "no command specified" in (task.stopped_reason or "")


def test_no_line_of_a_log_is_lost_and_lines_come_in_batches(plane: FakeControlPlane, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "for number in range(20000): print('out', number)\n"
        "print('err', file=sys.stderr)\n"
        "print('end', end='')"
    )
    task = run_once(plane, tmp_path, container("web", python("-c", script)))
    lines = plane.lines("web", task.id)
    assert sorted(lines) == sorted([*(f"out {number}" for number in range(20000)), "err", "end"])
    assert plane.log_calls < 1000
    stamps = [stamp for stamp, _ in plane.logs["/demo", f"ecs/web/{task.id}"]]
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] / 1000 - time.time()) < 10


def test_a_line_is_told_while_its_container_runs(plane: FakeControlPlane, tmp_path: Path) -> None:
    plane.wanted = [service(container("web", shell("date +%s.%N; exec sleep 60")))]
    with running_agent(plane, tmp_path, "loopback"):
        until(lambda: plane.lines("web"))
        assert time.time() - float(plane.lines("web")[0]) < 0.5


def test_a_line_too_long_for_an_event_becomes_several(plane: FakeControlPlane, tmp_path: Path) -> None:
    script = "import sys; sys.stdout.write('\\u00e9' * 400_000 + '\\nnext\\n')"
    task = run_once(plane, tmp_path, container("web", python("-X", "utf8", "-c", script)))
    *parts, last = plane.lines("web", task.id)
    assert "".join(parts) == "\u00e9" * 400_000
    assert max(len(part.encode()) for part in parts) <= 256 * 1024
    assert last == "next"


def test_a_container_without_log_group_still_runs(plane: FakeControlPlane, tmp_path: Path) -> None:
    task = run_once(plane, tmp_path, container("web", shell("echo x; exit 4"), log_group=None))
    assert stopped_containers(task) == {"web": 4}
    assert plane.logs == {}


def test_a_log_that_can_not_be_kept_does_not_stop_the_task(tmp_path: Path) -> None:
    class Forgetful(FakeControlPlane):
        def log(self, group: str, stream: str, events: object) -> None:
            raise RuntimeError((group, stream, events))

    task = run_once(Forgetful(), tmp_path, container("web", shell("echo x; exit 4")))
    assert stopped_containers(task) == {"web": 4}


@pytest.mark.parametrize("way", WAYS)
def test_containers_meet_on_localhost_while_its_port_is_taken_outside(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    probe = (
        "import os, sys, time, urllib.request\n"
        "time.sleep(0.5)\n"
        "print(urllib.request.urlopen('http://' + os.environ['PLACE'] + '/').read().decode(), flush=True)\n"
        "time.sleep(60)"
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plane.wanted = [
            service(
                container("web", server(port), environment={"RELEASE": "mine"}),
                container("side", python("-c", probe), environment={"PLACE": f"localhost:{port}"}),
                desired_count=2,
            )
        ]
        with running_agent(plane, tmp_path, way):
            until(lambda: len(plane.lines("side")) == 2)
    assert plane.lines("side") == ["mine", "mine"]


@pytest.mark.parametrize("way", WAYS)
def test_the_agent_connects_into_a_task(plane: FakeControlPlane, tmp_path: Path, way: Way) -> None:
    plane.wanted = [service(container("web", server()), load_balancing=balanced())]
    plane.groups = grouped()
    with running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent))
        (task,) = plane.live()
        with agent.connect(task.address, 8000, 1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        with pytest.raises(ConnectionRefusedError):
            agent.connect(task.address, 8001, 1)
        with pytest.raises(ConnectionRefusedError):
            agent.connect("10.9.9.9", 8000, 1)


def test_in_a_namespace_a_server_on_localhost_alone_is_out_of_reach_as_on_ecs(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    plane.wanted = [service(container("web", python("-m", "http.server", "--bind", "127.0.0.1", "8000")))]
    with running_agent(plane, tmp_path, "namespace") as agent:
        until(lambda: completed(agent))
        (task,) = plane.live()
        with pytest.raises(ConnectionRefusedError):
            agent.connect(task.address, 8000, 1)


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
with running_agent(plane, Path(sys.argv[1]), "namespace") as agent:
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
