from __future__ import annotations

import contextlib
import http.client
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from copilot_sandbox.agent.targets import Target, Targets
from copilot_sandbox.load_balancer.listening import Listeners
from copilot_sandbox.model import LoadBalancer, Rule, TargetGroup
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


@pytest.fixture
def town() -> Iterator[Town]:
    town = Town()
    listeners = Listeners(town.plane, town, idle_timeout=1)
    listeners.start()
    try:
        yield town
    finally:
        listeners.stop()
        for each in town.servers:
            each.listener.close()


def test_a_request_is_forwarded_with_host_kept_and_its_origin_told(town: Town) -> None:
    upstream = town.add(OK)
    town.rules(Rule(1, hosts=("shop.example",), target_group_arns=(GROUP,)))
    time.sleep(0.3)
    assert town.get("/a%20b?c=d", Host="shop.example:81", X_Forwarded_For="203.0.113.9", Cookie="a=b") == (
        200,
        "ok",
    )
    assert upstream.requests[0].startswith(b"GET /a%20b?c=d HTTP/1.1\r\n")
    assert upstream.header("Host") == ["shop.example:81"]
    assert upstream.header("X-Forwarded-For") == ["203.0.113.9, 127.0.0.1"]
    assert upstream.header("X-Forwarded-Proto") == ["http"]
    assert upstream.header("X-Forwarded-Port") == [str(town.port)]
    assert upstream.header("Cookie") == ["a=b"]


def test_what_a_client_claims_about_its_protocol_is_replaced(town: Town) -> None:
    upstream = town.add(OK)
    town.get(X_Forwarded_Proto="https", X_Forwarded_Port="443")
    assert (upstream.header("X-Forwarded-Proto"), upstream.header("X-Forwarded-Port")) == (
        ["http"],
        [str(town.port)],
    )


def test_headers_of_one_hop_are_not_passed_on(town: Town) -> None:
    upstream = town.add(
        says(
            b"HTTP/1.1 200 OK\r\nConnection: x-inner\r\nX-Inner: 1\r\nX-Outer: 2\r\nContent-Length: 0\r\n\r\n"
        )
    )
    answer = town.send(HEAD + b"Connection: close, X-Mine\r\nX-Mine: 1\r\nTE: trailers\r\nX-Other: 2\r\n\r\n")
    assert (upstream.header("X-Mine"), upstream.header("TE"), upstream.header("X-Other")) == ([], [], ["2"])
    assert b"X-Inner" not in answer
    assert b"X-Outer: 2" in answer


def test_healthy_targets_take_turns_and_others_get_nothing(town: Town) -> None:
    for name in (b"a", b"b", b"c"):
        town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name))
    ill, draining = (town.targets.at(f"10.0.0.{town.servers[index].port}")[0] for index in (1, 2))
    assert sorted(town.get()[1] for _ in range(6)) == ["a", "a", "b", "b", "c", "c"]
    town.targets.judge(ill, "unhealthy", "health check /healthz answers 500")
    town.targets.drain(draining.address)
    assert {town.get()[1] for _ in range(4)} == {"a"}


def test_a_large_upload_and_its_answer_are_streamed(town: Town) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")
        left = 3_000_000
        while left:
            block = connection.recv(65536)
            left -= len(block)
            connection.sendall(block)

    town.add(echo)
    body = bytes(range(250)) * 12_000
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", town.port), 10) as client:
        sender = threading.Thread(target=client.sendall, args=(head + body,))
        sender.start()
        while block := client.recv(65536):
            received += block
        sender.join()
    assert received.partition(b"\r\n\r\n")[2] == body


def test_chunks_pass_both_ways_as_they_come(town: Town) -> None:
    taken, arrived = bytearray(), threading.Event()

    def talk(connection: socket.socket) -> None:
        while not taken.endswith(b"0\r\n\r\n"):
            taken.extend(connection.recv(99))
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        arrived.wait(30)
        connection.sendall(b"6;x=y\r\nsecond\r\n0\r\nTrailer: no\r\n\r\n")

    town.add(talk)
    with socket.create_connection(("127.0.0.1", town.port), 5) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        answer = b""
        while b"first" not in answer:
            answer += client.recv(999)
        assert b"second" not in answer
        arrived.set()
        while block := client.recv(999):
            answer += block
    assert answer.endswith(b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
    assert taken == b"3\r\nabc\r\n0\r\n\r\n"


def test_a_client_of_http_1_0_gets_no_chunks(town: Town) -> None:
    upstream = town.add(
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    )
    answer = town.send(b"GET / HTTP/1.0\r\n\r\n")
    assert upstream.header("Host") == [f"localhost:{town.port}"]
    assert answer.endswith(b"\r\n\r\nabc")
    assert b"chunked" not in answer


def test_an_answer_without_length_lasts_until_the_end(town: Town) -> None:
    town.add(says(b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"the end"))
    assert town.get() == (200, "until the end")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_that_has_no_body_waits_for_none(town: Town, status: bytes) -> None:
    town.add(says(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n", pause=8))
    begun = time.monotonic()
    assert town.get()[1] == ""
    assert time.monotonic() - begun < 8


def test_the_answer_to_head_keeps_its_length_and_has_no_body(town: Town) -> None:
    town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"))
    answer = town.send(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 99\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_connection_serves_several_requests(town: Town) -> None:
    upstream = town.add(OK)
    connection = http.client.HTTPConnection("127.0.0.1", town.port, timeout=5)
    ports = set()
    for _ in range(3):
        connection.request("POST", "/", body=b"")
        assert connection.getresponse().read() == b"ok"
        ports.add(connection.sock.getsockname()[1])
    connection.close()
    assert len(ports) == 1
    assert len(upstream.requests) == 3


def test_two_requests_sent_at_once_get_two_answers(town: Town) -> None:
    town.add(OK)
    answer = town.send(
        b"GET /1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
        b"GET /2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_100_continue_comes_from_the_target(town: Town) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = connection.recv(3)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body)

    town.add(talk)
    with socket.create_connection(("127.0.0.1", town.port), 5) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n")
        assert client.recv(999) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        answer = b""
        while block := client.recv(999):
            answer += block
    assert answer.endswith(b"\r\n\r\nabc")


def test_a_websocket_is_passed_through(town: Town) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        while block := connection.recv(99):
            connection.sendall(block.upper())

    upstream = town.add(talk)
    with socket.create_connection(("127.0.0.1", town.port), 5) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\n"
            b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Key: k\r\n\r\n"
        )
        assert b"101 Switching Protocols" in client.recv(999)
        for _ in range(2):
            client.sendall(b"ping")
            assert client.recv(99) == b"PING"
    assert upstream.header("Upgrade") == ["websocket"]
    assert upstream.header("Sec-WebSocket-Key") == ["k"]


def test_what_follows_a_switch_of_protocols_at_once_is_passed_on(town: Town) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello "
        )
        connection.sendall(connection.recv(99))

    town.add(talk)
    answer = town.send(HEAD + b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\nworld")
    assert answer.endswith(b"\r\n\r\nhello world")


def test_an_answer_before_the_end_of_an_upload_is_the_last_on_its_connection(town: Town) -> None:
    upstream = town.add(OK)
    answer = town.send(HEAD + b"Content-Length: 999\r\n\r\nGET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert len(upstream.requests) == 1


def test_without_a_healthy_target_the_reason_is_told(town: Town) -> None:
    town.reason = "startup is still running (12 s)"
    assert town.get() == (503, "503 Service Unavailable: startup is still running (12 s)\n")


def test_a_browser_gets_the_reason_as_a_page_with_nothing_to_inject(town: Town) -> None:
    town.reason = "the last task stopped: <script>alert(1)</script>"
    status, page = town.get(Accept="text/html,*/*")
    assert status == 503
    assert "<h1>503 Service Unavailable</h1>" in page
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_hosts_and_paths_choose_the_rule_by_priority(town: Town) -> None:
    for name in ("api", "shop", "rest"):
        town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + name.encode().ljust(4)), group=name)
    town.rules(
        Rule(50_000, target_group_arns=("rest",)),
        Rule(2, hosts=("*.shop.example",), paths=("/*",), target_group_arns=("shop",)),
        Rule(1, paths=("/api", "/api/*", "/v?/x"), target_group_arns=("api",)),
    )
    time.sleep(0.3)
    asked = {
        "/api": "", "/api/x?y=/": "", "/v2/x": "", "/apis": "", "/API": "", "/?/api/": "",
        "/": "A.Shop.Example:8080", "/b": "127.0.0.1",
    }  # fmt: skip
    answers = [town.get(path, Host=host or "localhost")[1].strip() for path, host in asked.items()]
    assert answers == ["api", "api", "api", "rest", "rest", "rest", "shop", "rest"]


def test_a_rule_takes_only_clients_of_its_sources_whatever_they_claim_to_be(town: Town) -> None:
    for name in ("office", "rest"):
        town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + name.encode().ljust(6)), group=name)
    office = Rule(
        1, paths=("/*",), sources=("198.51.100.0/24", "2001:db8::/32"), target_group_arns=("office",)
    )
    town.rules(office, Rule(50_000, target_group_arns=("rest",)))
    time.sleep(0.3)
    assert town.get(X_Forwarded_For="198.51.100.7") == (200, "rest  ")
    town.rules(replace(office, sources=(*office.sources, "127.0.0.9/8")))
    time.sleep(0.3)
    assert town.get() == (200, "office")
    with contextlib.closing(http.client.HTTPConnection("::1", town.port, timeout=5)) as connection:
        try:
            connection.request("GET", "/")
        except OSError:
            pytest.skip("this machine has no ::1")
        assert connection.getresponse().read() == b"office"


def test_a_client_that_a_service_does_not_let_in_is_told_so(town: Town) -> None:
    town.add(OK)
    town.rules(
        Rule(1, paths=("/*",), sources=("198.51.100.0/24",), target_group_arns=(GROUP,)),
        Rule(100_000, target_group_arns=("nobody",)),
    )
    time.sleep(0.3)
    status, told = town.get()
    assert status == 503
    assert told == (
        "503 Service Unavailable: 127.0.0.1 is not one of the sources that the service accepts, "
        "198.51.100.0/24: its manifest sets them with http.allowed_source_ips\n"
    )
    assert b"\r\nServer: awselb/2.0\r\n" in town.send(HEAD + b"\r\n")


def test_a_request_no_rule_matches_is_not_found(town: Town) -> None:
    town.rules(Rule(1, paths=("/only",), target_group_arns=(GROUP,)))
    time.sleep(0.3)
    assert town.get("/other")[0] == 404


def test_a_fixed_response_and_a_redirect(town: Town) -> None:
    town.rules(
        Rule(1, paths=("/gone",), fixed_status=410),
        Rule(2, hosts=("shop.example",), redirect_to="https://#{host}:443/#{path}?#{query}"),
    )
    time.sleep(0.3)
    assert town.get("/gone")[0] == 410
    connection = http.client.HTTPConnection("127.0.0.1", town.port, timeout=5)
    connection.request("GET", "/a/b?c=d", headers={"Host": "shop.example:8080"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (301, "https://shop.example:443/a/b?c=d")
    connection.close()


@pytest.mark.parametrize(
    "talk",
    [
        says(b""),
        says(b"SSH-2.0-OpenSSH\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
        says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
    ids=["silence", "no http", "two lengths", "length and chunks", "bad header", "big head", "switch"],
)
def test_a_broken_answer_is_a_502_without_a_traceback(town: Town, talk: Talk) -> None:
    town.add(talk)
    status, body = town.get()
    assert status == 502
    assert body.startswith("502 Bad Gateway: the service closed the connection: ")
    assert "Traceback" not in body


def test_an_answer_that_breaks_off_in_the_middle_is_cut_off_for_the_client_too(town: Town) -> None:
    town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
    with pytest.raises(http.client.IncompleteRead):
        town.get()


def test_a_target_whose_port_is_closed_is_passed_over(town: Town) -> None:
    town.healthy(free_port())
    town.add(OK)
    assert [town.get() for _ in range(4)] == [(200, "ok")] * 4


def test_if_no_target_takes_a_connection_it_is_a_502(town: Town) -> None:
    target = town.healthy(free_port())
    assert town.get()[0] == 502
    assert target.in_flight == 0


def test_a_target_that_says_nothing_gets_its_client_a_504(town: Town) -> None:
    town.add(lambda _: time.sleep(3))
    begun = time.monotonic()
    assert town.get() == (504, "504 Gateway Timeout: the service did not answer in 1 s\n")
    assert time.monotonic() - begun > 0.9


def test_a_slow_upload_is_no_timeout_of_the_target(town: Town) -> None:
    def talk(connection: socket.socket) -> None:
        left = 3
        while left:
            left -= len(connection.recv(left))
        OK(connection)

    town.add(talk)
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    assert town.send(head, b"a", b"b", b"c", pause=0.6).endswith(b"ok")


def test_a_client_that_says_nothing_is_hung_up_on(town: Town) -> None:
    assert town.send(b"GET / HT") == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"Host: y\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        (HEAD + b"Content-Length: +3\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3, 3\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding : chunked\r\n\r\n", 400),
        (HEAD + b"X: 1\r\n folded\r\n\r\n", 400),
        (HEAD + b"X: 1\nY: 2\r\n\r\n", 400),
        (HEAD + b"X: 1\rY: 2\r\n\r\n", 400),
        (HEAD + b"X: \0\r\n\r\n", 400),
        (HEAD + b"X: " + b"x" * 17_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: x\r\n" * 20_000 + b"\r\n", 431),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET ftp://x/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
            400,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;"
            + b"x" * 2000
            + b"\r\n",
            400,
        ),
    ],
)
def test_what_two_servers_might_read_differently_is_refused(
    town: Town, request_bytes: bytes, status: int
) -> None:
    def patient(connection: socket.socket) -> None:
        while connection.recv(999):
            pass

    town.add(patient)
    answer = town.send(request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert len(re.findall(rb"(?m)^HTTP/1.1 ", answer)) == 1


def test_a_request_in_absolute_form_is_turned_into_a_path(town: Town) -> None:
    upstream = town.add(OK)
    town.send(b"GET http://localhost/a?b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert upstream.requests[0].startswith(b"GET /a?b HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:{port}", 200),
        ("[::1]:{port}", 200),
        ("mine.localhost:{port}", 200),
        ("deep.shop.example", 200),
        ("localhost:1", 421),
        ("evil.example", 421),
        ("other.localhost:{port}", 421),
        ("localhost.evil.example", 421),
        ("mine.localhost.evil.example:{port}", 421),
        ("xmine.localhost", 421),
        ("127.0.0.1.nip.io", 421),
        ("127.1", 421),
        ("2130706433", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("localhost.", 421),
        ("evil@localhost", 421),
        ("localhost, evil.example", 421),
        ("anything.com", 421),
    ],
)
def test_only_hosts_that_it_knows_are_answered(town: Town, host: str, status: int) -> None:
    town.add(OK)
    town.rules(
        Rule(1, hosts=("mine.localhost", "*.shop.example", "*", "*.com"), target_group_arns=(GROUP,)),
        Rule(50_000, target_group_arns=(GROUP,)),
    )
    until(lambda: town.get(Host="mine.localhost")[0] == 200)
    code, text = town.get(Host=host.format(port=town.port))
    assert code == status
    assert text == "ok" or text.count("\n") == 1


def test_the_name_of_one_service_opens_no_other(town: Town) -> None:
    town.add(OK, group="shared")
    town.add(says(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"), group="mine")
    town.rules(
        Rule(1, hosts=("rebound.example",), paths=("/mine",), target_group_arns=("mine",)),
        Rule(50_000, target_group_arns=("shared",)),
    )
    time.sleep(0.3)
    assert town.get("/mine", Host="rebound.example") == (200, "mine")
    assert town.get("/", Host="rebound.example")[0] == 404
    assert town.get("/", Host="localhost") == (200, "ok")


def test_an_address_and_a_host_that_differ_are_refused(town: Town) -> None:
    town.add(OK)
    answer = town.send(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


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
    town.add(lambda _: time.sleep(5))
    with socket.create_connection(("127.0.0.1", town.port), 3) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
        town.plane.balancers = []
        begun = time.monotonic()
        assert client.recv(99) == b""
        assert time.monotonic() - begun < 4


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
        f"port {town.port} for the load balancer of test, is not free "
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
        connection = http.client.HTTPConnection("localhost", port, timeout=30)
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
