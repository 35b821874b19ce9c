"""The messages between the agent and a task's process, and their framing on the socket."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from copilot_sandbox.agent.engine import Engine

HEADER = struct.Struct("!I")  # the length of the JSON document that follows


class HealthSpec(TypedDict):
    """A container's health check, ready to run. Times are in seconds."""

    argv: list[str]
    interval: float
    timeout: float
    retries: int
    start_period: float


class BaseSpec(TypedDict):
    """The settings of a container that ECS's order of starts and stops needs."""

    name: str
    essential: bool
    depends_on: dict[str, str]
    health: HealthSpec | None
    stop_timeout: float


class StartSpec(TypedDict):
    """A command of the image's build, ready to run before the container's own: see model.StartCommand."""

    line: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    may_fail: bool


class ContainerSpec(BaseSpec):
    """A container that runs as processes. Every path and address is this machine's own."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    root: str
    copy_from: str | None  # the image's files, copied to `root` first
    first: list[StartSpec]
    texts: dict[str, str]  # path under `root` → what the file has in place of the image's text
    mounts: dict[str, str]  # path under `root` → the volume's directory
    paths: dict[str, str]  # this machine's path → the image's, for the lines of its log


class EngineSpec(BaseSpec):
    """A container that an engine runs."""

    container: str  # its name in the engine
    image: str
    is_public: bool  # pull the image if this machine does not have it
    volumes: list[str]  # the engine's names of the task's volumes that it mounts
    settings: dict[str, Any]  # of the engine's call that creates it, without its network


class TaskSpec(TypedDict):
    """The first message to a task's process. It contains secrets, so it is never written to a disk."""

    namespace: bool  # enter a network namespace of its own
    address: str  # the task's address inside that namespace
    port_forwards: list[tuple[str, int, str]]  # port_forwards.PortForward: servers that the task reaches
    filesystem: list[Any] | None  # filesystem.Shown: the file system to enter; None for the machine's
    directories: list[str]
    containers: Sequence[ContainerSpec | EngineSpec]
    engine: Engine | None  # sent as a list; None if the containers run as processes


class ContainerState(TypedDict):
    name: str
    status: Literal["PENDING", "RUNNING", "STOPPED"]
    health: Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]
    exit_code: int | None
    reason: str | None


class Event(TypedDict):
    """A message of a task's process: lines of a container's log, or the state of all containers."""

    event: Literal["log", "state"]
    container: NotRequired[str]
    lines: NotRequired[list[tuple[int, str]]]
    status: NotRequired[Literal["PENDING", "RUNNING", "STOPPING", "STOPPED"]]
    reason: NotRequired[str | None]
    code: NotRequired[str | None]
    containers: NotRequired[list[ContainerState]]


class Stop(TypedDict):
    """An order to a task's process: end all containers, within `limit` seconds if it is set."""

    reason: str
    code: str
    limit: float | None


def pack(message: object) -> bytes:
    """Return a message as a frame."""
    body = json.dumps(message).encode()
    return HEADER.pack(len(body)) + body


def receive(connection: socket.socket) -> Any | None:
    """Return the next message of a blocking socket; None if the other end has closed."""
    header = _exactly(connection, HEADER.size)
    if header is None:
        return None
    body = _exactly(connection, HEADER.unpack(header)[0])
    return None if body is None else json.loads(body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        try:
            part = connection.recv(min(size - len(parts), 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts += part
    return bytes(parts)
