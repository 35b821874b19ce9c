"""A network namespace for a container outside of any task: loopback, and forwards to the sandbox's servers.

A process of the sandbox holds the namespace. It ends with the sandbox, because it waits for its socket.
"""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from copilot_sandbox.agent import namespace, port_forwards, wire
from copilot_sandbox.agent.engine import EngineError
from copilot_sandbox.boot import bare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from copilot_sandbox.agent.port_forwards import PortForward

_ADDRESS = "10.0.255.253"


@contextmanager
def network(forwards: Sequence[PortForward]) -> Iterator[str]:
    """Yield the path of a new network namespace in which `forwards` are answered. Raises EngineError."""
    control, theirs = socket.socketpair()
    with control:
        with theirs:
            holder = subprocess.Popen(
                [*bare("copilot_sandbox.agent.engine_network", "main"), str(theirs.fileno())],
                env={},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        listeners: list[socket.socket] = []
        try:
            try:
                control.sendall(wire.pack(forwards))
                listeners = port_forwards.serve(list(forwards), control)
                is_ready = control.recv(1) == b"."
            except OSError as error:
                raise EngineError(f"no network namespace could be made: {error}") from error
            if not is_ready:
                raise EngineError("no network namespace could be made")
            yield f"/proc/{holder.pid}/ns/net"
        finally:
            port_forwards.close(listeners)
            holder.kill()
            holder.wait()


def main(arguments: list[str]) -> int:
    """Hold a network namespace until the other end of the socket closes. Its descriptor is the argument."""
    control = socket.socket(fileno=int(arguments[0]))
    forwards = wire.receive(control)
    if forwards is None:
        return 1
    namespace.enter_namespace(_ADDRESS)
    port_forwards.offer(forwards, control)
    control.sendall(b".")
    control.recv(1)
    return 0
