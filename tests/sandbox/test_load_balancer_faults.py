"""The load balancer answers broken servers, silent ones and unclear requests with one plain line."""

from __future__ import annotations

import http.client
import re
import socket
import time

import pytest

from tests.sandbox.town import HEAD, OK, Talk, Town, free_port, says


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
