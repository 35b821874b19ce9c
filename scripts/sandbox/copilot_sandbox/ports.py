"""The sandbox's own loopback ports, the same at each start if they are still free."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

from copilot_sandbox.private import write_private


class Ports:
    """Ports by purpose, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._ports: dict[str, int] = {}
        if file.exists():
            kept = json.loads(file.read_text())
            self._ports = {name: port for name, port in kept.items() if bindable("127.0.0.1", port)}

    def of(self, name: str) -> int:
        """Return the port of that purpose. The first call chooses it."""
        with self._lock:
            if name not in self._ports:
                self._ports[name] = _free(set(self._ports.values()))
                write_private(self._file, json.dumps(self._ports))
            return self._ports[name]


def bindable(address: str, port: int) -> bool:
    """Return True if a server could listen on the port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError:
            return False
    return True


def _free(taken: set[int]) -> int:
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port: int = listener.getsockname()[1]
        if port not in taken:
            return port
