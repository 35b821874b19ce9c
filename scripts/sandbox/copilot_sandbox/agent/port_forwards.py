"""Forwards ports inside a task's network namespace to servers outside (the emulated ElastiCache and RDS)."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from functools import partial

from copilot_sandbox.peers import is_own_user

BLOCK = 64 * 1024

# The address and port inside; the server's Unix socket outside, or its address and port on loopback.
PortForward = tuple[str, int, str]
# A client of Postgres that wants TLS begins with this message, and gets one byte: S or N.
# Source: https://www.postgresql.org/docs/current/protocol-message-formats.html (SSLRequest)
_SSL_REQUEST = bytes.fromhex("00000008 04d2162f")
_HELLO_SECONDS = 10.0
_tls: dict[str, ssl.SSLContext] = {}  # by the Unix socket of a Postgres
_dialers: dict[str, Callable[[], socket.socket]] = {}  # by the server's name, where it is in another task


def offer_tls(path: str, context: ssl.SSLContext) -> None:
    """Answer clients of the Postgres on this Unix socket in TLS if they ask for it, as RDS does."""
    _tls[path] = context


def dial(path: str, connect: Callable[[], socket.socket]) -> None:
    """Connect clients of the server `path` by this function, which raises OSError."""
    _dialers[path] = connect


def listen(forward: PortForward) -> socket.socket:
    """Forward the port on this machine itself, for this user's programs only. Raises OSError."""
    host, port, path = forward
    listener = socket.create_server((host, port))
    threading.Thread(
        target=_accept,
        args=(listener, path),
        kwargs={"check_user": True},
        name=f"forward of {host}:{port}",
        daemon=True,
    ).start()
    return listener


def offer(forwards: list[PortForward], socket_requests: socket.socket) -> None:
    """Listen in the namespace, and send the listening sockets to the agent."""
    for host, port, _ in forwards:
        with socket.create_server((host, port)) as listener:
            socket.send_fds(socket_requests, [b"."], [listener.fileno()])


def serve(forwards: list[PortForward], socket_requests: socket.socket) -> list[socket.socket]:
    """Receive the listening sockets, and connect each client to the real server.

    The connections end with the listeners, which the caller has to close. Raises OSError.
    """
    listeners = []
    for *address, path in forwards:
        _, descriptors, _, _ = socket.recv_fds(socket_requests, 1, 1)
        if not descriptors:
            break
        listener = socket.socket(fileno=descriptors[0])
        listeners.append(listener)
        threading.Thread(
            target=_accept, args=(listener, path), name=f"forward of {address}", daemon=True
        ).start()
    return listeners


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        listener.close()


def _accept(listener: socket.socket, path: str, *, check_user: bool = False) -> None:
    while True:
        try:
            inside, _ = listener.accept()
        except OSError:
            return
        if check_user and not is_own_user(inside):
            inside.close()
            continue
        try:
            outside = _dialers.get(path, partial(_connect, path))()
        except OSError:
            inside.close()
            continue
        outside.settimeout(None)
        connect = _connect_database if path in _tls else _connect_ends
        threading.Thread(target=connect, args=(inside, outside, path), daemon=True).start()


def _connect(path: str) -> socket.socket:
    """Connect to a server outside of all tasks. Raises OSError."""
    address, _, port = path.rpartition(":")
    is_file = path.startswith("/")
    outside = socket.socket(socket.AF_UNIX if is_file else socket.AF_INET)
    try:
        outside.settimeout(5)
        outside.connect(path if is_file else (address, int(port)))
    except OSError:
        outside.close()
        raise
    return outside


def _connect_database(inside: socket.socket, outside: socket.socket, path: str) -> None:
    """Connect a client of Postgres, in TLS if its first message asks for it."""
    try:
        inside.settimeout(_HELLO_SECONDS)
        if inside.recv(len(_SSL_REQUEST), socket.MSG_PEEK | socket.MSG_WAITALL) != _SSL_REQUEST:
            inside.settimeout(None)
            _connect_ends(inside, outside, path)
            return
        inside.recv(len(_SSL_REQUEST))
        inside.sendall(b"S")
        secured = _tls[path].wrap_socket(inside, server_side=True)
    except OSError:
        inside.close()
        outside.close()
        return
    with secured, outside, contextlib.suppress(OSError):
        secured.settimeout(None)
        _pass_both(secured, outside)


def _pass_both(inside: ssl.SSLSocket, outside: socket.socket) -> None:
    """Pass bytes on until one end closes. Raises OSError.

    It uses one thread, because two may not use the same TLS connection.
    """
    while True:
        ready = [inside] if inside.pending() else select.select([inside, outside], [], [])[0]
        for source in ready:
            block = source.recv(BLOCK)
            if not block:
                return
            (outside if source is inside else inside).sendall(block)


def _connect_ends(inside: socket.socket, outside: socket.socket, _path: str) -> None:
    with inside, outside:
        back = threading.Thread(target=_pass_on, args=(outside, inside), daemon=True)
        back.start()
        _pass_on(inside, outside)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(BLOCK):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One direction is broken, so the other one ends too.
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
