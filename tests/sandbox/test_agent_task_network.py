"""The containers of a task meet on localhost, and the agent reaches what they open."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from copilot_sandbox.agent import health
from copilot_sandbox.agent.namespace import Way
from copilot_sandbox.model import Service
from tests.sandbox.agent_tasks import WAYS
from tests.sandbox.fake_control_plane import (
    GROUP,
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    python,
    running_agent,
    server,
    service,
    until,
)


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


@pytest.mark.parametrize("way", WAYS)
def test_a_health_check_says_which_port_the_task_has_opened_instead(
    plane: FakeControlPlane, tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_AFTER", 0)
    plane.wanted = [
        service(
            container("web", server(8080), ports=(8000,)),
            container("side", server(8001), ports=(8001,)),
            load_balancing=balanced(),
        )
    ]
    plane.groups = grouped()
    with running_agent(plane, tmp_path, way) as agent:
        reason = "nothing listens on port 8000 yet; the task listens on 8080"
        until(lambda: reason in agent.explain(GROUP))


def test_a_health_check_says_that_a_server_listens_for_its_own_task_alone(
    plane: FakeControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LOOK_AFTER", 0)
    command = python("-m", "http.server", "--bind", "127.0.0.1", "8000")
    plane.wanted = [service(container("web", command, ports=(8000,)), load_balancing=balanced())]
    plane.groups = grouped()
    with running_agent(plane, tmp_path, "namespace") as agent:
        reason = "the task listens on 127.0.0.1:8000, where nobody outside reaches it"
        until(lambda: reason in agent.explain(GROUP))


def reaching(host: str) -> tuple[str, ...]:
    """A program that asks the host again and again, until it answers."""
    return python(
        "-c",
        "import sys, time, urllib.request\n"
        "while True:\n"
        "    try:\n"
        f"        print(urllib.request.urlopen('http://{host}:8000/').read().decode(), flush=True)\n"
        "        break\n"
        "    except OSError as error:\n"
        "        print(type(getattr(error, 'reason', error)).__name__, flush=True)\n"
        "        time.sleep(0.2)\n"
        "time.sleep(60)",
    )


def test_a_task_reaches_by_name_the_services_of_its_own_deployment_and_no_others(
    plane: FakeControlPlane, tmp_path: Path
) -> None:
    def web(branch: str) -> Service:
        page = container("web", server(), environment={"RELEASE": branch}, ports=(8000,))
        host = f"web-{branch}.test.demo.local"
        return service(page, arn=f"arn:web-{branch}", name=f"web-{branch}", host=host, group=(branch,))

    worker = service(
        container("own", reaching("web-one.test.demo.local")),
        container("other", reaching("web-two.test.demo.local")),
        name="worker",
        group=("one",),
    )
    plane.wanted = [web("one"), web("two"), worker]
    with running_agent(plane, tmp_path, "namespace"):
        until(lambda: "one" in plane.lines("own") and len(plane.lines("other")) > 2)
        assert set(plane.lines("other")) == {"gaierror"}
