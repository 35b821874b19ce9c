"""Forwards ports inside a task's network namespace to servers outside (the emulated ElastiCache)."""

from __future__ import annotations

import contextlib
import socket
import threading

from copilot_sandbox.peers import is_own_user

BLOCK = 64 * 1024

PortForward = tuple[str, int, str]  # the address and port inside; the server's Unix socket outside


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
        outside = socket.socket(socket.AF_UNIX)
        try:
            outside.settimeout(5)
            outside.connect(path)
        except OSError:
            inside.close()
            outside.close()
            continue
        outside.settimeout(None)
        threading.Thread(target=_connect_ends, args=(inside, outside), daemon=True).start()


def _connect_ends(inside: socket.socket, outside: socket.socket) -> None:
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
