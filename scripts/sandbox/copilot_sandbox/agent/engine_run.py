"""Runs one command in a container of an engine, outside of any task, and waits for its end."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from copilot_sandbox.agent import engine_network
from copilot_sandbox.agent.engine import OWNER_LABEL, Engine, container_settings, variables

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from copilot_sandbox.agent.port_forwards import PortForward

_LOOK_SECONDS = 0.1


def run(
    engine: Engine,
    image: str,
    command: str,
    env: Mapping[str, str],
    *,
    forwards: Sequence[PortForward],
    readable: Sequence[Path],
    owner: str,
    log: Path,
    cancelled: threading.Event,
) -> int:
    """Run a shell's `command` in the image, with no other network than `forwards`. Return its exit code.

    Its output goes to `log`. `readable` are folders that it sees under the same path. `owner` marks the
    container. It is ended when `cancelled` is set. Raises EngineError.
    """
    name = f"copilot-sandbox-once-{time.monotonic_ns()}"
    with engine_network.network(forwards) as namespace:
        settings = container_settings(
            env, {OWNER_LABEL: owner}, [f"{folder}:{folder}:ro" for folder in readable]
        )
        settings |= {"Image": image, "Entrypoint": ["/bin/sh", "-c"], "Cmd": [command]}
        settings["HostConfig"]["NetworkMode"] = f"ns:{namespace}"
        try:
            engine.create(name, settings)
            engine.start(name)
            while (state := engine.state(name))["Running"]:
                if cancelled.wait(_LOOK_SECONDS):
                    break
            with log.open("wb") as file:
                subprocess.run(
                    engine.remote("logs", name),
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=variables(),
                )
        finally:
            engine.remove(name)
    return int(state["ExitCode"])
