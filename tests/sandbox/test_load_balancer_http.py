"""The load balancer passes requests, answers and upgrades on as HTTP wants it."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest

from copilot_sandbox.agent.health import Problem
from copilot_sandbox.model import Rule
from tests.sandbox.fake_control_plane import GROUP
from tests.sandbox.town import HEAD, OK, Town, says


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
    town.targets.judge(ill, "unhealthy", Problem("health check /healthz answers 500"))
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
    town.add(says(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n", pause=30))
    begun = time.monotonic()
    assert town.get()[1] == ""
    assert time.monotonic() - begun < 30


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
