from __future__ import annotations

import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from copilot_sandbox.agent import namespace, port_forwards, runner
from tests.sandbox.fake_control_plane import (
    FakeControlPlane,
    container,
    over,
    python,
    require,
    running_agent,
    service,
    until,
)


def test_the_way_is_found_out_by_trying(tmp_path: Path) -> None:
    way, obstacle = runner.probe()
    assert (way, obstacle) == ("namespace", None) or (way == "loopback" and obstacle)
    with running_agent(FakeControlPlane(), tmp_path) as agent:
        assert agent.way == way


def test_where_namespaces_are_forbidden_the_other_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = ["sh", "-c", "echo Operation not permitted; exit 1"]
    monkeypatch.setattr(runner, "command", lambda *_: forbidden)
    assert runner.probe() == ("loopback", "Operation not permitted")


def test_loopback_addresses_are_each_tasks_own() -> None:
    claims = [namespace.claim_loopback() for _ in range(20)]
    addresses = {claim.getsockname()[0] for claim in claims}
    for claim in claims:
        claim.close()
    assert len(addresses) == 20
    assert all(address.startswith("127.") and address != "127.0.0.1" for address in addresses)


def test_when_all_addresses_of_macos_are_taken_the_error_says_what_to_do() -> None:
    claims = [namespace.claim_loopback("darwin") for _ in range(namespace.MAC_POOL)]
    with pytest.raises(namespace.NoAddressError, match="taken by other tasks: stop another sandbox"):
        namespace.claim_loopback("darwin")
    for claim in claims:
        claim.close()
    namespace.claim_loopback("darwin").close()


def test_where_the_system_has_no_such_address_the_task_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(49, "Can't assign requested address")

    monkeypatch.setattr("socket.socket.bind", refuse)
    with pytest.raises(namespace.NoAddressError, match=r"run `sudo ifconfig lo0 alias 127\.0\.1\.1 up`"):
        namespace.claim_loopback("darwin")
    plane = FakeControlPlane(wanted=[service(container("web", ("true",)))])
    with running_agent(plane, tmp_path, "loopback"):
        task = over(plane)
    assert "gives a task no address of its own" in (task.stopped_reason or "")
    assert task.stop_code == "TaskFailedToStart"


REACH = """
import socket, sys
for host, port in (("198.51.100.1", 80), ("127.0.0.1", int(sys.argv[1])), ("10.200.0.1", 80)):
    try:
        socket.create_connection((host, port), 3)
        print(host, "reached")
    except OSError as error:
        print(host, error.strerror)
"""


def test_nothing_leaves_a_namespace(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as outside:
        port = str(outside.getsockname()[1])
        plane = FakeControlPlane(wanted=[service(container("web", python("-c", REACH, port)))])
        with running_agent(plane, tmp_path, "namespace"):
            over(plane)
    assert plane.lines("web")[:3] == [
        "198.51.100.1 Network is unreachable",
        "127.0.0.1 Connection refused",
        "10.200.0.1 Network is unreachable",
    ]


TALK = """
import socket
for word in (b"one", b"two"):
    with socket.create_connection(("127.80.1.2", %d), 3) as connection:
        connection.sendall(word)
        connection.shutdown(socket.SHUT_WR)
        print(connection.recv(99).decode(), flush=True)
"""


@pytest.mark.parametrize("way", ["namespace", "loopback"])
def test_a_forwarded_port_is_reached_under_its_own_address(tmp_path: Path, way: namespace.Way) -> None:
    require(way)
    script = (
        "import sys, socketserver\n"
        "class Echo(socketserver.StreamRequestHandler):\n"
        "    def handle(self): self.wfile.write(b'echo ' + self.rfile.read())\n"
        "server = socketserver.ThreadingUnixStreamServer(sys.argv[1], Echo)\n"
        "print(flush=True)\n"
        "server.serve_forever()"
    )
    with (
        tempfile.TemporaryDirectory() as short,
        subprocess.Popen(python("-c", script, f"{short}/echo"), stdout=subprocess.PIPE) as echo,
    ):
        assert echo.stdout is not None
        echo.stdout.readline()
        with socket.create_server(("127.80.1.2", 0)) as found:
            port: int = found.getsockname()[1]
        forward = ("127.80.1.2", port, f"{short}/echo")
        plane = FakeControlPlane(wanted=[service(container("web", python("-c", TALK % port)))])
        listeners = [port_forwards.listen(forward)] if way == "loopback" else []
        with running_agent(plane, tmp_path, way, port_forwards=[forward]):
            until(lambda: len(plane.lines("web")) >= 2)
        port_forwards.close(listeners)
        echo.kill()
    assert plane.lines("web")[:2] == ["echo one", "echo two"]
