"""Servers outside a task (ElastiCache's part) made reachable from inside its network namespace."""

from __future__ import annotations

import contextlib
import socket
import threading

from scripts.sandbox.peers import is_ours

BLOCK = 64 * 1024

Neighbour = tuple[str, int, str]  # where it is inside, and the Unix socket on which it listens outside


def guard(neighbour: Neighbour) -> socket.socket:
    """Listen under the neighbour's address on this machine, for programs of this user's. Raises OSError."""
    host, port, path = neighbour
    listener = socket.create_server((host, port))
    threading.Thread(
        target=_accept, args=(listener, path), kwargs={"ask": True}, name=f"way to {host}:{port}", daemon=True
    ).start()
    return listener


def offer(neighbours: list[Neighbour], door: socket.socket) -> None:
    """In the namespace: listen under the neighbours' addresses, and hand the listeners out."""
    for host, port, _ in neighbours:
        with socket.create_server((host, port)) as listener:
            socket.send_fds(door, [b"."], [listener.fileno()])


def serve(neighbours: list[Neighbour], door: socket.socket) -> list[socket.socket]:
    """Outside: take the listeners, and connect whoever comes to the real neighbour.

    The connections end with the listeners, which the caller has to close. Raises OSError.
    """
    listeners = []
    for *address, path in neighbours:
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        if not descriptors:
            break
        listener = socket.socket(fileno=descriptors[0])
        listeners.append(listener)
        threading.Thread(target=_accept, args=(listener, path), name=f"way to {address}", daemon=True).start()
    return listeners


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()


def _accept(listener: socket.socket, path: str, *, ask: bool = False) -> None:
    while True:
        try:
            inside, _ = listener.accept()
        except OSError:
            return
        if ask and not is_ours(inside):
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
        threading.Thread(target=_join, args=(inside, outside), daemon=True).start()


def _join(inside: socket.socket, outside: socket.socket) -> None:
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
        # One way is broken: so is the other.
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
