"""A port in front of a server, for which bytes take some milliseconds longer in each direction."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator

_CHUNK = 1 << 18  # bytes
_UNDER_WAY = 64  # chunks, before the sender has to wait


@contextlib.contextmanager
def in_front_of(port: int, seconds: float) -> Iterator[int]:
    """Yield the port on loopback; a round trip over it takes `seconds` longer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, port, seconds / 2), daemon=True).start()
        yield int(listener.getsockname()[1])


def _accept(listener: socket.socket, port: int, delay: float) -> None:
    with contextlib.suppress(OSError):  # it was closed: the benchmark ends
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                chunks: queue.Queue[tuple[float, bytes]] = queue.Queue(_UNDER_WAY)
                threading.Thread(target=_receive, args=(one, chunks, delay), daemon=True).start()
                threading.Thread(target=_send, args=(other, chunks), daemon=True).start()


def _receive(one: socket.socket, chunks: queue.Queue[tuple[float, bytes]], delay: float) -> None:
    data = b"more"
    while data:
        try:
            data = one.recv(_CHUNK)
        except OSError:
            data = b""
        chunks.put((time.monotonic() + delay, data))


def _send(other: socket.socket, chunks: queue.Queue[tuple[float, bytes]]) -> None:
    while True:
        due, data = chunks.get()
        time.sleep(max(0.0, due - time.monotonic()))
        if not data:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(OSError):  # it has closed: the rest is read, and leads nowhere
            other.sendall(data)
