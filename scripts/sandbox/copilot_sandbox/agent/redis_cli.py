"""The part of `redis-cli` that health checks use: sends a command, prints its reply, sets an exit code."""

from __future__ import annotations

import os
import socket
import sys
from typing import Protocol

USAGE = "usage: redis-cli [-h HOST] [-p PORT] [-a PASSWORD] [-n DATABASE] COMMAND [ARGUMENT …]"


class Stream(Protocol):
    """The file object of a socket."""

    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


class ReplyError(Exception):
    """The server's answer was an error."""


def call(stream: Stream, *words: str) -> str:
    """Send one command and return its reply as redis-cli prints it. Raises ReplyError."""
    encoded = [word.encode() for word in words]
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
    stream.write(b"*%d\r\n" % len(encoded) + b"".join(parts))
    stream.flush()
    return "\n".join(read(stream))


def read(stream: Stream) -> list[str]:
    """Read one RESP2 reply; return a line for each of its values."""
    line = stream.readline().decode(errors="replace").rstrip("\r\n")
    kind, rest = line[:1], line[1:]
    if kind == "-":
        raise ReplyError(rest)
    if kind == "$":
        if rest == "-1":
            return [""]
        body = stream.read(int(rest) + 2)[:-2]
        return [body.decode(errors="replace")]
    if kind == "*":
        return [each for _ in range(int(rest)) for each in read(stream)]
    if not kind:
        raise ReplyError("the server closed the connection")
    return [rest]


def main(arguments: list[str]) -> int:
    """Return 0 with the reply on stdout; return 1 if there is no server or it answers with an error."""
    host, port = os.environ.get("SANDBOX_HOST", "127.0.0.1"), "6379"
    password, database = os.environ.get("REDISCLI_AUTH"), None
    words = list(arguments)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in {"--raw", "--no-raw", "--no-auth-warning"}:
            continue
        if option not in {"-h", "-p", "-a", "--pass", "-n"} or not words:
            sys.stderr.write(f"{USAGE}\n{option}: the sandbox's redis-cli does not have this option\n")
            return 1
        value = words.pop(0)
        host = value if option == "-h" else host
        port = value if option == "-p" else port
        password = value if option in {"-a", "--pass"} else password
        database = value if option == "-n" else database
    if not words:
        sys.stderr.write(f"{USAGE}\n")
        return 1
    try:
        with (
            socket.create_connection((host, int(port)), 5) as connection,
            connection.makefile("rwb") as stream,
        ):
            if password:
                call(stream, "AUTH", password)
            if database:
                call(stream, "SELECT", database)
            sys.stdout.write(call(stream, *words) + "\n")
    except OSError as error:
        sys.stderr.write(f"Could not connect to Redis at {host}:{port}: {error.strerror or error}\n")
        return 1
    except ReplyError as error:
        sys.stderr.write(f"(error) {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
