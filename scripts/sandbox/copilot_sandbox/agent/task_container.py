"""One container in the task's process: starts it in order, checks it and ends it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copilot_sandbox.agent.task_output import EVENT_LIMIT, Output, as_in_image

if TYPE_CHECKING:
    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.task import Task

FIRST_CHECKS = 0.5  # seconds between health checks until one passes; Docker waits a whole interval
EXIT_TERMINATED = 128 + signal.SIGTERM


class NotStartedError(Exception):
    """A container can't be started; the message is ECS's reason, `kind` the name of ECS's error."""

    def __init__(self, message: str, kind: str = "CannotStartContainerError") -> None:
        super().__init__(message)
        self.kind = kind


class Container(ABC):
    """One container: waits for its dependencies, runs, is checked, and ends."""

    def __init__(self, spec: wire.BaseSpec, task: Task) -> None:
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
        # What a health check's own program starts with.
        self._check_variables: dict[str, str] = {}
        self._check_folder = "/"
        self._output: list[Output] = []

    @property
    def ended(self) -> bool:
        return self.state["status"] == "STOPPED"

    async def run(self) -> None:
        try:
            await self.task.condition.wait_for(lambda: self.task.stopping or self._dependencies_met())
            if self.task.stopping:
                self._end(None, None)
                return
            process = await self._start()
            if process is None:
                self._end(None, None)
                return
        except NotStartedError as error:
            self._end(EXIT_TERMINATED, f"{error.kind}: {error}")
            return
        except OSError as error:
            self._end(127, f"CannotStartContainerError: {error}")
            return
        checks = asyncio.create_task(self._check()) if self.spec["health"] else None
        code, reason = await self._wait(process)
        if checks is not None:
            checks.cancel()
        await asyncio.gather(*(each.finish() for each in self._output))
        self._end(code, reason)

    @abstractmethod
    async def _start(self) -> asyncio.subprocess.Process | None:
        """Start the container, and return the process that has its output; None if the task is stopping.

        Raises NotStartedError with ECS's reason, or OSError.
        """

    @abstractmethod
    async def _wait(self, process: asyncio.subprocess.Process) -> tuple[int, str | None]:
        """Wait until the container has ended, and return its exit code and ECS's reason, if there is one."""

    @abstractmethod
    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the container, if it runs."""

    @abstractmethod
    def kill(self) -> None:
        """End the container before this returns, as the process that runs the task ends next."""

    async def stop(self) -> None:
        """Send SIGTERM once all dependent containers have ended, then SIGKILL after the stop timeout."""
        dependents = [each for each in self.task.containers if self.spec["name"] in each.spec["depends_on"]]
        await self.task.condition.wait_for(lambda: all(each.ended for each in dependents))
        self.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                self.task.condition.wait_for(lambda: self.ended), self.spec["stop_timeout"]
            )
        if not self.ended:
            self.signal(signal.SIGKILL)
            await self.task.condition.wait_for(lambda: self.ended)

    def _dependencies_met(self) -> bool:
        met = True
        for name, condition in self.spec["depends_on"].items():
            other = self.task.named(name)
            state = other.state
            code = state["exit_code"]
            # ECS keeps waiting for an unhealthy container, up to a start timeout that Copilot can't set.
            # Here the task fails at once.
            impossible = (
                (other.ended and not other.started)
                or (condition == "SUCCESS" and other.ended and code != 0)
                or (condition == "HEALTHY" and (other.ended or state["health"] == "UNHEALTHY"))
            )
            if impossible:
                # The text of amazon-ecs-agent, agent/engine/dependencygraph/graph.go.
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

    async def _spawn(self, argv: list[str], env: dict[str, str], cwd: str) -> asyncio.subprocess.Process:
        """Start the container's process."""
        process = await self._open(argv, env, cwd)
        self.started = True
        self.state["status"] = "RUNNING"
        self.task.on_change()
        return process

    async def _open(self, argv: list[str], env: dict[str, str], cwd: str) -> asyncio.subprocess.Process:
        """Start a process whose output is the container's."""
        # asyncio's own pipes would make this wait for every process that still holds them. There are two
        # pipes, as in Docker, so that stdout and stderr do not mix within a line.
        with contextlib.ExitStack() as ends:
            writers = []
            for _ in ("stdout", "stderr"):
                reader, writer = os.pipe()
                ends.callback(os.close, writer)
                writers.append(writer)
                self._output.append(Output(reader, self._write))
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                env=env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writers[0],
                stderr=writers[1],
                start_new_session=True,
            )
        if self.task.stopping:
            self.signal(signal.SIGTERM)  # the order to stop came while the process started
        return self._process

    async def _write(self, line: bytes) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        line = line.removesuffix(b"\r")
        for start in range(0, len(line) or 1, EVENT_LIMIT):
            part = line[start : start + EVENT_LIMIT]
            text = decoder.decode(part, final=start + EVENT_LIMIT >= len(line))
            await self.task.log.write(self.spec["name"], self._as_in_image(text), len(part) + 26)

    def _as_in_image(self, text: str) -> str:
        """Return a line of the log with the image's paths."""
        return text

    async def _check(self) -> None:
        """Apply Docker's health states: one pass is healthy, `retries` failures in a row are unhealthy."""
        check = self.spec["health"]
        if check is None:
            return
        begun = time.monotonic()
        counted = begun
        failures = 0
        while True:
            decided = self.state["health"] != "UNKNOWN"
            await asyncio.sleep(check["interval"] if decided else min(check["interval"], FIRST_CHECKS))
            if await self._passes(check):
                failures = 0
                self._set_health("HEALTHY")
                continue
            now = time.monotonic()
            # The more frequent early checks count no faster than Docker's would.
            if now - begun >= check["start_period"] and (decided or now - counted >= check["interval"]):
                counted = now
                failures += 1
            if failures >= check["retries"]:
                self._set_health("UNHEALTHY")

    async def _passes(self, check: wire.HealthSpec) -> bool:
        try:
            process = await asyncio.create_subprocess_exec(
                *check["argv"],
                env=self._check_variables,
                cwd=self._check_folder,
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
            self.task.on_change()

    def _end(self, code: int | None, reason: str | None) -> None:
        self.state["status"] = "STOPPED"
        self.state["exit_code"] = code
        self.state["reason"] = reason
        self.task.on_change()


class ProcessContainer(Container):
    """A container that runs as processes of this machine, in a process group."""

    def __init__(self, spec: wire.ContainerSpec, task: Task) -> None:
        super().__init__(spec, task)
        self._spec = spec
        self._check_variables, self._check_folder = spec["env"], spec["cwd"]

    async def _start(self) -> asyncio.subprocess.Process | None:
        await asyncio.to_thread(lay_out, self._spec)
        for each in self._spec["first"]:
            if not self.task.stopping:
                await self._carry_out(each)
        if self.task.stopping:
            return None
        argv, env, cwd = self._spec["argv"], self._spec["env"], self._spec["cwd"]
        if not argv:
            raise NotStartedError("no command specified: give the image a CMD or the container a command")
        if shutil.which(argv[0], path=env.get("PATH")) is None and not (Path(cwd) / argv[0]).is_file():
            raise NotStartedError(f'exec: "{argv[0]}": executable file not found in $PATH')
        try:
            return await self._spawn(argv, env, cwd)
        except PermissionError as error:
            path = self._as_in_image(argv[0])
            raise NotStartedError(f'exec: "{path}": permission denied') from error

    async def _carry_out(self, command: wire.StartSpec) -> None:
        """Run a command of the image's build. If it fails, say so: the container starts nevertheless."""
        line = f"line {command['line']} of the Dockerfile"
        await self._write(f"sandbox: {line}: {shlex.join(command['argv'])}".encode())
        try:
            process = await self._open(command["argv"], command["env"], command["cwd"])
            code, _ = await self._wait(process)
            reason = f"exit code {code}" if code else ""
        except OSError as error:
            reason = str(error)
        await asyncio.gather(*(each.finish() for each in self._output))
        self._process = None
        self._output.clear()
        if reason and not command["may_fail"] and not self.task.stopping:
            await self._write(
                f"sandbox: {line} failed with {reason}; in Docker that ends the build. The container starts "
                "without what the line makes.".encode()
            )

    async def _wait(self, process: asyncio.subprocess.Process) -> tuple[int, str | None]:
        code = await process.wait()
        self.signal(signal.SIGKILL)  # a container's processes end with its process 1
        return 128 - code if code < 0 else code, None

    def _as_in_image(self, text: str) -> str:
        return as_in_image(text, self._spec["paths"])

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)


def lay_out(spec: wire.ContainerSpec) -> None:
    """Create a container's file system: copy the image's files and link the volumes into them."""
    root = Path(spec["root"])
    root.mkdir(parents=True, exist_ok=True)
    if spec["copy_from"] is not None:
        copy_tree(spec["copy_from"], spec["root"])
    for path, text in spec["texts"].items():
        (root / path.lstrip("/")).write_text(text, encoding="utf-8")
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
    """Copy all files, and share their blocks if the file system can. Raises OSError."""
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
        # This `cp` does not know the option.
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
