"""The load balancer opens and closes its ports, and lets requests under way end."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
import time
from pathlib import Path

import pytest

from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.model import LoadBalancer, Rule
from tests.sandbox.fake_control_plane import (
    GROUP,
    SERVICE,
    FakeControlPlane,
    balanced,
    completed,
    container,
    grouped,
    running_agent,
    server,
    service,
    until,
)
from tests.sandbox.town import OK, Town, free_port


def test_a_load_balancer_that_never_started_can_be_stopped() -> None:
    town = Town()
    Listeners(town.plane, town).stop()


def test_listeners_come_and_go_with_their_load_balancers(town: Town) -> None:
    town.add(OK)
    other = free_port()
    rules = (Rule(1, target_group_arns=(GROUP,)),)
    town.plane.balancers = [LoadBalancer("arn:other", "stage", other, rules)]

    def answers(port: int, host: str = "127.0.0.1") -> bool:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            return False
        return True

    until(lambda: answers(other) and not answers(town.port))
    assert answers(other, "::1") or not socket.has_ipv6


def test_a_connection_that_is_open_ends_with_its_load_balancer(town: Town) -> None:
    town.add(lambda _: time.sleep(30))
    with socket.create_connection(("127.0.0.1", town.port), 30) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        town.plane.balancers = []
        begun = time.monotonic()
        assert client.recv(99) == b""
        assert time.monotonic() - begun < 25


def test_a_port_that_is_taken_is_told_once_and_tried_again(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    town.add(OK)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        town.port = holder.getsockname()[1]
        town.rules(Rule(1, target_group_arns=(GROUP,)))
        until(lambda: caplog.messages)
        time.sleep(1.5)
        (message,) = caplog.messages
    assert message == (
        f"port {town.port} for the load balancer of test is not free "
        "(Address already in use): end the program that uses it; the sandbox tries again each second"
    )
    until(lambda: town_answers(town), 5)


def town_answers(town: Town) -> bool:
    try:
        return town.get() == (200, "ok")
    except OSError:
        return False


def test_a_load_balancer_whose_control_plane_fails_keeps_its_listeners(
    town: Town, caplog: pytest.LogCaptureFixture
) -> None:
    town.add(OK)
    town.plane.balancers = None  # type: ignore[assignment]  # a mistake of the control plane's
    until(lambda: "the list of load balancers could not be read" in caplog.text)
    assert town.get() == (200, "ok")
    town.rules(Rule(1, target_group_arns=(GROUP,)))


def test_a_request_under_way_ends_before_its_task_and_new_ones_go_elsewhere(tmp_path: Path) -> None:
    plane = FakeControlPlane(groups=grouped(deregistration_delay=30))
    port = free_port()
    plane.balancers = [LoadBalancer("arn:lb", "test", port, (Rule(1, target_group_arns=(GROUP,)),))]

    def release(name: str) -> None:
        one = container("web", server(), environment={"RELEASE": name, "SLOW": "4"})
        plane.wanted = [service(one, deployment=name, load_balancing=balanced())]

    def get(path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        with contextlib.closing(connection):
            return answer.status, answer.read().decode()

    slow: list[tuple[int, str]] = []
    with running_agent(plane, tmp_path) as agent:
        listeners = Listeners(plane, agent)
        listeners.start()
        try:
            assert get("/")[0] == 503
            release("one")
            agent.wake()
            until(lambda: completed(agent, "one"))
            assert get("/") == (200, "one")
            request = threading.Thread(target=lambda: slow.append(get("/slow")))
            request.start()
            time.sleep(0.2)
            release("two")
            agent.wake()
            until(lambda: get("/") == (200, "two"))
            assert slow == []
            assert any(each.state == "draining" for each in agent.targets.reports()[GROUP])
            request.join()
            assert slow == [(200, "one")]
            until(lambda: completed(agent, "two"))
            plane.wanted = []
            agent.wake()
            until(lambda: agent.drained(SERVICE))
            assert get("/") == (503, "503 Service Unavailable: no task is running\n")
        finally:
            listeners.stop()


def test_a_request_that_outlasts_the_deregistration_delay_is_cut_off(tmp_path: Path) -> None:
    plane = FakeControlPlane(groups=grouped(deregistration_delay=0.3))
    port = free_port()
    plane.balancers = [LoadBalancer("arn:lb", "test", port, (Rule(1, target_group_arns=(GROUP,)),))]
    plane.wanted = [service(container("web", server(), environment={"SLOW": "5"}), load_balancing=balanced())]
    with running_agent(plane, tmp_path) as agent:
        listeners = Listeners(plane, agent)
        listeners.start()
        try:
            until(lambda: completed(agent))
            with socket.create_connection(("127.0.0.1", port), 8) as client:
                client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                time.sleep(0.1)
                plane.wanted = []
                begun = time.monotonic()
                agent.wake()
                until(lambda: agent.drained(SERVICE))
                assert time.monotonic() - begun >= 0.3
                assert client.recv(99).startswith(b"HTTP/1.1 502 ")
        finally:
            listeners.stop()
