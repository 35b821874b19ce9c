"""A task's process: runs its containers in ECS's order, and ends them with it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.sandbox.agent import filesystem, namespace, port_forwards, wire

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT_LIMIT = 256 * 1024 - 26  # CloudWatch Logs: an event's message, less its 26 bytes of overhead
LOG_DELAY = 0.1  # seconds in which lines are gathered before they are sent
LOG_BACKLOG = 1 << 20  # bytes of unsent log at which containers have to wait
STRAGGLERS = 1.0  # seconds for output of what outlives its container
FIRST_CHECKS = 0.5  # seconds between health checks until one passes; Docker waits a whole interval
EXIT_TERMINATED = 128 + signal.SIGTERM


class NotStartedError(Exception):
    """A container can't be started; the message is ECS's reason."""


class Pulse:
    """Lets coroutines wait until something that others change is true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, test: Callable[[], bool]) -> None:
        while not test():
            await self._event.wait()


class Log:
    """Gathers the containers' lines and sends them in batches; who writes too fast waits."""

    def __init__(self, send: Callable[[wire.Event], None], drain: Callable[[], Any]) -> None:
        self._send = send
        self._drain = drain
        self._lines: dict[str, list[tuple[int, str]]] = {}
        self._size = 0
        self._pulse = Pulse()

    async def write(self, container: str, line: str, size: int) -> None:
        await self._pulse.until(lambda: self._size < LOG_BACKLOG)
        self._lines.setdefault(container, []).append((int(time.time() * 1000), line))
        self._size += size
        self._pulse.beat()

    def flush(self) -> None:
        lines, self._lines, self._size = self._lines, {}, 0
        for container, batch in lines.items():
            self._send({"event": "log", "container": container, "lines": batch})
        self._pulse.beat()

    async def run(self) -> None:
        while True:
            await self._pulse.until(lambda: bool(self._lines))
            await asyncio.sleep(LOG_DELAY)
            # What is already on its way has to be taken before more is added.
            await self._drain()
            self.flush()


class Container:
    """One container: waits for those it depends on, runs, is checked, ends."""

    def __init__(self, spec: wire.ContainerSpec, task: Task) -> None:
        self.spec = spec
        self.task = task
        self.started = False
        self.state: wire.ContainerState = {
            "name": spec["name"],
            "status": "PENDING",
            "health": "UNKNOWN",
            "exit_code": None,
            "reason": None,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._output: list[asyncio.Task[None]] = []

    @property
    def ended(self) -> bool:
        return self.state["status"] == "STOPPED"

    async def run(self) -> None:
        try:
            await self.task.pulse.until(lambda: self.task.stopping or self._dependencies_met())
            if self.task.stopping:
                self._end(None, None)
                return
            process = await self._start()
            if process is None:
                self._end(None, None)
                return
        except NotStartedError as error:
            self._end(EXIT_TERMINATED, f"CannotStartContainerError: {error}")
            return
        except OSError as error:
            self._end(127, f"CannotStartContainerError: {error}")
            return
        checks = asyncio.create_task(self._check()) if self.spec["health"] else None
        code = await process.wait()
        if checks is not None:
            checks.cancel()
        # As in a container, where process 1 takes all others with it.
        self.signal(signal.SIGKILL)
        await asyncio.wait(self._output, timeout=STRAGGLERS)
        for each in self._output:
            each.cancel()
        self._end(128 - code if code < 0 else code, None)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    async def stop(self) -> None:
        """SIGTERM once all that depend on this one have ended, then SIGKILL after its stop timeout."""
        dependents = [each for each in self.task.containers if self.spec["name"] in each.spec["depends_on"]]
        await self.task.pulse.until(lambda: all(each.ended for each in dependents))
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.task.pulse.until(lambda: self.ended), self.spec["stop_timeout"])
        if not self.ended:
            self.signal(signal.SIGKILL)
            await self.task.pulse.until(lambda: self.ended)

    def _dependencies_met(self) -> bool:
        met = True
        for name, condition in self.spec["depends_on"].items():
            other = self.task.named(name)
            state = other.state
            code = state["exit_code"]
            # ECS waits on for an unhealthy one, up to a start timeout that Copilot can't set: say so now.
            hopeless = (
                (other.ended and not other.started)
                or (condition == "SUCCESS" and other.ended and code != 0)
                or (condition == "HEALTHY" and (other.ended or state["health"] == "UNHEALTHY"))
            )
            if hopeless:
                # The words of amazon-ecs-agent, agent/engine/dependencygraph/graph.go.
                failure = (
                    "did not exit successfully" if condition == "SUCCESS" else f"can't reach {condition}"
                )
                raise NotStartedError(
                    f"dependency graph: failed to resolve container ordering dependency [{name} "
                    f"({state['status']}) - Exit: {code}] for target [{self.spec['name']}] "
                    f"as dependency {failure}."
                )
            met = met and (
                (condition == "START" and other.started)
                or (condition in {"COMPLETE", "SUCCESS"} and other.ended)
                or (condition == "HEALTHY" and state["health"] == "HEALTHY")
            )
        return met

    async def _start(self) -> asyncio.subprocess.Process | None:
        await asyncio.to_thread(lay_out, self.spec)
        if self.task.stopping:
            return None
        argv, env, cwd = self.spec["argv"], self.spec["env"], self.spec["cwd"]
        if not argv:
            raise NotStartedError("no command specified: give the image a CMD or the container a command")
        if shutil.which(argv[0], path=env.get("PATH")) is None and not (Path(cwd) / argv[0]).is_file():
            raise NotStartedError(f'exec: "{argv[0]}": executable file not found in $PATH')
        # Pipes of our own: asyncio's would have us wait for whoever else holds them, and two, as Docker has,
        # so that the streams do not meet in the middle of a line.
        with contextlib.ExitStack() as ends:
            writers = []
            for _ in ("stdout", "stderr"):
                reader, writer = os.pipe()
                ends.callback(os.close, writer)
                writers.append(writer)
                self._output.append(asyncio.create_task(self._read(reader)))
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writers[0],
                stderr=writers[1],
                start_new_session=True,
            )
        self.started = True
        self.state["status"] = "RUNNING"
        if self.task.stopping:
            self.signal(signal.SIGTERM)  # told to stop in just this moment
        self.task.changed()
        return self._process

    async def _read(self, pipe: int) -> None:
        """A stream's output, line by line; a line longer than an event may be becomes several."""
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        file = os.fdopen(pipe, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), file)
        try:
            await self._lines(stream)
        finally:
            transport.close()

    async def _lines(self, stream: asyncio.StreamReader) -> None:
        pending = b""
        while chunk := await stream.read(65536):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                await self._write(line)
            if len(pending) >= EVENT_LIMIT:
                whole = len(pending) - len(pending) % EVENT_LIMIT
                await self._write(pending[:whole])
                pending = pending[whole:]
        if pending:
            await self._write(pending)

    async def _write(self, line: bytes) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        line = line.removesuffix(b"\r")
        for start in range(0, len(line) or 1, EVENT_LIMIT):
            part = line[start : start + EVENT_LIMIT]
            text = decoder.decode(part, final=start + EVENT_LIMIT >= len(line))
            await self.task.log.write(self.spec["name"], text, len(part) + 26)

    async def _check(self) -> None:
        """Docker's health states: one pass is healthy, `retries` failures in a row are not."""
        check = self.spec["health"]
        if check is None:
            return
        begun = time.monotonic()
        counted = begun
        failures = 0
        while True:
            settled = self.state["health"] != "UNKNOWN"
            await asyncio.sleep(check["interval"] if settled else min(check["interval"], FIRST_CHECKS))
            if await self._passes(check):
                failures = 0
                self._set_health("HEALTHY")
                continue
            now = time.monotonic()
            # The early checks count no faster than Docker's would.
            if now - begun >= check["start_period"] and (settled or now - counted >= check["interval"]):
                counted = now
                failures += 1
            if failures >= check["retries"]:
                self._set_health("UNHEALTHY")

    async def _passes(self, check: wire.HealthSpec) -> bool:
        try:
            process = await asyncio.create_subprocess_exec(
                *check["argv"],
                env=self.spec["env"],
                cwd=self.spec["cwd"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return False
        try:
            return await asyncio.wait_for(process.wait(), check["timeout"]) == 0
        except TimeoutError:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _set_health(self, health: Any) -> None:
        if self.state["health"] != health:
            self.state["health"] = health
            self.task.changed()

    def _end(self, code: int | None, reason: str | None) -> None:
        self.state["status"] = "STOPPED"
        self.state["exit_code"] = code
        self.state["reason"] = reason
        self.task.changed()


class Task:
    """All containers of one task, and the socket to the agent."""

    def __init__(self, spec: wire.TaskSpec, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.pulse = Pulse()
        self.log = Log(self._send, writer.drain)
        self.stopping = False
        self._reason: str | None = None
        self._code: str | None = None
        self._running = False
        self.containers = [Container(each, self) for each in spec["containers"]]
        self._deadline: asyncio.TimerHandle | None = None

    def named(self, name: str) -> Container:
        return next(each for each in self.containers if each.spec["name"] == name)

    def changed(self) -> None:
        """Something about a container is new: tell the agent, and stop where ECS would."""
        self._running = self._running or all(each.started or each.ended for each in self.containers)
        finished = next((each for each in self.containers if each.ended and each.spec["essential"]), None)
        if finished is not None and not self.stopping:
            if finished.started:
                self.stop(
                    {"reason": self._epitaph(finished), "code": "EssentialContainerExited", "limit": None}
                )
            else:
                reason = finished.state["reason"] or "Task failed to start"
                self.stop({"reason": reason, "code": "TaskFailedToStart", "limit": None})
        self.log.flush()
        self.tell()
        self.pulse.beat()

    def stop(self, order: wire.Stop) -> None:
        if not self.stopping:
            self.stopping = True
            self._reason, self._code = order["reason"], order["code"]
            self.tell()
            self.pulse.beat()
        if order["limit"] is not None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = asyncio.get_running_loop().call_later(order["limit"], self.kill)

    def kill(self) -> None:
        for each in self.containers:
            each.signal(signal.SIGKILL)

    def tell(self, *, over: bool = False) -> None:
        status: Any = "STOPPED" if over else "RUNNING" if self._running else "PENDING"
        if self.stopping and not over:
            status = "STOPPING"
        self._send(
            {
                "event": "state",
                "status": status,
                "reason": self._reason,
                "code": self._code,
                "containers": [each.state for each in self.containers],
            }
        )

    async def run(self) -> None:
        shipping = asyncio.create_task(self.log.run())
        runs = [asyncio.create_task(each.run()) for each in self.containers]
        await self.pulse.until(lambda: self.stopping)
        stops = [asyncio.create_task(each.stop()) for each in self.containers]
        await asyncio.gather(*runs, *stops)
        shipping.cancel()
        self.log.flush()
        self.tell(over=True)
        await self._writer.drain()

    def _epitaph(self, container: Container) -> str:
        """ECS says no more than its first sentence; the container's name and exit code save a search."""
        name, code = container.spec["name"], container.state["exit_code"]
        return f"Essential container in task exited ({name}, exit code {code})"

    def _send(self, message: wire.Event) -> None:
        self._writer.write(wire.pack(message))


def lay_out(spec: wire.ContainerSpec) -> None:
    """Make a container's file system: a copy of the image's files, its volumes linked in."""
    root = Path(spec["root"])
    root.mkdir(parents=True, exist_ok=True)
    if spec["copy_from"] is not None:
        copy_tree(spec["copy_from"], spec["root"])
    for path, volume in spec["mounts"].items():
        point = root / path.lstrip("/")
        if point.is_dir() and not point.is_symlink():
            shutil.rmtree(point)  # a mount hides what the image has there
        else:
            point.unlink(missing_ok=True)
        point.parent.mkdir(parents=True, exist_ok=True)
        point.symlink_to(volume)
    Path(spec["cwd"]).mkdir(parents=True, exist_ok=True)
    Path(spec["env"]["HOME"]).mkdir(parents=True, exist_ok=True)


def copy_tree(source: str, target: str) -> None:
    """Copy all files, sharing their blocks where the file system can. Raises OSError."""
    clone = ["-c"] if sys.platform == "darwin" else ["--reflink=auto"]
    with contextlib.ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("r+b"))
        redirect = [(os.POSIX_SPAWN_DUP2, null.fileno(), number) for number in (0, 1, 2)]
        argv = ["cp", "-a", *clone, f"{source}/.", target]
        child = os.posix_spawnp(
            "cp", argv, {"PATH": os.environ.get("PATH", os.defpath)}, file_actions=redirect
        )
        _, status = os.waitpid(child, 0)
    if status != 0:
        # A `cp` without that option.
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def hand_out_socket(door: socket.socket) -> None:
    """Answer one request with a fresh socket of this process's network namespace."""
    try:
        if not door.recv(1):
            asyncio.get_running_loop().remove_reader(door)
            return
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
            socket.send_fds(door, [b"."], [fresh.fileno()])
    except OSError:
        asyncio.get_running_loop().remove_reader(door)


async def serve(control: socket.socket, door: socket.socket, spec: wire.TaskSpec) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=control)
    task = Task(spec, writer)
    loop = asyncio.get_running_loop()
    door.settimeout(0)
    loop.add_reader(door, hand_out_socket, door)

    def end_at_once() -> None:
        # The agent is gone, or wants no more of this: nothing may be left behind.
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
    """Run the task whose sockets' numbers are given; `probe ADDRESS` only tries the namespace."""
    if arguments[0] == "probe":
        try:
            namespace.enter_namespace(arguments[1])
        except OSError as error:
            print(error.strerror)  # noqa: T201 -- the answer to the agent's question
            return 1
        return 0
    control = socket.socket(fileno=int(arguments[0]))
    door = socket.socket(fileno=int(arguments[1]))
    spec: wire.TaskSpec | None = wire.receive(control)
    if spec is None:
        return 1
    if spec["namespace"]:
        namespace.enter_namespace(spec["address"])
        port_forwards.offer([(host, port, path) for host, port, path in spec["port_forwards"]], door)
        if spec["filesystem"] is not None:
            filesystem.enter(filesystem.Shown(*spec["filesystem"]), network=False)
    for directory in spec["directories"]:
        Path(directory).mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(control, door, spec))
    return 0
