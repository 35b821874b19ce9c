"""The part of `nc` that start scripts use: see if a port answers, or send the input and print the reply."""

from __future__ import annotations

import getopt
import socket
import sys

USAGE = "usage: nc [-nvz] [-w SECONDS] HOST PORT"
_OPTIONS = "46dnNrtvzi:q:w:"
_SECONDS = "10"  # for a connection, without -w


def main(arguments: list[str]) -> int:
    """Return 0 if the port answers, else 1."""
    try:
        found, words = getopt.gnu_getopt(arguments, _OPTIONS)
        options = dict(found)
        host, port, seconds = words[0], int(words[1]), float(options.get("-w", _SECONDS))
    except (getopt.GetoptError, IndexError, ValueError) as error:
        sys.stderr.write(f"{USAGE}\nthe sandbox's nc does no more than this: {error}\n")
        return 1
    try:
        with socket.create_connection((host, port), seconds) as connection:
            if "-v" in options:
                sys.stderr.write(f"Connection to {host} {port} port [tcp/*] succeeded!\n")
            if "-z" not in options:
                _exchange(connection)
    except (OSError, OverflowError) as error:
        if "-v" in options:
            sys.stderr.write(f"nc: connect to {host} port {port} (tcp) failed: {error}\n")
        return 1
    return 0


def _exchange(connection: socket.socket) -> None:
    connection.sendall(sys.stdin.buffer.read())
    connection.shutdown(socket.SHUT_WR)
    while data := connection.recv(65536):
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
