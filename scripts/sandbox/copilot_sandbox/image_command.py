"""Runs a command of the project outside of any task, with an image's files, for a database of the sandbox."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from copilot_sandbox.agent import engine_run, port_forwards
from copilot_sandbox.agent.confined import answer, carried, confined, obstacle
from copilot_sandbox.agent.container import path_mover
from copilot_sandbox.agent.engine import EngineError
from copilot_sandbox.errors import Failed
from copilot_sandbox.postgres import bin_dir

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from copilot_sandbox.agent.engine import Engine
    from copilot_sandbox.agent.port_forwards import PortForward
    from copilot_sandbox.model import Image
    from copilot_sandbox.postgres import PostgresServer


def run_container(
    engine: Engine,
    server: PostgresServer,
    image: Image,
    command: str,
    variables: Mapping[str, str],
    log: Path,
    cancelled: threading.Event,
    forwards: Sequence[PortForward],
    readable: Sequence[Path],
) -> int:
    """Run a command in a container of the engine, which reaches `forwards`. Return its exit code.

    Raises Failed if the engine refuses it.
    """
    try:
        return engine_run.run(
            engine,
            image.engine_id,
            command,
            variables,
            forwards=forwards,
            readable=[server.socket_dir, *readable],
            owner=str(server.folder.parent),
            log=log,
            cancelled=cancelled,
        )
    except EngineError as error:
        raise Failed(f"`{command}` could not be run by {engine.name}: {error}.") from error


def run_process(
    server: PostgresServer,
    image: Image,
    command: str,
    variables: Mapping[str, str],
    log: Path,
    cancelled: threading.Event,
    forwards: Sequence[PortForward],
    readable: Sequence[Path],
) -> int:
    """Run a command as a process on a copy of the image's files. Return its exit code.

    Where the system allows it, the command has a network of its own, as a task has, and reaches `forwards`;
    without them, and elsewhere, it has this machine's.
    """
    venv = [str(image.venv / "bin")] if image.venv else []
    with (
        tempfile.TemporaryDirectory(prefix="fill-", dir=server.folder) as name,
        log.open("wb") as output,
        ExitStack() as stack,
    ):
        # The command runs on a copy, as every container does: the image's own files must not change.
        root = Path(name) / "root"
        shutil.copytree(image.root, root, symlinks=True)
        work, move = root / image.workdir.strip("/"), path_mover(root, image, ())
        shown = [bin_dir(), server.socket_dir, *image.programs, *readable]
        control, theirs = socket.socketpair() if forwards and obstacle() is None else (None, None)
        for each in filter(None, (control, theirs)):
            stack.enter_context(each)
        words = stack.enter_context(
            confined(["/bin/sh", "-c", move(command)], readable=shown, writable=[Path(name)], control=theirs)
        )
        process = subprocess.Popen(
            words,
            cwd=work,
            env=carried(
                {
                    "HOME": name,
                    **{variable: move(value) for variable, value in image.env.items()},
                    **variables,
                    "PATH": os.pathsep.join([*venv, str(bin_dir()), os.environ.get("PATH", os.defpath)]),
                }
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()] if theirs else [],
            start_new_session=True,
        )
        try:
            if control and theirs:
                theirs.close()
                stack.callback(port_forwards.close, answer(forwards, control))
            while process.poll() is None and not cancelled.wait(0.1):
                pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return process.returncode
