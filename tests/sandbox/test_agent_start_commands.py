"""A container carries out its image's commands before its own, so that what they make is there."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Container, Image, StartCommand
from tests.sandbox.agent_tasks import WAYS
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    container,
    make_image,
    over,
    running_agent,
    service,
    shell,
    until,
)

MAKE = StartCommand(
    line=12,
    words=shell('echo "$KEY $SECRET $HOME" > $OUT/made; echo 3 files copied; echo in $PWD'),
    env={"KEY": "dummy", "OUT": "/app/static"},
    workdir="/app",
)
BEGUN = "sandbox: line 12 of the Dockerfile: sh -c "
SHOW = shell("cat static/made")


def image(tmp_path: Path, *commands: StartCommand) -> Image:
    (tmp_path / "image/app/static").mkdir(parents=True)
    return make_image(tmp_path / "image", start_commands=commands)


@pytest.mark.parametrize("way", WAYS)
def test_what_they_make_is_there_with_the_builds_variables_before_the_server_starts(
    plane: FakeControlPlane, tmp_path: Path, way: Way
) -> None:
    plane.secrets["/s"] = "secret"
    web = container("web", SHOW, environment={"KEY": "real"}, secrets={"SECRET": "/s"})
    plane.wanted = [service(web, circuit_breaker=True)]
    with running_agent(plane, tmp_path, way, image=image(tmp_path, MAKE)):
        task = over(plane)
    first, *rest, last = plane.lines("web", task.id)
    assert first == BEGUN + shlex.quote(MAKE.words[2])
    assert rest == ["3 files copied", "in /app"]
    assert last.split(" ")[:2] == ["dummy", ""]
    assert len(last.split(" ")) == 3  # a home, and no secret


@pytest.mark.parametrize(
    ("words", "may_fail", "said"),
    [
        (
            shell("echo no such file; exit 3"),
            False,
            ["no such file", "line 12 of the Dockerfile failed with exit code 3"],
        ),
        (shell("echo no such file; exit 3"), True, ["no such file"]),
        (("no-such-program",), False, ["No such file or directory: 'no-such-program'"]),
    ],
)
def test_one_that_fails_is_said_and_the_container_starts(
    plane: FakeControlPlane, tmp_path: Path, words: tuple[str, ...], said: list[str], *, may_fail: bool
) -> None:
    failing = dataclasses.replace(MAKE, words=words, may_fail=may_fail)
    plane.wanted = [service(container("web", shell("echo up")), circuit_breaker=True)]
    with running_agent(plane, tmp_path, image=image(tmp_path, failing)):
        task = over(plane)
    _, *lines, last = plane.lines("web", task.id)
    assert last == "up"
    assert len(lines) == len(said)
    assert all(part in line for part, line in zip(said, lines, strict=True))
    if not may_fail:
        assert "in Docker that ends the build" in lines[-1]
    assert [each.exit_code for each in task.containers] == [0]


def test_a_container_that_is_awaited_to_its_end_and_a_one_off_task_do_without(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    startup: Container = container("startup", shell("ls static"), essential=False)
    web = container("web", shell("ls static"), depends_on={"startup": "SUCCESS"})
    plane.wanted = [service(startup, web, circuit_breaker=True)]
    with running_agent(plane, tmp_path, image=image(tmp_path, MAKE)):
        task = over(plane)
        assert plane.lines("startup", task.id) == []
        assert plane.lines("web", task.id)[-1] == "made"
        one_off = "0" * 32
        plane.wanted = [service(container("job", shell("ls static; echo done")), only_task=one_off)]
        until(lambda: plane.lines("job", one_off))
    assert plane.lines("job", one_off) == ["done"]


def test_a_task_that_stops_ends_them_and_does_not_start(plane: FakeControlPlane, tmp_path: Path) -> None:
    slow = dataclasses.replace(MAKE, words=shell("echo begun; exec sleep 60"))
    plane.wanted = [service(container("web", shell("echo up"), stop_timeout=30))]
    with running_agent(plane, tmp_path, image=image(tmp_path, slow, MAKE)):
        until(lambda: "begun" in plane.lines("web"))
        plane.wanted = []
        task = over(plane)
    assert [each.exit_code for each in task.containers] == [None]
    assert plane.lines("web") == [BEGUN + "'echo begun; exec sleep 60'", "begun"]
