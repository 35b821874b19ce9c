"""A container sees its own variables and files alone, and each line that it prints is kept."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Mount
from tests.sandbox.agent_tasks import FOREVER, WAYS, run_once
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    completed,
    container,
    make_image,
    owned,
    python,
    running_agent,
    service,
    shell,
    stopped_containers,
    until,
)


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


@pytest.mark.parametrize("way", WAYS)
def test_the_path_of_the_home_folder_does_not_grow_with_the_containers_name(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    names = ("web", f"web-{'x' * 100}")
    shown = shell('mkdir "$HOME/.x"; echo "HOME=$HOME"')
    first = container(names[0], shown, essential=False)
    second = container(names[1], shown, depends_on={names[0]: "COMPLETE"})
    run_once(plane, tmp_path, first, second, way=way)
    homes = [line for name in names for line in plane.lines(name) if line.startswith("HOME=")]
    assert len(set(map(len, homes))) == 1
    assert len(set(homes)) == len(names)  # each has its own
    if way == "namespace":  # a clone can have a long path, too
        assert "HOME=/tmp/.h0" in homes


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


def test_a_script_that_is_not_executable_is_named_by_its_path_in_the_image(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    script = tmp_path / "image/app/run.sh"  # of the image that every agent here knows
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    task = run_once(plane, tmp_path, container("web", ("/app/run.sh",)))
    assert task.stopped_reason == 'CannotStartContainerError: exec: "/app/run.sh": permission denied'


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
