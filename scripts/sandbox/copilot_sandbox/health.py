"""Tests quickly whether a running sandbox's control plane and Postgres answer."""

from __future__ import annotations

import socket
import struct
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from copilot_sandbox.state import Running

ANSWER_SECONDS = 2.0
_PROTOCOL = 3 << 16  # version 3.0 of Postgres's protocol
_NOT_NOW = b"57P"  # the error class of "the database system is starting up" and the like


def find_problem(running: Running) -> str:
    """Return a sentence that names the part that does not answer; an empty one if both answer.

    Takes some milliseconds, and at most twice ANSWER_SECONDS.
    """
    parts = urlsplit(running.variables.get("HTTPS_PROXY", ""))
    if not _answers_http(parts.hostname or "127.0.0.1", parts.port or 0):
        return "its control plane does not answer"
    if running.postgres and not _accepts_sessions(running.postgres):
        return "its Postgres does not answer"
    return ""


def _answers_http(host: str, port: int) -> bool:
    """Return True if a server reads a request, whatever it answers."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS) as connection:
            connection.sendall(request)
            connection.recv(1)  # the server may close without an answer
    except OSError:
        return False
    return True


def _accepts_sessions(path: str) -> bool:
    """Return True if Postgres asks for a password, or refuses for another reason than its own state.

    This does not log in. Source: https://www.postgresql.org/docs/18/protocol-flow.html
    """
    body = b"user\0postgres\0database\0postgres\0\0"
    packet = struct.pack("!ii", 8 + len(body), _PROTOCOL) + body
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(packet)
            answer = connection.recv(4096)
    except OSError:
        return False
    return answer[:1] == b"R" or (answer[:1] == b"E" and b"\0C" + _NOT_NOW not in answer)
