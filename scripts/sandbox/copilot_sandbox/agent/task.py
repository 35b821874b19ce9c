"""The main program of a task's process: runs the task's containers in ECS's order, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from copilot_sandbox.agent import filesystem, namespace, port_forwards, wire
from copilot_sandbox.agent.task_container import Container, ProcessContainer
from copilot_sandbox.agent.task_log import Condition, Log

if TYPE_CHECKING:
    from copilot_sandbox.agent.engine import Engine


class Task:
    """All containers of one task, and the socket to the agent."""

    def __init__(self, spec: wire.TaskSpec, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.condition = Condition()
        self.log = Log(self._send, writer.drain)
        self.stopping = False
        self._reason: str | None = None
        self._stop_code: str | None = None
        self._running = False
        self.containers = [self._container(each, spec["engine"]) for each in spec["containers"]]
        self._deadline: asyncio.TimerHandle | None = None

    def _container(self, spec: wire.ContainerSpec | wire.EngineSpec, engine: Engine | None) -> Container:
        if engine is None:
            return ProcessContainer(cast("wire.ContainerSpec", spec), self)
        from copilot_sandbox.agent.engine_container import EngineContainer  # noqa: PLC0415 - it imports HTTP

        return EngineContainer(cast("wire.EngineSpec", spec), self, engine)

    def named(self, name: str) -> Container:
        return next(each for each in self.containers if each.spec["name"] == name)

    def on_change(self) -> None:
        """Report a container's new state to the agent, and stop the task when ECS would."""
        self._running = self._running or all(each.started or each.ended for each in self.containers)
        finished = next((each for each in self.containers if each.ended and each.spec["essential"]), None)
        if finished is not None and not self.stopping:
            if finished.started:
                self.stop(
                    {"reason": self._exit_reason(finished), "code": "EssentialContainerExited", "limit": None}
                )
            else:
                reason = finished.state["reason"] or "Task failed to start"
                self.stop({"reason": reason, "code": "TaskFailedToStart", "limit": None})
        self.log.flush()
        self.send_state()
        self.condition.notify()

    def stop(self, order: wire.Stop) -> None:
        """Begin to stop the task; `run` stops its containers. What runs after the order's limit is killed."""
        if not self.stopping:
            self.stopping = True
            self._reason, self._stop_code = order["reason"], order["code"]
            self.send_state()
            self.condition.notify()
        if order["limit"] is not None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = asyncio.get_running_loop().call_later(order["limit"], self.kill)

    def kill(self) -> None:
        for each in self.containers:
            each.kill()

    def send_state(self, *, final: bool = False) -> None:
        status: Any = "STOPPED" if final else "RUNNING" if self._running else "PENDING"
        if self.stopping and not final:
            status = "STOPPING"
        self._send(
            {
                "event": "state",
                "status": status,
                "reason": self._reason,
                "code": self._stop_code,
                "containers": [each.state for each in self.containers],
            }
        )

    async def run(self) -> None:
        shipping = asyncio.create_task(self.log.run())
        runs = [asyncio.create_task(each.run()) for each in self.containers]
        await self.condition.wait_for(lambda: self.stopping)
        stops = [asyncio.create_task(each.stop()) for each in self.containers]
        await asyncio.gather(*runs, *stops)
        shipping.cancel()
        self.log.flush()
        self.send_state(final=True)
        await self._writer.drain()

    def _exit_reason(self, container: Container) -> str:
        """Return ECS's sentence with the container's name and exit code, which ECS leaves out."""
        name, code = container.spec["name"], container.state["exit_code"]
        return f"Essential container in task exited ({name}, exit code {code})"

    def _send(self, message: wire.Event) -> None:
        self._writer.write(wire.pack(message))


def hand_out_socket(socket_requests: socket.socket) -> None:
    """Answer one request of the agent: create a socket in this network namespace, and send it."""
    try:
        if not socket_requests.recv(1):
            asyncio.get_running_loop().remove_reader(socket_requests)
            return
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
            socket.send_fds(socket_requests, [b"."], [fresh.fileno()])
    except OSError:
        asyncio.get_running_loop().remove_reader(socket_requests)


async def serve(control: socket.socket, socket_requests: socket.socket, spec: wire.TaskSpec) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=control)
    task = Task(spec, writer)
    loop = asyncio.get_running_loop()
    socket_requests.settimeout(0)
    loop.add_reader(socket_requests, hand_out_socket, socket_requests)

    def end_at_once() -> None:
        # The agent has ended, or it ends this task at once: no process may remain.
        task.kill()
        os._exit(1)

    loop.add_signal_handler(signal.SIGTERM, end_at_once)

    async def listen() -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = wire.HEADER.unpack(await reader.readexactly(wire.HEADER.size))[0]
                task.stop(json.loads(await reader.readexactly(size)))
        end_at_once()

    listening = asyncio.create_task(listen())
    try:
        await task.run()
    except ConnectionError:
        end_at_once()
    listening.cancel()


def main(arguments: list[str]) -> int:
    """Run a task. The two arguments are the file descriptors of its sockets to the agent.

    With `probe ADDRESS`, only test if the system gives a task its own network namespace.
    """
    if arguments[0] == "probe":
        try:
            namespace.enter_namespace(arguments[1])
        except OSError as error:
            print(error.strerror)  # noqa: T201 -- the answer to the agent's question
            return 1
        return 0
    control = socket.socket(fileno=int(arguments[0]))
    socket_requests = socket.socket(fileno=int(arguments[1]))
    spec: wire.TaskSpec | None = wire.receive(control)
    if spec is None:
        return 1
    if spec["namespace"]:
        namespace.enter_namespace(spec["address"])
        port_forwards.offer(
            [(host, port, path) for host, port, path in spec["port_forwards"]], socket_requests
        )
        if spec["filesystem"] is not None:
            filesystem.enter(filesystem.Shown(*spec["filesystem"]), network=False)
    for directory in spec["directories"]:
        Path(directory).mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(control, socket_requests, spec))
    return 0
