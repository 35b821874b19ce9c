"""No container opens a port that other machines reach."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from copilot_sandbox.agent import listeners
from copilot_sandbox.agent.listeners import Listener
from copilot_sandbox.agent.namespace import Way
from tests.sandbox.fake_control_plane import (
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

LISTEN = """
import socket, sys, time
family, kind, address = sys.argv[1:4]
opened = socket.socket(getattr(socket, family), getattr(socket, kind))
opened.bind((address, int(sys.argv[4])))
if kind == "SOCK_STREAM":
    opened.listen()
print("open", flush=True)
time.sleep(60)
"""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port below those that the system gives to clients."""
    for port in range(21_000, 22_000):
        with socket.socket(socket.AF_INET, kind) as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def own_address() -> str:
    """An address of this machine's that others reach, where it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        address: str = asked.getsockname()[0]
        return address


@pytest.mark.parametrize(
    ("family", "kind", "address"),
    [
        ("AF_INET", "SOCK_STREAM", ""),
        ("AF_INET6", "SOCK_STREAM", "::"),
        ("AF_INET", "SOCK_DGRAM", ""),
        ("AF_INET6", "SOCK_DGRAM", "::"),
        ("AF_INET", "SOCK_STREAM", "this machine's"),
    ],
)
def test_a_listener_that_other_machines_reach_is_stopped(
    tmp_path: Path, family: str, kind: str, address: str
) -> None:
    if family == "AF_INET6" and not Path("/proc/net/tcp6").exists():
        pytest.skip("this machine has no IPv6")
    address = own_address() if address == "this machine's" else address
    port = free_port()
    plane = FakeControlPlane(
        wanted=[service(container("web", python("-c", LISTEN, family, kind, address, str(port))))]
    )
    with running_agent(plane, tmp_path, "loopback"):
        until(lambda: any(each.status == "STOPPED" for each in plane.history), 30)
        reason = next(each.stopped_reason for each in plane.history if each.status == "STOPPED") or ""
    assert f":{port}" in reason
    assert f"--bind 0.0.0.0:{port}" in reason
    assert "\n" not in reason
    assert reason in plane.lines("web")


@pytest.mark.parametrize(
    ("family", "kind", "address", "port"),
    [
        ("AF_INET", "SOCK_STREAM", "0.0.0.0", 0),  # noqa: S104 - another address is put in its place
        ("AF_INET", "SOCK_STREAM", "localhost", 0),
        ("AF_INET6", "SOCK_STREAM", "::1", 0),
        ("AF_INET", "SOCK_DGRAM", "127.0.0.1", 0),
        ("AF_INET", "SOCK_DGRAM", "", 0),  # a client that only sends
    ],
)
def test_near_misses_go_on(tmp_path: Path, family: str, kind: str, address: str, port: int) -> None:
    words = python("-c", LISTEN, family, kind, address, str(port))
    plane = FakeControlPlane(wanted=[service(container("web", words))])
    with running_agent(plane, tmp_path, "loopback") as agent:
        until(lambda: plane.lines("web"), 30)
        agent._close_exposed()
        assert not any(task.exposed for task in agent._tasks())


@pytest.mark.parametrize("way", ["namespace", "loopback"])
def test_a_deployed_service_listens_on_loopback_only(tmp_path: Path, way: Way) -> None:
    before = set(listeners._suspects())
    plane = FakeControlPlane(
        wanted=[service(container("web", server(), ports=(8000,)), load_balancing=balanced())],
        groups=grouped(),
    )
    with running_agent(plane, tmp_path, way) as agent:
        until(lambda: completed(agent), 60)
        assert set(listeners._suspects()) <= before


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="setpriv takes root's rights away"
)
def test_without_the_right_to_namespaces_a_task_has_a_loopback_address_and_it_is_said() -> None:
    code = (
        "from copilot_sandbox.agent import confined, runner\n"
        "print(runner.probe()[0], bool(confined.obstacle()))"
    )
    done = subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["loopback", "True"], done.stderr


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("0.0.0.0", True),  # noqa: S104 - nothing binds to it
        ("::", True), ("10.0.0.7", True), ("fe80::1%eth0", True), ("::ffff:10.0.0.7", True),
        ("127.0.0.1", False), ("127.83.1.2", False), ("::1", False), ("::ffff:127.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_others_reach(address: str, *, expected: bool) -> None:
    assert listeners.is_open(address) is expected


def test_the_line_names_the_port_and_what_to_write() -> None:
    assert "tcp [::]:8000" in listeners.advice(Listener("tcp", "::", 8000))
