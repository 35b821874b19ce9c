"""The proxy's open connections: limits their number, and the time in which one has to authenticate."""

from __future__ import annotations

import logging
import socket
import threading
import time

log = logging.getLogger(__name__)

UNAUTHENTICATED = 64  # connections without a valid key so far; one more closes the oldest of them
ALL = 512
UNAUTHENTICATED_SECONDS = 60.0  # some SDKs open a connection before they need it
BODY_SECONDS = 60.0


class Connections:
    """Sockets by the accepted one, with the time at which each is closed, if there is one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: dict[socket.socket, socket.socket] = {}
        self._deadlines: dict[socket.socket, float] = {}

    def add(self, accepted: socket.socket) -> bool:
        """Add a connection. Return False if there are too many."""
        with self._lock:
            if len(self._sockets) >= ALL:
                return False
            if len(self._deadlines) >= UNAUTHENTICATED:
                self._close(min(self._deadlines, key=self._deadlines.__getitem__))
            self._sockets[accepted] = accepted
            self._deadlines[accepted] = time.monotonic() + UNAUTHENTICATED_SECONDS
        return True

    def replace(self, accepted: socket.socket, tunnel: socket.socket) -> None:
        """Replace the connection's socket with its TLS socket."""
        with self._lock:
            if accepted in self._sockets:
                self._sockets[accepted] = tunnel

    def expect(self, accepted: socket.socket, seconds: float) -> None:
        """Close the connection in `seconds`, unless it is trusted before."""
        with self._lock:
            if accepted in self._sockets:
                self._deadlines[accepted] = time.monotonic() + seconds

    def trust(self, accepted: socket.socket) -> None:
        """Keep the connection open: it has authenticated with a key."""
        with self._lock:
            self._deadlines.pop(accepted, None)

    def forget(self, accepted: socket.socket) -> None:
        with self._lock:
            self._deadlines.pop(accepted, None)
            self._sockets.pop(accepted, None)

    def end_late(self) -> None:
        now = time.monotonic()
        with self._lock:
            for accepted in [each for each, end in self._deadlines.items() if end < now]:
                self._close(accepted)

    def end_all(self) -> None:
        with self._lock:
            for accepted in list(self._sockets):
                self._close(accepted)

    def _close(self, accepted: socket.socket) -> None:
        self._deadlines.pop(accepted, None)
        try:
            # SSLSocket.shutdown would remove the TLS object that another thread reads from.
            socket.socket.shutdown(self._sockets[accepted], socket.SHUT_RDWR)
        except OSError:
            log.debug("a client had already closed its connection")
