"""Servers outside a task (ElastiCache's part) made reachable from inside its network namespace."""

from __future__ import annotations

import contextlib
import socket
import threading

BLOCK = 64 * 1024

Address = tuple[str, int]


def offer(neighbours: list[Address], door: socket.socket) -> None:
    """In the namespace: listen where the neighbours are outside, and hand the listeners out."""
    for address in neighbours:
        with socket.create_server(address) as listener:
            socket.send_fds(door, [b"."], [listener.fileno()])


def serve(neighbours: list[Address], door: socket.socket) -> list[socket.socket]:
    """Outside: take the listeners, and connect whoever comes to the real neighbour.

    The connections end with the listeners, which the caller has to close. Raises OSError.
    """
    listeners = []
    for address in neighbours:
        _, descriptors, _, _ = socket.recv_fds(door, 1, 1)
        if not descriptors:
            break
        listener = socket.socket(fileno=descriptors[0])
        listeners.append(listener)
        threading.Thread(
            target=_accept, args=(listener, address), name=f"way to {address}", daemon=True
        ).start()
    return listeners


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        listener.close()


def _accept(listener: socket.socket, address: Address) -> None:
    while True:
        try:
            inside, _ = listener.accept()
        except OSError:
            return
        try:
            outside = socket.create_connection(address, 5)
        except OSError:
            inside.close()
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
