"""A cheap question to a running sandbox: do its control plane and its Postgres answer now."""

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
_NOT_NOW = b"57P"  # the class of "the database system is starting up", "… is shutting down", "… was ended"


def find_problem(running: Running) -> str:
    """Return what does not answer, for a person; empty where all is well.

    Takes some milliseconds, and never longer than twice ANSWER_SECONDS.
    """
    parts = urlsplit(running.variables.get("HTTPS_PROXY", ""))
    if not _speaks_http(parts.hostname or "127.0.0.1", parts.port or 0):
        return "its control plane does not answer"
    if running.postgres and not _takes_sessions(running.postgres):
        return "its Postgres does not answer"
    return ""


def _speaks_http(host: str, port: int) -> bool:
    """Return True where a server reads a request, whatever it makes of it."""
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    try:
        with socket.create_connection((host, port), ANSWER_SECONDS) as connection:
            connection.sendall(request)
            connection.recv(1)  # it may hang up without a word
    except OSError:
        return False
    return True


def _takes_sessions(path: str) -> bool:
    """Return True where Postgres would ask for a password, or says no for any reason but that it cannot now.

    Nobody logs in. Source: https://www.postgresql.org/docs/18/protocol-flow.html
    """
    words = b"user\0postgres\0database\0postgres\0\0"
    packet = struct.pack("!ii", 8 + len(words), _PROTOCOL) + words
    try:
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(packet)
            answer = connection.recv(4096)
    except OSError:
        return False
    return answer[:1] == b"R" or (answer[:1] == b"E" and b"\0C" + _NOT_NOW not in answer)
