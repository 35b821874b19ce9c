"""The proxy's open connections: how many there may be, and how long one may take to show a key."""

from __future__ import annotations

import logging
import socket
import threading
import time

log = logging.getLogger(__name__)

STRANGERS = 64  # connections that have shown no key yet; one more ends the oldest of them
ALL = 512
STRANGER_SECONDS = 60.0  # SDKs open a connection now and then before they need it
BODY_SECONDS = 60.0


class Connections:
    """Sockets by the one that was accepted, each with the time at which it is hung up on, if there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[socket.socket, socket.socket] = {}
        self._ends: dict[socket.socket, float] = {}

    def add(self, accepted: socket.socket) -> bool:
        """Take a connection; False where there are too many."""
        with self._lock:
            if len(self._sockets) >= ALL:
                return False
            if len(self._ends) >= STRANGERS:
                self._hang_up(min(self._ends, key=self._ends.__getitem__))
            self._sockets[accepted] = accepted
            self._ends[accepted] = time.monotonic() + STRANGER_SECONDS
        return True

    def replace(self, accepted: socket.socket, tunnel: socket.socket) -> None:
        """Say that the connection goes on as another object, which its TLS made."""
        with self._lock:
            if accepted in self._sockets:
                self._sockets[accepted] = tunnel

    def expect(self, accepted: socket.socket, seconds: float) -> None:
        """Hang up on it in so many seconds, unless it is trusted before."""
        with self._lock:
            if accepted in self._sockets:
                self._ends[accepted] = time.monotonic() + seconds

    def trust(self, accepted: socket.socket) -> None:
        """Let it stay: it has shown a key."""
        with self._lock:
            self._ends.pop(accepted, None)

    def forget(self, accepted: socket.socket) -> None:
        with self._lock:
            self._ends.pop(accepted, None)
            self._sockets.pop(accepted, None)

    def end_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            for accepted in [each for each, end in self._ends.items() if end < now]:
                self._hang_up(accepted)

    def end_all(self) -> None:
        with self._lock:
            for accepted in list(self._sockets):
                self._hang_up(accepted)

    def _hang_up(self, accepted: socket.socket) -> None:
        self._ends.pop(accepted, None)
        try:
            # Not SSLSocket.shutdown, which would take the TLS away under the thread that reads.
            socket.socket.shutdown(self._sockets[accepted], socket.SHUT_RDWR)
        except OSError:
            log.debug("a client had hung up already")
