"""One container of a task that an engine runs. The task's process creates it in its own network namespace."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from copilot_sandbox.agent import engine, engine_log
from copilot_sandbox.agent.engine import Engine, EngineError, variables
from copilot_sandbox.agent.task_container import Container, NotStartedError

if TYPE_CHECKING:
    from copilot_sandbox.agent import wire
    from copilot_sandbox.agent.task import Task

# The words of ECS for a container that the kernel ended because of its memory.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"


class EngineContainer(Container):
    """A container that an engine runs."""

    def __init__(self, spec: wire.EngineSpec, task: Task, engine: Engine) -> None:
        super().__init__(spec, task)
        self._spec = spec
        self._engine = Engine(*engine)  # JSON has made it a list
        self._is_created = False
        self._check_variables = variables()

    @property
    def _name(self) -> str:
        return self._spec["container"]

    async def _start(self) -> asyncio.subprocess.Process | None:
        try:
            if self._spec["is_public"]:
                await asyncio.to_thread(self._pull)
            self._is_created = True
            await asyncio.to_thread(self._create)
            if self.task.stopping:
                await asyncio.to_thread(self._engine.remove, self._name)
                return None
            await asyncio.to_thread(self._engine.start, self._name)
            log, monitor = await asyncio.to_thread(self._engine.log_of, self._name)
        except EngineError as error:
            await asyncio.to_thread(self._engine.remove, self._name)
            raise NotStartedError(str(error)) from error
        return await self._spawn(engine_log.command(log, monitor), {}, "/")

    def _pull(self) -> None:
        """Pull the image unless this machine has it. Raises NotStartedError."""
        image, command = self._spec["image"], self._engine.remote()
        # The service pulls, because this process has no way out of its network namespace.
        if engine.has_image(command, image):
            return
        if reason := engine.pull(command, image):
            raise NotStartedError(f"the image {image} cannot be pulled: {reason}", "CannotPullContainerError")

    def _create(self) -> None:
        settings = self._spec["settings"]
        for volume in self._spec["volumes"]:
            self._engine.create_volume(volume, settings["Labels"])
        host = {**settings["HostConfig"], "NetworkMode": f"ns:/proc/{os.getpid()}/ns/net"}
        self._engine.create(self._name, {**settings, "Image": self._spec["image"], "HostConfig": host})

    async def _wait(self, process: asyncio.subprocess.Process) -> tuple[int, str | None]:
        await process.wait()  # the log ends with the container
        try:
            state = await asyncio.to_thread(self._engine.ended, self._name)
        except EngineError as error:  # it was removed meanwhile
            return 128 + signal.SIGKILL, f"DockerStateError: {error}"
        await asyncio.to_thread(self._engine.remove, self._name)
        return int(state["ExitCode"]), _OUT_OF_MEMORY if state.get("OOMKilled") else None

    def signal(self, number: signal.Signals) -> None:
        if self.started and not self.ended:
            asyncio.get_running_loop().run_in_executor(None, self._engine.signal, self._name, int(number))

    def kill(self) -> None:
        if self._is_created:
            self._engine.remove(self._name)
