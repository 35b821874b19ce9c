"""A load balancer, a client of it, and servers whose every word the test chooses."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from copilot_sandbox.agent.targets import Target, Targets
from copilot_sandbox.model import LoadBalancer, Rule, TargetGroup
from tests.sandbox.fake_control_plane import GROUP, FakeControlPlane

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
Talk = Callable[[socket.socket], None]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@dataclass
class Upstream:
    """A real server whose every word the test chooses."""

    talk: Talk
    requests: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1)
            self.requests.append(head)
            self.talk(connection)

    def header(self, name: str, index: int = -1) -> list[str]:
        """The values of a header of a request, in order."""
        return re.findall(rf"(?im)^{name}: (.*?)\r$", self.requests[index].decode())


def says(*parts: bytes, pause: float = 0) -> Talk:
    def talk(connection: socket.socket) -> None:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)

    return talk


OK = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@dataclass
class Town:
    """A load balancer, and a backend whose targets are the test's own servers."""

    plane: FakeControlPlane = field(default_factory=FakeControlPlane)
    port: int = field(default_factory=free_port)
    reason: str = "no task is running"
    servers: list[Upstream] = field(default_factory=list)
    targets: Targets = field(default_factory=lambda: Targets(lambda: None))

    def __post_init__(self) -> None:
        self.rules(Rule(1, target_group_arns=(GROUP,)))

    def rules(self, *rules: Rule) -> None:
        self.plane.balancers = [LoadBalancer("arn:lb", "test", self.port, rules)]

    def add(self, talk: Talk, group: str = GROUP) -> Upstream:
        server = Upstream(talk)
        self.servers.append(server)
        self.healthy(server.port, group)
        return server

    def healthy(self, port: int, group: str = GROUP) -> Target:
        target = self.targets.register(TargetGroup(group, port), f"10.0.0.{port}", port)
        self.targets.judge(target, "healthy", None)
        return target

    def connect(self, _: str, port: int, timeout: float) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout)

    def explain(self, target_group_arn: str) -> str:
        assert target_group_arn
        return self.reason

    def get(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        with contextlib.closing(connection):
            return answer.status, answer.read().decode()

    def send(self, *parts: bytes, pause: float = 0) -> bytes:
        """All that the load balancer answers to these very bytes."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while block := connection.recv(65536):
                    answer += block
            return answer
