"""The names of other services that a task reaches, as in Copilot's service discovery: `web.test.demo.local`.

Each name has a loopback address in the task's network. Connections to the ports of the service's containers
are passed on to one of its running tasks. A task knows the services that exist when it starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import socket

    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.agent.service_task import ServiceTask
    from copilot_sandbox.model import Service

_SECONDS = 5.0  # for a connection


class Named(NamedTuple):
    """A service's name, its address in the task's network, and the ports that are passed on."""

    host: str
    address: str
    forwards: Sequence[PortForward]


def named(service: Service, others: Iterable[Service]) -> list[Named]:
    """Return the other services that a task of the service reaches."""
    found = []
    for other in others:
        if not other.host or other.arn == service.arn or other.group != service.group:
            continue
        address = _address(other.host)
        ports = {port for container in other.task_definition.containers for port in container.ports}
        forwards = [(address, port, f"{other.arn}#{port}") for port in sorted(ports)]
        found.append(Named(other.host, address, forwards))
    return found


def _address(host: str) -> str:
    """Return a loopback address that is always the same for a name; no other forward uses 127.128.0.0/9."""
    second, third, fourth = hashlib.sha256(host.encode()).digest()[:3]
    return f"127.{128 + second % 128}.{third}.{1 + fourth % 254}"


def dialer(tasks: Callable[[], Iterable[ServiceTask]], arn: str, port: int) -> Callable[[], socket.socket]:
    """Return a function that connects to the port of a running task of the service. It raises OSError."""

    def dial() -> socket.socket:
        running = [task for task in tasks() if task.service.arn == arn and task.running and not task.stopping]
        running.sort(key=lambda task: not task.steady)
        if not running:
            raise ConnectionRefusedError(f"no task of {arn} runs")
        return running[0].connect(port, _SECONDS)

    return dial
